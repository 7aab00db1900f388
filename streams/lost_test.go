package streams

import (
	"fmt"
	"testing"
)

// TestDeletedBeforeSeen: what the log drops before the tail sees it must not go unnoticed.
func TestDeletedBeforeSeen(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Policies = []Policy{{Namespace: "chat", MaxPerChannel: 2}} })
	s := r.stream("chat.x")
	r.store("chat.quiet", "")
	first := r.store("chat.x", "seen")
	r.atHead(s, first.Seq)
	s.tail.mu.Lock() // nothing makes a new tail while this is held
	s.dropFeedLocked()
	for i := range 5 {
		r.store("chat.x", fmt.Sprint(i))
	}
	s.tail.broken = errSilent
	s.tail.mu.Unlock()
	r.atHead(s, 7)
	got := r.delivered()
	if last := seqs(got); fmt.Sprint(last) != "[1 2 6 7]" || got[2].Prev <= first.Seq || got[3].Prev != 6 {
		t.Fatalf("%v, prev %d and %d", last, got[2].Prev, got[3].Prev)
	}
	p := r.page(s, PageRequest{Channel: "chat.x", After: first.Seq})
	if p.LostFrom != 3 || p.LostTo < 5 || len(p.Messages) != 2 {
		t.Fatalf("%+v", p)
	}
	// A channel that lost nothing is not told so.
	quiet := r.store("chat.quiet", "")
	r.atHead(s, quiet.Seq)
	if p := r.page(s, PageRequest{Channel: "chat.quiet", After: 1}); p.LostTo != 0 || len(p.Messages) != 1 || p.Messages[0].Prev != 1 {
		t.Fatalf("%+v %+v", p, p.Messages)
	}
}

// Newest first and by time, a walk that ends before messages too old to be asked for must not be held up by what lies below them: there the
// index may lack some, once single messages of a full channel were deleted.
func TestDeletedIsToldByTime(t *testing.T) {
	r := newRig(t, func(o *Options) { o.Policies = []Policy{{Namespace: "chat", MaxPerChannel: 7}} })
	s := r.stream("chat.a")
	for range 8 {
		r.store("chat.a", "x")
	}
	since := r.store("chat.b", "x").Seq
	gone := r.store("chat.a", "x").Seq
	r.atHead(s, gone)
	st, err := r.js().Stream(t.Context(), s.name)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.DeleteMsg(t.Context(), gone); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the deletion to be known", func() bool {
		return r.page(s, PageRequest{Channel: "chat.a", After: since}).LostTo == gone
	})
	p := r.page(s, PageRequest{Channel: "chat.a", Newest: true, Since: r.delivered()[since-1].Time})
	if len(p.Messages) > 0 || p.LostFrom > gone || p.LostTo < gone {
		t.Fatalf("%+v", p)
	}
}
