package hub

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/jetwire/jetwire/streams"
)

// Every run tries the same programs, so that none fails by chance; -rapid.seed=0 tries others.
func init() { _ = flag.Set("rapid.seed", "1") }

// step is one thing that happens to a hub, its logs and its sockets. A program is a list of them, so that a failing one
// can be shortened and kept.
type step struct {
	Do string
	A  int
	B  int
}

var (
	channels   = []string{"a.x", "a.y", "b.x"}
	names      = []string{"a.x", "a.y", "b.x", "a.>", "a.*", "b.>"} // of subscriptions
	otherEpoch = "other"
)

const (
	sockets    = 4
	ackWait    = 300 * time.Millisecond
	maxUnacked = 4
)

// world is what a program runs in.
type world struct {
	hub     *Hub
	logs    map[string]*modelLog
	sinks   []*modelSink
	delayed map[string][]*streams.Message // the head has passed them, Deliver has not been called
	renewed map[string]bool               // made anew, Reset has not been called
	rand    *rand.Rand
	live    int
	racing  bool // several goroutines are at work: a change of the epoch may come at any time

	mu  sync.Mutex
	err error // the first violation
}

func (w *world) violation(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

func (w *world) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

func newWorld(seed uint64, slow time.Duration, workers, page int) *world {
	w := &world{
		logs: map[string]*modelLog{"a": newModelLog(seed, slow), "b": newModelLog(seed+1, slow)}, rand: rand.New(rand.NewPCG(seed, 2)),
		delayed: map[string][]*streams.Message{}, renewed: map[string]bool{},
	}
	for range sockets {
		w.sinks = append(w.sinks, &modelSink{w: w, room: 5, subs: map[string]*oracle{}})
	}
	w.hub = New(Options{Message: messageFrame, Gap: gapFrame, Flush: w.flush, Workers: workers, PageMessages: page,
		AckWait: ackWait, MaxUnacked: maxUnacked})
	return w
}

// flush is Options.Flush.
func (w *world) flush(sinks []Sink) {
	for _, s := range sinks {
		m := s.(*modelSink)
		m.mu.Lock()
		if !m.dirty {
			w.violation("a sink is flushed that did not ask for it")
		}
		m.dirty = false
		m.mu.Unlock()
	}
}

func (w *world) log(channel string) *modelLog { return w.logs[channel[:1]] }

// do takes one step. A says on which channel (or socket), B how.
func (w *world) do(s step) {
	channel := channels[s.A%len(channels)]
	ns := channel[:1]
	l := w.logs[ns]
	switch s.Do {
	case "store":
		for range s.B + 1 {
			l.store(channel)
		}
	case "tail": // the head first, Deliver with a later step
		if len(w.delayed[ns]) == 0 && !w.renewed[ns] {
			w.delayed[ns] = l.tail(s.B+1, func() bool { return false })
		}
	case "hole": // the same, but some of it is lost on the way
		if len(w.delayed[ns]) == 0 && !w.renewed[ns] {
			w.delayed[ns] = l.tail(s.B+1, func() bool { return w.rand.IntN(3) == 0 })
		}
	case "deliver":
		w.deliver(ns)
	case "live":
		w.live++
		w.hub.Deliver([]*streams.Message{{Channel: channel, Time: int64(w.live)}})
	case "subscribe":
		w.subscribe(w.sinks[s.B%sockets], names[s.A%len(names)], s.B/sockets, "")
	case "acked", "held":
		w.subscribe(w.sinks[s.B%sockets], names[s.A%len(names)], s.B/sockets, s.Do)
	case "cancel":
		w.cancel(w.sinks[s.B%sockets], names[s.A%len(names)])
	case "restore": // with A even before the old connection has ended: a takeover
		w.restore(w.sinks[s.B%sockets], w.sinks[s.B/sockets%sockets], names[s.A%len(names)], s.A/len(names) == 0)
	case "ack":
		w.ack(w.sinks[s.B%sockets], names[s.A%len(names)], s.B/sockets)
	case "drain":
		w.sinks[s.B%sockets].drain()
	case "room":
		w.setRoom(w.sinks[s.A%sockets], s.B)
	case "trim":
		l.trim(uint64(s.B + 1))
	case "remove":
		l.mu.Lock()
		seq := l.last() - min(uint64(s.B), l.last())
		l.mu.Unlock()
		l.remove(seq)
	case "anew":
		w.deliver(ns) // the tail hands on what it has before it begins anew
		l.anew(slices.Repeat([]string{channel}, s.B%4))
		w.renewed[ns] = true
	case "reset":
		w.reset(ns)
	case "fail":
		l.mu.Lock()
		l.failing = s.B%2 == 0
		l.mu.Unlock()
	case "sleep":
		time.Sleep(time.Duration(s.B) * time.Millisecond)
	default:
		panic(s.Do)
	}
}

func (w *world) deliver(ns string) {
	if batch := w.delayed[ns]; len(batch) > 0 {
		w.hub.Deliver(batch)
	}
	w.delayed[ns] = nil
}

func (w *world) reset(ns string) {
	if w.renewed[ns] {
		w.hub.Reset(ns)
		w.renewed[ns] = false
	}
}

func (w *world) setRoom(s *modelSink, room int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.room = room + 1
}

// subscribe: how 0 is at the head, 1 and 2 QoS 0, 3 with a position of another epoch, 4 behind the end, the rest at a position.
func (w *world) subscribe(s *modelSink, channel string, how int, kind string) {
	s.mu.Lock()
	busy := s.subs[channel] != nil
	s.mu.Unlock()
	if busy {
		return
	}
	l := w.log(channel)
	l.mu.Lock()
	head, last, epoch := l.head, l.last(), epochName(l.life)
	l.mu.Unlock()
	r := Request{Channel: channel, Log: l, Sink: s}
	o := &oracle{channel: channel, log: l}
	switch how {
	case 0:
	case 1, 2:
		r.Lossy, o.lossy = true, true
	case 3:
		r.Resume, r.Since, r.Epoch = true, 7, otherEpoch
	case 4:
		r.Resume, r.Since, r.Epoch, o.beyond = true, last+3, epoch, true
	default:
		r.Resume, r.Since, r.Epoch = true, last-min(last, uint64(how-5)), epoch
		if how%2 == 0 {
			r.Epoch = ""
		}
	}
	if !r.Lossy && kind != "" {
		r.Acked, o.acks = true, true
		r.Held, o.held = kind == "held", kind == "held"
	}
	o.pos, o.epoch = r.Since, r.Epoch
	o.early = w.racing || w.renewed[channel[:1]]
	s.mu.Lock()
	s.subs[channel] = o
	s.mu.Unlock()
	o.cursor = w.hub.Subscribe(r, func(e string, h uint64) {
		o.attachs++
		if h < head && !w.racing {
			w.violation("attached at %d, the head is at %d", h, head)
		}
		if o.epoch == "" {
			o.epoch = e
		}
		switch {
		case !r.Resume:
			o.pos, o.acked = h, h
		case r.Epoch == "" || r.Epoch == e:
			o.acked = r.Since
		}
	})
}

// ack: how 0 is ahead of what was sent, 1 behind, 2 of another epoch, the rest a position behind the last.
func (w *world) ack(s *modelSink, channel string, how int) {
	synctest.Wait()
	s.mu.Lock()
	o := s.subs[channel]
	if o == nil {
		s.mu.Unlock()
		return
	}
	if e, owed := o.cursor.present(); e != o.epoch || owed { // the client has not heard of it yet
		s.mu.Unlock()
		return
	}
	epoch, seq, top := o.epoch, uint64(0), max(o.top, o.pos)
	s.mu.Unlock()
	switch how {
	case 0:
		seq = top + 1
	case 1:
		epoch = ""
	case 2:
		epoch = otherEpoch
	default:
		seq = top - min(top, uint64(how-3)%4)
	}
	if err := o.ack(&s.mu, epoch, seq); err != nil {
		w.violation("%w", err)
	}
}

// restore goes on, on another socket or the same one, where a subscription was acknowledged, as a durable session does: what came
// before the new connection's position, the old one has acknowledged.
func (w *world) restore(old, s *modelSink, channel string, takeover bool) {
	old.mu.Lock()
	was := old.subs[channel]
	old.mu.Unlock()
	s.mu.Lock()
	busy := s.subs[channel] != nil && s != old
	s.mu.Unlock()
	if was == nil || !was.acks || busy {
		return
	}
	takeover = takeover && s != old
	if !takeover {
		w.cancel(old, channel)
	}
	l := w.log(channel)
	o := &oracle{channel: channel, log: l, acks: true, early: true}
	o.epoch, o.acked = was.cursor.Acked()
	o.pos, o.top = o.acked, o.acked
	s.mu.Lock()
	s.subs[channel] = o
	s.mu.Unlock()
	o.cursor = w.hub.Subscribe(Request{Channel: channel, Log: l, Sink: s, Acked: true, Resume: true, Since: o.acked, Epoch: o.epoch}, func(string, uint64) { o.attachs++ })
	if takeover {
		w.cancel(old, channel)
	}
}

// present returns the epoch that the cursor is in, and whether the client has still to be told.
func (c *Cursor) present() (epoch string, owed bool) {
	c.topic.shard.mu.Lock()
	defer c.topic.shard.mu.Unlock()
	return c.epoch.Value(), c.newEpoch
}

// ackAll has every client acknowledge all that it was sent.
func (w *world) ackAll() {
	for _, s := range w.sinks {
		for _, name := range names {
			w.ack(s, name, 3)
		}
	}
}

func (w *world) cancel(s *modelSink, channel string) {
	s.mu.Lock()
	o := s.subs[channel]
	s.mu.Unlock()
	if o == nil {
		return
	}
	o.cursor.Cancel()
	o.cursor.Cancel() // a second time does no harm
	s.mu.Lock()
	delete(s.subs, channel)
	s.mu.Unlock()
}

var namespaces = []string{"a", "b"}

// settle lets everything come to rest, with all delivered that is stored.
func (w *world) settle() {
	for _, ns := range namespaces {
		w.deliver(ns)
		w.reset(ns)
		w.delayed[ns] = w.logs[ns].tail(1<<20, func() bool { return false })
		w.deliver(ns)
	}
	for quiet, room := 0, 10; quiet < 3; room += 10 {
		before := w.frames()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for _, s := range w.sinks {
			w.setRoom(s, room)
			s.drain()
		}
		w.ackAll()
		synctest.Wait()
		if quiet++; w.frames() != before {
			quiet = 0
		}
	}
}

// frames is how many frames were taken so far.
func (w *world) frames() (n int) {
	for _, s := range w.sinks {
		s.mu.Lock()
		n += s.frames
		s.mu.Unlock()
	}
	return n
}

// check is the judgement at rest.
func (w *world) check(final bool) error {
	if err := w.failed(); err != nil {
		return err
	}
	cursors := 0
	for _, s := range w.sinks {
		for _, o := range s.subs {
			cursors++
			if err := w.checkOne(s, o, final); err != nil {
				return err
			}
		}
	}
	if st := w.hub.Stats(); st.Cursors != cursors {
		return fmt.Errorf("%d cursors, want %d", st.Cursors, cursors)
	}
	return nil
}

func (w *world) checkOne(s *modelSink, o *oracle, final bool) error {
	c := o.cursor
	c.topic.shard.mu.Lock()
	at, st := c.place, c.state
	c.topic.shard.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case st != live:
		return fmt.Errorf("%v is at rest in state %d", o, st)
	case !o.lossy && (at.pos != o.pos || at.epoch.Value() != o.epoch):
		return fmt.Errorf("%v: the cursor says %s/%d", o, at.epoch.Value(), at.pos)
	case s.dirty:
		return fmt.Errorf("a sink was not flushed")
	}
	return o.complete(final)
}

// rest lets the world come to rest and judges it, twice: where nothing can have been lost on the way unnoticed, also
// before the last messages, which show every loss before them.
func (w *world) rest(lossless bool) error {
	for _, ns := range namespaces {
		l := w.logs[ns]
		l.mu.Lock()
		l.failing = false
		l.mu.Unlock()
	}
	w.settle()
	if lossless {
		if err := w.check(false); err != nil {
			return fmt.Errorf("before the last messages: %w", err)
		}
	}
	for _, c := range channels {
		w.log(c).store(c)
	}
	w.settle()
	if err := w.check(true); err != nil {
		return err
	}
	for _, s := range w.sinks {
		for _, c := range names {
			w.cancel(s, c)
		}
	}
	if st := w.hub.Stats(); st.Cursors != 0 || st.Channels != 0 {
		return fmt.Errorf("%d cursors and %d channels remain", st.Cursors, st.Channels)
	}
	return nil
}

// program is all that decides a run.
type program struct {
	Seed          uint64
	SlowMS        int
	Workers, Page int
	Steps         []step
}

// run takes a program's steps and returns what went wrong.
func (p program) run(t *testing.T) (err error) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(p.Seed, time.Duration(p.SlowMS)*time.Millisecond, p.Workers, p.Page)
		for i, s := range p.Steps {
			w.do(s)
			if err = w.failed(); err != nil {
				err = fmt.Errorf("step %d, %v: %w", i, s, err)
				break
			}
		}
		if err == nil {
			err = w.rest(!slices.ContainsFunc(p.Steps, func(s step) bool { return s.Do == "hole" || s.Do == "trim" || s.Do == "remove" }))
		}
		w.hub.Close()
	})
	return err
}

var stepKinds = []string{
	"store", "store", "tail", "tail", "hole", "deliver", "deliver", "deliver", "live", "subscribe", "subscribe", "subscribe", "acked", "acked", "held", "ack", "ack", "restore", "cancel", "drain", "drain",
	"room", "trim", "remove", "anew", "reset", "fail", "sleep", "sleep", "sleep",
}

var programs = rapid.Custom(func(t *rapid.T) program {
	steps := rapid.Custom(func(t *rapid.T) step {
		return step{rapid.SampledFrom(stepKinds).Draw(t, "do"), rapid.IntRange(0, 11).Draw(t, "a"), rapid.IntRange(0, 47).Draw(t, "b")}
	})
	return program{
		Seed: rapid.Uint64Range(0, 1<<20).Draw(t, "seed"), SlowMS: rapid.SampledFrom([]int{0, 1, 20, 200}).Draw(t, "slow"),
		Workers: rapid.IntRange(1, 3).Draw(t, "workers"), Page: rapid.IntRange(1, 6).Draw(t, "page"),
		Steps: rapid.SliceOfN(steps, 1, 60).Draw(t, "steps"),
	}
})

// checks is how many programs a test run tries, unless -rapid.checks says otherwise.
const checks = "1500"

func TestMain(m *testing.M) {
	_ = flag.Set("rapid.checks", checks)
	goleak.VerifyTestMain(m)
}

func TestCursorsAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := programs.Draw(rt, "program")
		if err := p.run(t); err != nil {
			rt.Fatalf("%v\n%#v", err, p)
		}
	})
}
