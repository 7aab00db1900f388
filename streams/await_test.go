package streams

import (
	"context"
	"sync"
	"testing"
	"time"
)

// What broke: a page up to a sequence that a publisher had just been told lacked that message, and said that there was no more, when
// the tail had not brought it yet.
func TestAwaitTheTail(t *testing.T) {
	hold := make(chan struct{})
	release := sync.OnceFunc(func() { close(hold) })
	defer release()
	held := make(chan struct{}, 8)
	r := newRig(t, func(o *Options) {
		deliver := o.Deliver
		o.Deliver = func(batch []*Message) {
			deliver(batch)
			held <- struct{}{}
			<-hold
		}
	})
	r.store("a.b", "1")
	<-held // the tail brings nothing more
	last := r.store("a.b", "2").Seq
	s := r.stream("a.b")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if head, err := s.Await(ctx, "a.b", 1); err != nil || head != 1 {
		t.Fatalf("%d, %v", head, err)
	}
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if head, err := s.Await(short, "a.b", last); err == nil {
		t.Fatalf("the head is %d, and %d was not awaited", head, last)
	}
	release()
	for _, until := range []uint64{last, 1 << 60} {
		if head, err := s.Await(ctx, "a.b", until); err != nil || head != last {
			t.Fatalf("%d, %v", head, err)
		}
	}
	page, err := s.Page(ctx, PageRequest{Channel: "a.b", Until: last})
	if err != nil || len(page.Messages) != 2 {
		t.Fatalf("%+v, %v", page, err)
	}
}

// Whoever was answered finds the message in the log, although the tail may be behind.
func TestAwaitWhatWasAcknowledged(t *testing.T) {
	r := newRig(t, func(*Options) {})
	for i := range 200 {
		seq := r.store("a.b", "x").Seq
		s := r.stream("a.b")
		if head, err := s.Await(t.Context(), "a.b", 0); err != nil || head < seq {
			t.Fatalf("message %d: the head is %d, %v", i+1, head, err)
		}
		if page, err := s.Page(t.Context(), PageRequest{Channel: "a.b", After: seq - 1}); err != nil || len(page.Messages) != 1 {
			t.Fatalf("message %d: %d messages, %v", i+1, len(page.Messages), err)
		}
	}
}
