package hub

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/streams"
)

// fixedLog answers with what the test sets.
type fixedLog struct {
	epoch func() string
	head  uint64
	page  func(ctx context.Context, r streams.PageRequest) (streams.Page, error)
}

func (l *fixedLog) Epoch() string { return l.epoch() }
func (l *fixedLog) Head() uint64  { return l.head }
func (l *fixedLog) Page(ctx context.Context, r streams.PageRequest) (streams.Page, error) {
	return l.page(ctx, r)
}

func always(s string) func() string { return func() string { return s } }

// recorder is a sink that keeps what it took.
type recorder struct {
	mu     sync.Mutex
	room   int
	frames []modelFrame
}

func (r *recorder) Offer(frame []byte) (taken, flush bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.frames) >= r.room {
		return false, false
	}
	r.frames = append(r.frames, readFrame(frame))
	return true, true
}

func (r *recorder) seqs() (seqs []uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.frames {
		seqs = append(seqs, f.Seq)
	}
	return seqs
}

func testHub(t *testing.T) *Hub {
	h := New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}, Workers: 2})
	t.Cleanup(h.Close)
	return h
}

func nothing(string, uint64) {}

func TestStoredMessagesGoToTheirChannelOnly(t *testing.T) {
	h := testHub(t)
	l := &fixedLog{epoch: always("e"), head: 4}
	x, y := &recorder{room: 9}, &recorder{room: 9}
	h.Subscribe(Request{Channel: "a.x", Log: l, Sink: x}, func(epoch string, head uint64) {
		if epoch != "e" || head != 4 {
			t.Errorf("attached at %s/%d", epoch, head)
		}
	})
	h.Subscribe(Request{Channel: "a.y", Log: l, Sink: y}, nothing)
	h.Deliver([]*streams.Message{{Channel: "a.x", Seq: 4}, {Channel: "a.x", Seq: 5, Prev: 4}, {Channel: "a.z", Seq: 6}, {Channel: "a.y", Seq: 7}})
	if got := x.seqs(); !slices.Equal(got, []uint64{5}) {
		t.Errorf("x got %v", got)
	}
	if got := y.seqs(); !slices.Equal(got, []uint64{7}) {
		t.Errorf("y got %v", got)
	}
	if st := h.Stats(); st.Channels != 2 || st.Cursors != 2 || st.Delivered != 2 {
		t.Errorf("%+v", st)
	}
}

func TestQoS0ReachesTheHeadOnly(t *testing.T) {
	h := testHub(t)
	reading, read := make(chan struct{}), make(chan struct{})
	l := &fixedLog{epoch: always("e"), head: 4, page: func(context.Context, streams.PageRequest) (streams.Page, error) {
		close(reading)
		<-read
		return streams.Page{Through: 4}, nil
	}}
	atHead, behind := &recorder{room: 9}, &recorder{room: 9}
	h.Subscribe(Request{Channel: "a.x", Log: l, Sink: atHead}, nothing)
	c := h.Subscribe(Request{Channel: "a.x", Log: l, Sink: behind, Resume: true, Since: 1}, nothing)
	<-reading
	typing := []*streams.Message{{Channel: "a.x", Time: 1}}
	h.Deliver(typing)
	close(read)
	waitFor(t, "the cursor to be live", func() bool { return h.Stats().CaughtUp == 1 })
	if len(atHead.seqs()) != 1 || len(behind.seqs()) != 0 {
		t.Errorf("at the head %v, behind %v", atHead.seqs(), behind.seqs())
	}
	h.Deliver(typing)
	if len(behind.seqs()) != 1 {
		t.Error("nothing came after it had caught up")
	}
	if st := h.Stats(); st.Skipped != 1 || c.pos != 1 {
		t.Errorf("%+v, position %d", st, c.pos)
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// What is not stored can miss a subscriber who came between a stored message's becoming the head and its fan-out: that message, which
// others miss, is not what this one missed.
func TestNewestIsNoneThatWasBefore(t *testing.T) {
	h := testHub(t)
	early, late := &recorder{}, &recorder{}
	l := &fixedLog{epoch: always("e")}
	a := h.Subscribe(Request{Channel: "a.x", Log: l, Sink: early, Lossy: true}, nothing)
	l.head = 1
	b := h.Subscribe(Request{Channel: "a.x", Log: l, Sink: late, Lossy: true}, nothing)
	h.Deliver([]*streams.Message{{Channel: "a.x", Time: 1}})
	h.Deliver([]*streams.Message{{Channel: "a.x", Seq: 1}})
	early.room, late.room = 9, 9
	b.Drained()
	a.Drained()
	waitFor(t, "the newest", func() bool { return len(early.seqs()) == 1 })
	h.Deliver([]*streams.Message{{Channel: "a.x", Seq: 2, Prev: 1}})
	if got := early.seqs(); !slices.Equal(got, []uint64{1, 2}) {
		t.Errorf("who was there first got %v", got)
	}
	if got := late.seqs(); !slices.Equal(got, []uint64{2}) {
		t.Errorf("who came at 1 got %v", got)
	}
}

// A store that came back with less than it had keeps its name: sequences are given a second time.
func TestResetWithinAnEpoch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}})
		defer h.Close()
		var hold atomic.Bool
		l := &fixedLog{epoch: always("e"), head: 9}
		l.page = func(_ context.Context, r streams.PageRequest) (streams.Page, error) {
			p := streams.Page{Messages: []*streams.Message{{Channel: "a.x", Seq: r.After + 1, Prev: r.After}}, Through: r.After + 1}
			if hold.Swap(false) { // of before the reset
				time.Sleep(time.Second)
			}
			return p, nil
		}
		live, behind := &recorder{room: 9}, &recorder{room: 9}
		h.Subscribe(Request{Channel: "a.x", Log: l, Sink: live}, nothing)
		hold.Store(true)
		h.Subscribe(Request{Channel: "a.x", Log: l, Sink: behind, Resume: true, Since: 7}, nothing)
		synctest.Wait()
		l.head = 1
		h.Reset("a")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, r := range []*recorder{live, behind} {
			if len(r.frames) != 2 || !r.frames[0].NewEpoch || r.frames[1].Seq != 1 {
				t.Errorf("%+v", r.frames)
			}
		}
	})
}

// The epoch and the head that a subscriber is told belong together.
func TestAttachedBetweenEpochs(t *testing.T) {
	h := testHub(t)
	asked := 0
	l := &fixedLog{head: 3}
	l.epoch = func() string {
		if asked++; asked > 2 { // the first question is for the topic's, the second for the cursor's
			return "new"
		}
		return "old"
	}
	h.Subscribe(Request{Channel: "a.x", Log: l, Sink: &recorder{}}, func(epoch string, head uint64) {
		if epoch != "new" || head != 3 {
			t.Errorf("attached at %s/%d", epoch, head)
		}
	})
}

func TestNoFrameAfterCancel(t *testing.T) {
	h := testHub(t)
	reading, read := make(chan struct{}), make(chan struct{})
	l := &fixedLog{epoch: always("e"), page: func(context.Context, streams.PageRequest) (streams.Page, error) {
		close(reading)
		<-read
		return streams.Page{Messages: []*streams.Message{{Channel: "a.x", Seq: 1}}, Through: 1}, nil
	}}
	r := &recorder{room: 9}
	c := h.Subscribe(Request{Channel: "a.x", Log: l, Sink: r, Resume: true}, nothing)
	<-reading
	c.Cancel()
	close(read)
	c.Drained()
	h.Deliver([]*streams.Message{{Channel: "a.x", Seq: 2, Prev: 1}})
	h.Close()
	if got := r.seqs(); len(got) != 0 {
		t.Errorf("got %v", got)
	}
}

func TestCloseInterruptsReads(t *testing.T) {
	h := testHub(t)
	reading := make(chan struct{})
	l := &fixedLog{epoch: always("e"), page: func(ctx context.Context, _ streams.PageRequest) (streams.Page, error) {
		close(reading)
		<-ctx.Done()
		return streams.Page{}, ctx.Err()
	}}
	h.Subscribe(Request{Channel: "a.x", Log: l, Sink: &recorder{}, Resume: true}, nothing)
	<-reading
	h.Close()
}

// A socket that asks for much does not keep others waiting: each has one page a turn.
func TestTurnsAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}, Workers: 1})
		defer h.Close()
		var order []string
		l := &fixedLog{epoch: always("e")}
		l.page = func(_ context.Context, r streams.PageRequest) (streams.Page, error) {
			order = append(order, r.Channel)
			time.Sleep(time.Millisecond)
			return streams.Page{Through: r.After + 1, More: r.Channel == "a.greedy" && r.After < 9}, nil
		}
		for _, c := range []string{"a.greedy", "a.x", "a.y"} {
			h.Subscribe(Request{Channel: c, Log: l, Sink: &recorder{}, Resume: true}, nothing)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if len(order) != 12 || slices.Index(order, "a.x") > 2 || slices.Index(order, "a.y") > 2 {
			t.Errorf("%v", order)
		}
	})
}

func TestUnreadableLogIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}})
		defer h.Close()
		var tries atomic.Int32
		l := &fixedLog{epoch: always("e"), page: func(context.Context, streams.PageRequest) (streams.Page, error) {
			if tries.Add(1) < 4 {
				return streams.Page{}, errors.New("no")
			}
			return streams.Page{Messages: []*streams.Message{{Channel: "a.x", Seq: 1}}, Through: 1}, nil
		}}
		r := &recorder{room: 9}
		h.Subscribe(Request{Channel: "a.x", Log: l, Sink: r, Resume: true}, nothing)
		time.Sleep(3*retryEvery + time.Millisecond)
		synctest.Wait()
		if n := tries.Load(); n != 4 || len(r.seqs()) != 1 {
			t.Errorf("%d reads, got %v", n, r.seqs())
		}
	})
}

// Streams deliver, sockets come, go, stall and drain, a stream is made anew: all at once, under the race detector.
func TestConcurrently(t *testing.T) {
	w := newWorld(7, 0, 4, 5)
	w.racing = true
	defer w.hub.Close()
	var feeds, clients sync.WaitGroup
	var done atomic.Bool
	enough := func(n int) bool {
		st := w.hub.Stats()
		return n > 1000 && (n > 1<<20 || st.FellBehind > 20 && st.CaughtUp > 50 && st.Holes > 0 && st.Gaps > 10 && st.Skipped > 0)
	}
	for i, ns := range namespaces {
		feeds.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 3))
			l := w.logs[ns]
			for n := 0; !enough(n); n++ {
				for range rnd.IntN(4) {
					l.store([][]string{{"a.x", "a.y"}, {"b.x", "b.x"}}[i][rnd.IntN(2)])
				}
				w.hub.Deliver(l.tail(1+rnd.IntN(5), func() bool { return rnd.IntN(50) == 0 }))
				if n > 2000 { // those behind must be able to reach the head, on a busy machine too
					time.Sleep(time.Millisecond)
				}
				switch {
				case n%97 == 96:
					l.trim(uint64(rnd.IntN(20)))
				case ns == "b" && n%301 == 300:
					w.hub.Deliver(l.tail(1<<20, func() bool { return false }))
					l.anew([]string{"b.x", "b.x"})
					w.hub.Reset(ns)
				}
			}
		})
	}
	feeds.Go(func() {
		for n := 0; !enough(n); n++ {
			w.hub.Deliver([]*streams.Message{{Channel: channels[n%len(channels)], Time: int64(n + 1)}})
		}
	})
	for i, s := range w.sinks {
		clients.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(i), 4))
			for !done.Load() {
				c := names[rnd.IntN(len(names))]
				switch rnd.IntN(8) {
				case 0:
					w.subscribe(s, c, []int{0, 1, 3, 5, 6, 9, 30}[rnd.IntN(7)], "")
				case 1:
					if rnd.IntN(4) == 0 {
						w.cancel(s, c)
					}
				default:
					s.drain()
				}
			}
		})
	}
	feeds.Wait()
	done.Store(true)
	clients.Wait()
	for _, c := range channels {
		w.log(c).store(c)
	}
	for _, ns := range namespaces {
		w.hub.Deliver(w.logs[ns].tail(1<<20, func() bool { return false }))
	}
	var err error
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		for _, s := range w.sinks {
			s.drain()
		}
		if err = w.check(false); err == nil || w.failed() != nil {
			break
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if !enough(1 << 10) {
		t.Errorf("some path was not taken: %+v", w.hub.Stats())
	}
}

// counting is a sink that takes everything.
type counting struct{ n int }

func (c *counting) Offer([]byte) (taken, flush bool) {
	c.n++
	return true, true
}

// A delivery costs no allocation, and neither does a message beyond its frame.
func TestDeliverAllocates(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector makes sync.Pool forget")
	}
	frame := []byte("frame")
	h := New(Options{Message: func(*streams.Message, uint64, string) []byte { return frame }, Gap: gapFrame, Flush: func([]Sink) {}})
	defer h.Close()
	l := &fixedLog{epoch: always("e")}
	const sinks, batch = 100, 16
	sink := &counting{}
	for range sinks {
		h.Subscribe(Request{Channel: "a.x", Log: l, Sink: sink}, nothing)
	}
	messages := make([]*streams.Message, batch)
	for i := range messages {
		messages[i] = &streams.Message{Channel: "a.x"}
	}
	seq := uint64(0)
	n := testing.AllocsPerRun(200, func() {
		for _, m := range messages {
			seq++
			m.Seq, m.Prev = seq, seq-1
		}
		h.Deliver(messages)
	})
	if n != 0 {
		t.Errorf("%v allocations for %d messages to %d sinks, want none", n, batch, sinks)
	}
	if sink.n != int(seq)*sinks {
		t.Errorf("%d deliveries, want %d", sink.n, int(seq)*sinks)
	}
}
