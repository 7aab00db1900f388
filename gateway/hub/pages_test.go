package hub

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unique"

	"github.com/jetwire/jetwire/streams"
)

// Many cursors of one channel, which stand at different places, cost about one read and one encoding a page.
func TestPagesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cursors, stored, page = 100, 400, 20
		l := newModelLog(1, time.Millisecond)
		for range stored {
			l.store("a.x")
		}
		l.tail(stored, func() bool { return false })
		var reads, encoded atomic.Int32
		h := New(Options{Gap: gapFrame, Flush: func([]Sink) {}, PageMessages: page, Workers: 8,
			Message: func(m *streams.Message, prev uint64, pattern string) []byte {
				encoded.Add(1)
				return messageFrame(m, prev, pattern)
			}})
		defer h.Close()
		log := &fixedLog{epoch: l.Epoch, head: stored, page: func(ctx context.Context, r streams.PageRequest) (streams.Page, error) {
			reads.Add(1)
			return l.Page(ctx, r)
		}}
		sinks := make([]*recorder, cursors)
		for i := range sinks {
			sinks[i] = &recorder{room: 1 << 10}
			h.Subscribe(Request{Channel: "a.x", Log: log, Sink: sinks[i], Resume: true, Since: uint64(i % 7)}, nothing)
		}
		synctest.Wait()
		time.Sleep(time.Second)
		synctest.Wait()
		for i, s := range sinks {
			from := uint64(i % 7)
			if got := s.seqs(); len(got) != stored-int(from) || got[0] != from+1 || got[len(got)-1] != stored {
				t.Fatalf("cursor %d got %d messages", i, len(got))
			}
			for _, f := range s.frames {
				if f.Prev > from {
					t.Fatalf("cursor %d at %d: %+v", i, from, f)
				}
				from = f.Seq
			}
		}
		if r, e := reads.Load(), encoded.Load(); r > 4*stored/page || e > 5*stored {
			t.Errorf("%d reads, %d encodings", r, e)
		}
	})
}

// What is kept is bounded in bytes and in time.
func TestSharedPagesAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}})
		defer h.Close()
		l := newModelLog(1, 0)
		for range 100 {
			l.store("a.x")
		}
		l.tail(100, func() bool { return false })
		tp := &topic{name: "a.x", log: l, hub: h}
		at := func(seen uint64) place { return place{epoch: unique.Make(l.Epoch()), pos: seen, seen: seen} }
		first, _ := h.page(tp, at(0), true)
		if again, skip := h.page(tp, at(50), true); again != first || skip != 50 {
			t.Error("a page that covers the place is read again")
		}
		time.Sleep(pageLife + time.Millisecond)
		if again, _ := h.page(tp, at(50), true); again == first {
			t.Error("a page is given out for ever")
		}
		h.opt.SharedBytes = 1
		h.page(tp, at(10), true)
		h.page(tp, at(20), true)
		if len(tp.pages) > 1 || len(h.pages.list) > 1 {
			t.Errorf("%d pages are kept", len(tp.pages))
		}
	})
}
