package devices

import (
	"errors"
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// Every run tries the same programs, so that none fails by chance; -rapid.seed=0 tries others.
func init() { _ = flag.Set("rapid.seed", "1") }

// step is one thing that happens to two gateways, their sessions, and what lies between them and the bucket.
type step struct {
	Do string
	A  int
	B  int
}

// program is what one run does, so that a failing one can be shortened and kept.
type program struct {
	Seed  uint64
	LagMS int
	Sync  bool
	Steps []step
}

const keys = 2

// world is what a program runs in.
type world struct {
	v     *vault
	lines []*line

	mu       sync.Mutex
	actors   []*actor
	stored   [keys]uint64 // what was answered as stored
	lost     [keys]bool   // the record was deleted, so nothing is promised
	open     int          // callbacks that have not come
	problems []error
}

// actor is a session of the model. It acknowledges messages of one channel.
type actor struct {
	w         *world
	key       int
	owner     string
	began     time.Time
	ended     time.Time // of the Take
	dev       *Device
	err       error
	at        uint64
	takenOver bool
	released  bool
}

func (a *actor) Positions() []Position {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	return []Position{{Channel: "user.ann", QoS: 2, Epoch: "e", Seq: a.at}}
}

func (a *actor) TakenOver() {
	a.w.mu.Lock()
	defer a.w.mu.Unlock()
	switch {
	case a.takenOver:
		a.w.problemLocked("%s was taken over twice", a.owner)
	case a.dev == nil:
		a.w.problemLocked("%s was taken over before it held anything", a.owner)
	}
	a.takenOver = true
	for _, other := range a.w.actors {
		if other != a && other.key == a.key && (other.ended.IsZero() || !other.ended.Before(a.began)) {
			return
		}
	}
	a.w.problemLocked("%s was taken over by nobody", a.owner)
}

// live reports whether it believes to have the device.
func (a *actor) live() bool { return a.dev != nil && !a.released && !a.takenOver }

func (w *world) problemLocked(format string, args ...any) {
	w.problems = append(w.problems, fmt.Errorf(format, args...))
}

func userOf(key int) string { return fmt.Sprint("user", key) }

func keyOf(key int) string { return encodeToken(userOf(key)) + "." + encodeToken("phone") }

func newWorld(p program) *world {
	w := &world{v: newVault(p.Seed)}
	for range 2 {
		o := Options{Delay: 200 * time.Millisecond}
		if p.Sync {
			o.Synced = func(then func(error)) { time.AfterFunc(time.Millisecond, func() { then(nil) }) }
		}
		l := w.v.line(o)
		l.lag = time.Duration(p.LagMS) * time.Millisecond
		w.lines = append(w.lines, l)
	}
	return w
}

func (w *world) take(gateway, key int) {
	w.mu.Lock()
	a := &actor{w: w, key: key, owner: fmt.Sprintf("s%d", len(w.actors)), began: time.Now()}
	w.actors = append(w.actors, a)
	w.open++
	floor := w.stored[key]
	w.mu.Unlock()
	w.lines[gateway].store.Take(userOf(key), "phone", a.owner, a, func(d *Device, was Record, err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open--
		a.dev, a.err, a.ended = d, err, time.Now()
		if took := time.Since(a.began); took > timeout {
			w.problemLocked("%s: a Take took %s", a.owner, took)
		}
		if err != nil {
			if !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrClosed) {
				w.problemLocked("%s: %w", a.owner, err)
			}
			return
		}
		if len(was.Positions) > 0 {
			a.at = was.Positions[0].Seq
		}
		if a.at < floor && !w.lost[key] {
			w.problemLocked("%s was given %d; %d had been answered as stored", a.owner, a.at, floor)
		}
	})
}

// holding returns one of the sessions that have a device, as they believe.
func (w *world) holding(n int) *actor {
	w.mu.Lock()
	defer w.mu.Unlock()
	var live []*actor
	for _, a := range w.actors {
		if a.live() {
			live = append(live, a)
		}
	}
	if len(live) == 0 {
		return nil
	}
	return live[n%len(live)]
}

func (w *world) store(a *actor) {
	w.mu.Lock()
	a.at++
	seq := a.at
	w.open++
	began := time.Now()
	w.mu.Unlock()
	a.dev.Store(func(err error) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.open--
		if took := time.Since(began); took > timeout {
			w.problemLocked("%s: a Store took %s", a.owner, took)
		}
		switch {
		case err == nil:
			w.stored[a.key] = max(w.stored[a.key], seq)
		case !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrClosed):
			w.problemLocked("%s: %w", a.owner, err)
		}
	})
}

func (w *world) do(s step) {
	l := w.lines[s.A%2]
	a := w.holding(s.B)
	switch s.Do {
	case "take":
		w.take(s.A%2, s.B%keys)
	case "store":
		if a != nil {
			w.store(a)
		}
	case "changed":
		if a != nil {
			w.mu.Lock()
			a.at++
			w.mu.Unlock()
			a.dev.Changed()
		}
	case "release":
		if a != nil {
			w.mu.Lock()
			a.released = true
			w.mu.Unlock()
			a.dev.Release()
		}
	case "cut":
		l.cut()
	case "mend":
		l.mend()
	case "sleep":
		time.Sleep(time.Duration(s.B*s.B) * time.Millisecond)
	case "wait":
		synctest.Wait()
	case "wipe":
		w.forget(0, 1)
		w.v.wipe()
	case "delete":
		w.forget(s.B % keys)
		w.v.remove(keyOf(s.B % keys))
	default:
		l.disturb(s.Do, s.B)
	}
	w.look()
}

func (w *world) forget(which ...int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, k := range which {
		w.lost[k] = true
	}
}

// look compares what was answered as stored with the bucket.
func (w *world) look() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for k := range keys {
		if w.lost[k] || w.stored[k] == 0 {
			continue
		}
		if r, ok := w.v.record(keyOf(k)); !ok || len(r.positions) != 1 || r.positions[0].Seq < w.stored[k] {
			w.problemLocked("%d was answered as stored, the bucket has %+v", w.stored[k], r)
		}
	}
}

// settle mends everything and lets all holders write once more.
func (w *world) settle() {
	for _, l := range w.lines {
		l.mend()
		l.slow(time.Millisecond)
	}
	time.Sleep(2 * checkEvery)
	for range 2 { // an older holder may not have heard of the newer one, and finds out when it writes after it
		w.changeAll()
		time.Sleep(time.Minute)
	}
	synctest.Wait()
	w.look()
}

// changeAll lets every holder acknowledge one more message.
func (w *world) changeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.actors {
		if a.live() {
			a.at++
			a.dev.Changed()
		}
	}
}

// check is the judgement at rest.
func (w *world) check() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.open != 0 {
		w.problemLocked("%d callbacks never came", w.open)
	}
	for k := range keys {
		var live []*actor
		for _, a := range w.actors {
			if a.key == k && a.live() {
				live = append(live, a)
			}
		}
		r, ok := w.v.record(keyOf(k))
		switch {
		case len(live) > 1:
			w.problemLocked("%d sessions hold one device", len(live))
		case len(live) == 1 && (!ok || r.owner != live[0].owner || r.positions[0].Seq != live[0].at):
			w.problemLocked("%s holds the device at %d; the bucket has %v %+v", live[0].owner, live[0].at, ok, r)
		}
	}
	for _, l := range w.lines {
		held := 0
		for _, c := range l.store.cells {
			if c.dev == nil {
				w.problemLocked("a cell that nobody holds is left: %+v", c)
			}
			held++
		}
		if st := l.store.Stats(); st.Held != held || l.store.open != 0 || l.store.inFlight != 0 || l.store.inBehind != 0 || l.store.outside != 0 {
			w.problemLocked("%d cells, %+v, %d calls, %d and %d on their way, %d outside", held, st, l.store.open, l.store.inFlight, l.store.inBehind, l.store.outside)
		}
	}
	return errors.Join(w.problems...)
}

// checkWritten is the judgement when the stores are closed: what had changed is in the bucket.
func (w *world) checkWritten() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.actors {
		if r, _ := w.v.record(keyOf(a.key)); a.live() && (len(r.positions) != 1 || r.positions[0].Seq != a.at) {
			w.problemLocked("%s was at %d when its store was closed, the bucket has %+v", a.owner, a.at, r)
		}
	}
	return errors.Join(w.problems...)
}

// run takes a program's steps and returns what went wrong.
func (p program) run(t *testing.T) (err error) {
	synctest.Test(t, func(*testing.T) {
		w := newWorld(p)
		for _, s := range p.Steps {
			w.do(s)
		}
		w.settle()
		err = w.check()
		w.changeAll()
		for _, l := range w.lines {
			_ = l.store.Close()
		}
		if err == nil {
			err = w.checkWritten()
		}
		time.Sleep(time.Minute) // for what is still on its way
	})
	return err
}

var stepKinds = []string{
	"take", "take", "take", "store", "store", "store", "changed", "changed", "release", "cut", "mend", "mend", "sleep", "sleep", "sleep", "wait",
	"forget", "late", "busy", "stale", "deaf", "wipe", "delete",
}

var programs = rapid.Custom(func(t *rapid.T) program {
	steps := rapid.Custom(func(t *rapid.T) step {
		return step{rapid.SampledFrom(stepKinds).Draw(t, "do"), rapid.IntRange(0, 3).Draw(t, "a"), rapid.IntRange(0, 80).Draw(t, "b")}
	})
	return program{
		Seed:  rapid.Uint64Range(0, 1000).Draw(t, "seed"),
		LagMS: rapid.SampledFrom([]int{0, 1, 20, 300, 4000}).Draw(t, "lag"),
		Sync:  rapid.Bool().Draw(t, "sync"),
		Steps: rapid.SliceOfN(steps, 1, 80).Draw(t, "steps"),
	}
})

// TestModel runs random programs on two gateways.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := programs.Draw(rt, "program")
		if err := p.run(t); err != nil {
			rt.Fatalf("%v\n%#v", err, p)
		}
	})
}
