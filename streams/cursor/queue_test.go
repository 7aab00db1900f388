package cursor

import (
	"context"
	"sync"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/natstest"
)

func TestQueue(t *testing.T) {
	s := open(t, natstest.Run(t), "a", func(o *Options) { o.Window = 4 })
	s.makeStream(t, func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy })
	s.publish(t, "ev.x", 1, 9)
	s.publish(t, "ev.other", 1, 2)
	read := func(l *log) (stop func()) {
		ctx, cancel := context.WithCancel(context.Background())
		r := s.NewReader("shop", []Source{{Stream: "EV", Subjects: []string{"ev.x"}, Queue: true}}, l.handle)
		var work sync.WaitGroup
		work.Go(func() { r.Run(ctx); r.Save() })
		return func() { cancel(); work.Wait() }
	}
	first := log{hold: true}
	stop := read(&first)
	expect(t, &first, numbers(1, 4))
	first.done[0]()
	first.done[2]()
	expect(t, &first, numbers(1, 6))
	stop()
	var second log
	stop = read(&second)
	expect(t, &second, []string{"2", "4", "5", "6", "7", "8", "9"})
	eventually(t, "the queue to be empty but for what was not asked for", func() bool {
		st, err := s.js.Stream(t.Context(), "EV")
		return err == nil && st.CachedInfo().State.Msgs == 2
	})
	stop()
}

// A message that comes again while it is worked on is not handed on twice.
func TestQueueKnowsWhatIsOpen(t *testing.T) {
	s := open(t, natstest.Run(t), "a", nil)
	s.makeStream(t, func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy })
	l := log{hold: true}
	r := s.NewReader("shop", []Source{{Stream: "EV", Queue: true}}, l.handle)
	ctx, cancel := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() { r.Run(ctx) })
	s.publish(t, "ev.x", 1, 1)
	expect(t, &l, numbers(1, 1))
	q := r.sources[0].(*queue)
	q.mu.Lock()
	err := q.open[1].Nak()
	q.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	again := func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		m, err := q.open[1].Metadata()
		return err == nil && m.NumDelivered == 2
	}
	eventually(t, "it to come again", again)
	s.publish(t, "ev.x", 2, 2)
	expect(t, &l, numbers(1, 2))
	cancel()
	work.Wait()
}

// TestQueueOfAReaderThatIsNoMore: a reader that has another name now gets what the one of before would have got.
func TestQueueOfAReaderThatIsNoMore(t *testing.T) {
	s := open(t, natstest.Run(t), "a", nil)
	s.makeStream(t, func(c *jetstream.StreamConfig) { c.Retention = jetstream.WorkQueuePolicy })
	read := func(name string, l *log) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		work.Go(func() {
			s.Hold(ctx, name, func(ctx context.Context) {
				r := s.NewReader(name, []Source{{Stream: "EV", Subjects: []string{"ev.x"}, Queue: true}}, l.handle)
				r.Run(ctx)
				r.Save()
			})
		})
		return func() { cancel(); work.Wait() }
	}
	first := log{hold: true}
	stop := read("shop", &first)
	s.publish(t, "ev.x", 1, 3)
	expect(t, &first, numbers(1, 3))
	var second log
	also := read("store", &second)
	defer also()
	s.publish(t, "ev.x", 4, 5)
	expect(t, &first, numbers(1, 5))
	if got := second.all(); len(got) > 0 {
		t.Errorf("while somebody reads, another got %q", got)
	}
	stop()
	expect(t, &second, numbers(1, 5))
}
