package streams

import (
	"context"
	"testing"
)

// What broke: while a page began to read what the index did not know, the rebuild came to know it all. The page then went back to where the index
// begins, and subscribers and walks through the history that stood anywhere got everything from the first message again.
func TestThePageDoesNotGoBackWhenTheIndexIsRebuiltMeanwhile(t *testing.T) {
	r := newRig(t, nil)
	for range 10 {
		r.store("a.b", "1")
	}
	s := r.stream("a.b")
	r.atHead(s, 10)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := &pager{s: s, g: s.gen.Load(), r: PageRequest{Channel: "a.b", After: 5, Limit: 100}, until: 10}
	if !p.complete(1) {
		t.Fatal("the index should know everything")
	}
	next, err := p.ascendSlow(ctx, 6)
	if err != nil || next < 6 {
		t.Fatalf("from 6 on, the page goes on at %d, %v", next, err)
	}
}
