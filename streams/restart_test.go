package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/natstest"
)

// herd publishes from several goroutines until stopped, retrying what it has no answer for under the same id.
type herd struct {
	r     *rig
	stop  chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	acked map[uint64]string // sequence to body
	count atomic.Int64
}

func newHerd(r *rig, publishers int) *herd {
	h := &herd{r: r, stop: make(chan struct{}), acked: map[uint64]string{}}
	for p := range publishers {
		h.wg.Go(func() { h.run(p) })
	}
	return h
}

func (h *herd) run(p int) {
	for i := 0; ; i++ {
		body := fmt.Sprintf("%d-%d", p, i)
		pub := Publication{Channel: fmt.Sprintf("chat.room%d", p%3), QoS: 2, ID: body, From: "herd", Body: []byte(body)}
		for {
			select {
			case <-h.stop:
				return
			default:
			}
			a, err := h.r.publish(pub)
			if err == nil {
				h.mu.Lock()
				if was, ok := h.acked[a.Seq]; ok {
					h.r.t.Errorf("sequence %d acknowledged for %q and %q", a.Seq, was, body)
				}
				h.acked[a.Seq] = body
				h.mu.Unlock()
				h.count.Add(1)
				break
			}
			if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrTimeout) {
				h.r.t.Errorf("publish: %v", err)
				return
			}
			time.Sleep(5 * time.Millisecond) // as a client backs off
		}
	}
}

func (h *herd) more(n int64) {
	h.r.t.Helper()
	from := h.count.Load()
	eventually(h.r.t, "more acknowledgements", func() bool { return h.count.Load() >= from+n })
}

// end stops the herd and checks everything that was delivered against what was acknowledged, and against the log.
func (h *herd) end() {
	t := h.r.t
	t.Helper()
	close(h.stop)
	h.wg.Wait()
	var last uint64
	for seq := range h.acked {
		last = max(last, seq)
	}
	s := h.r.stream("chat.x")
	h.r.atHead(s, last)
	checkContinuous(t, h.r.delivered(), h.acked)
	// And from the log.
	found := 0
	for room := range 3 {
		channel := fmt.Sprintf("chat.room%d", room)
		for after, more := uint64(0), true; more; {
			p := h.r.page(s, PageRequest{Channel: channel, After: after, Limit: 100})
			if p.LostTo != 0 {
				t.Errorf("lost %d to %d", p.LostFrom, p.LostTo)
			}
			for _, m := range p.Messages {
				if body, ok := h.acked[m.Seq]; ok {
					found++
					if body != string(m.Body) {
						t.Errorf("%d: %q stored, %q acknowledged", m.Seq, m.Body, body)
					}
				}
			}
			after, more = p.Through, p.More
		}
	}
	if found != len(h.acked) {
		t.Errorf("%d acknowledged, %d of them in the log", len(h.acked), found)
	}
}

// checkContinuous checks that a tail has no hole and no repetition, that prev is right, and that everything acknowledged was in it.
func checkContinuous(t testing.TB, got []*Message, acked map[uint64]string) {
	t.Helper()
	prev := map[string]uint64{}
	var last uint64
	seen := map[uint64]bool{}
	for i, m := range got {
		if i > 0 && m.Seq != last+1 {
			t.Fatalf("%d delivered after %d", m.Seq, last)
		}
		if m.Prev != prev[m.Channel] {
			t.Fatalf("%d on %s: prev is %d, not %d", m.Seq, m.Channel, m.Prev, prev[m.Channel])
		}
		last, prev[m.Channel], seen[m.Seq] = m.Seq, m.Seq, true
		if body, ok := acked[m.Seq]; ok && body != string(m.Body) {
			t.Fatalf("%d delivered as %q, acknowledged as %q", m.Seq, m.Body, body)
		}
	}
	for seq := range acked {
		if !seen[seq] {
			t.Fatalf("%d was acknowledged and never delivered", seq)
		}
	}
}

func TestServerRestarts(t *testing.T) {
	r := newRig(t, func(o *Options) { o.PublishTimeout = time.Second })
	r.stream("chat.x")
	h := newHerd(r, 8)
	for range 3 {
		h.more(200)
		r.srv.Shutdown()
		if a, err := r.publish(Publication{Channel: "chat.x", QoS: 1}); err == nil {
			t.Fatalf("acknowledged without a server: %+v", a)
		}
		eventually(t, "disconnection", func() bool { return !r.log.Connected() })
		start := time.Now()
		if _, err := r.publish(Publication{Channel: "chat.x", QoS: 1}); !errors.Is(err, ErrUnavailable) || time.Since(start) > 200*time.Millisecond {
			t.Fatalf("after %s: %v", time.Since(start), err)
		}
		if _, err := r.publish(Publication{Channel: "other.x", QoS: 1}); !errors.Is(err, ErrUnavailable) {
			t.Fatalf("a namespace that is not open: %v", err)
		}
		r.srv.Restart()
	}
	h.more(200)
	h.end()
	if st := r.log.Stats(); st.TailRestarts == 0 {
		t.Errorf("%+v", st)
	}
}

func TestLogRestarts(t *testing.T) {
	r := newRig(t, nil)
	for i := range 300 {
		r.store(fmt.Sprintf("chat.room%d", i%3), fmt.Sprint(i))
	}
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.publish(Publication{Channel: "chat.x", QoS: 1}); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	r.srv.Restart()
	var mu sync.Mutex
	var done, total uint64
	r.open(func(o *Options) {
		o.Progress = func(ns string, d, n uint64) {
			mu.Lock()
			defer mu.Unlock()
			done, total = d, n
		}
	})
	s := r.stream("chat.x")
	if s.Head() != 300 {
		t.Fatalf("head %d", s.Head())
	}
	p := r.page(s, PageRequest{Channel: "chat.room1", Newest: true, Limit: 2})
	if len(p.Messages) != 2 || string(p.Messages[0].Body) != "298" || p.Messages[0].Prev != 296 || !p.More || p.Through != 294 {
		t.Fatalf("%+v", p)
	}
	eventually(t, "progress", func() bool { mu.Lock(); defer mu.Unlock(); return done == total && total == 300 })
	eventually(t, "a complete index", func() bool { return s.gen.Load().index.Floor() == 1 })
	a := r.store("chat.room0", "new")
	r.atHead(s, a.Seq)
	got := r.delivered()
	if m := got[len(got)-1]; m.Seq != 301 || m.Prev != 298 {
		t.Fatalf("%+v", m)
	}
}

func TestConsumerDeletedBehindItsBack(t *testing.T) {
	r := newRig(t, nil)
	s := r.stream("chat.x")
	h := newHerd(r, 4)
	h.more(100)
	js := r.js()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	st, err := js.Stream(ctx, s.name)
	if err != nil {
		t.Fatal(err)
	}
	restarts := r.log.Stats().TailRestarts
	names := st.ConsumerNames(ctx)
	for name := range names.Name() {
		if err := js.DeleteConsumer(ctx, s.name, name); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "a new tail", func() bool { return r.log.Stats().TailRestarts > restarts })
	h.more(100)
	h.end()
}

// TestGapInDelivery loses messages between consumer and gateway.
func TestGapInDelivery(t *testing.T) {
	r := newRig(t, nil)
	s := r.stream("chat.x")
	h := newHerd(r, 4)
	for i := range uint64(3) {
		h.more(50)
		eventually(t, "a feed", func() bool {
			s.tail.mu.Lock()
			defer s.tail.mu.Unlock()
			f := s.tail.feed
			if f != nil {
				f.flushLocked()
				f.cseq-- // as if one had been skipped
			}
			return f != nil
		})
		eventually(t, "the gap refilled", func() bool {
			st := r.log.Stats()
			return st.GapsFound == i+1 && st.GapsRefilled == i+1
		})
	}
	h.end()
}

func TestStreamMadeAnew(t *testing.T) {
	r := newRig(t, nil)
	for range 5 {
		r.store("chat.x", "old")
	}
	s := r.stream("chat.x")
	r.atHead(s, 5)
	old := s.Epoch()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := r.js().DeleteStream(ctx, s.name); err != nil {
		t.Fatal(err)
	}
	var a Ack
	eventually(t, "a new stream", func() bool {
		var err error
		a, err = r.publish(Publication{Channel: "chat.x", QoS: 1, Body: []byte("new")})
		return err == nil
	})
	if a.Seq != 1 || a.Epoch == old || a.Epoch != s.Epoch() {
		t.Fatalf("%+v, old epoch %s", a, old)
	}
	r.mu.Lock()
	resets := fmt.Sprint(r.resets)
	r.mu.Unlock()
	if resets != "[chat]" {
		t.Fatalf("resets %s", resets)
	}
	r.atHead(s, 1)
	if p := r.page(s, PageRequest{Channel: "chat.x"}); len(p.Messages) != 1 || string(p.Messages[0].Body) != "new" {
		t.Fatalf("%+v", p)
	}
	if _, err := s.Page(ctx, PageRequest{Channel: "chat.x", After: 5}); !errors.Is(err, ErrWrongEpoch) {
		t.Fatalf("a position of the old stream: %v", err)
	}
	// Deleted and made again by somebody else, faster than anybody could look.
	js := r.js()
	if err := js.DeleteStream(ctx, s.name); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the stream to be made", func() bool { // the server may still be removing the old one's files
		_, err := js.CreateStream(ctx, s.Policy().apply(jetstream.StreamConfig{}))
		return err == nil || errors.Is(err, jetstream.ErrStreamNameAlreadyInUse)
	})
	b := r.store("chat.x", "newer")
	if b.Seq != 1 || b.Epoch == a.Epoch {
		t.Fatalf("%+v after %+v", b, a)
	}
	r.atHead(s, 1)
}

func TestShrinkRefused(t *testing.T) {
	srv := natstest.Run(t)
	base := Policy{Namespace: "chat", MaxAge: time.Hour, MaxPerChannel: 100, MaxBytes: 1 << 20, MaxMessages: 1000}
	open := func(p Policy, allow bool) error {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		l, err := Open(ctx, Options{Connect: srv.Connect, Policies: []Policy{p}, Deliver: func([]*Message) {}, AllowShrink: allow, Logger: quiet()})
		if err == nil {
			err = l.Close()
		}
		return err
	}
	for _, c := range []struct {
		name   string
		change func(*Policy)
		ok     bool
	}{
		{"as it is", func(*Policy) {}, true},
		{"longer", func(p *Policy) { p.MaxAge = 0 }, true},
		{"less age", func(p *Policy) { p.MaxAge = time.Minute }, false},
		{"less per channel", func(p *Policy) { p.MaxPerChannel = 99 }, false},
		{"less bytes", func(p *Policy) { p.MaxBytes = 1 << 19 }, false},
		{"less messages", func(p *Policy) { p.MaxMessages = 999 }, false},
		{"other storage", func(p *Policy) { p.Storage = Memory }, false},
		{"smaller messages", func(p *Policy) { p.MaxMessageSize = 100 }, true},
		{"dedup window", func(p *Policy) { p.DedupWindow = time.Minute }, true},
	} {
		p := base
		if err := open(p, true); err != nil {
			t.Fatal(err)
		}
		c.change(&p)
		err := open(p, false)
		if c.ok != (err == nil) || err != nil && !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	less := base
	less.MaxAge = time.Minute
	if err := open(less, true); err != nil {
		t.Errorf("allowed: %v", err)
	}
}

func TestForeignStreamRefused(t *testing.T) {
	r := newRig(t, nil)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if _, err := r.js().CreateStream(ctx, jetstream.StreamConfig{Name: "JW_chat", Subjects: []string{"x.>"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.publish(Publication{Channel: "chat.x", QoS: 1}); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
}

// deaf makes the server store without answering.
func (r *rig) deaf() {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	js := r.js()
	st, err := js.Stream(ctx, "JW_chat")
	if err != nil {
		r.t.Fatal(err)
	}
	c := st.CachedInfo().Config
	c.NoAck = true
	if _, err := js.UpdateStream(ctx, c); err != nil {
		r.t.Fatal(err)
	}
}

// TestPublishWithoutAnswer loses the acknowledgement: the outcome is unknown, by the deadline, or as soon as the connection breaks.
func TestPublishWithoutAnswer(t *testing.T) {
	r := newRig(t, func(o *Options) { o.PublishTimeout = 300 * time.Millisecond })
	r.store("chat.x", "a")
	r.deaf()
	if _, err := r.publish(Publication{Channel: "chat.x", QoS: 1}); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	if st := r.log.Stats(); st.Unknown != 1 || st.InFlight != 0 {
		t.Fatalf("%+v", st)
	}

	r = newRig(t, func(o *Options) { o.PublishTimeout = time.Hour })
	s := r.stream("chat.x")
	r.deaf()
	answer := make(chan error, 1)
	r.log.Publish(Publication{Channel: "chat.x", QoS: 1}, func(_ Ack, err error) { answer <- err })
	r.atHead(s, 1)
	r.srv.Shutdown()
	select {
	case err := <-answer:
		if !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
	case <-time.After(patience):
		t.Fatal("no answer")
	}
}
