package devices

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// simulated runs a test with one store on a vault, in simulated time.
func simulated(t *testing.T, o Options, test func(t *testing.T, l *line)) {
	synctest.Test(t, func(t *testing.T) {
		l := newVault(1).line(o)
		test(t, l)
		_ = l.store.Close()
		time.Sleep(time.Minute) // for what is still on its way
	})
}

func (v *vault) written() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.puts
}

func TestDelay(t *testing.T) {
	simulated(t, Options{}, func(t *testing.T, l *line) {
		h := hold(t, l.store, "ann", "phone")
		for range 30 { // three seconds of changes
			h.advance()
			h.dev.Changed()
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n := l.v.written() - 1; n != 2 && n != 3 {
			t.Errorf("%d writes in three seconds", n)
		}
		time.Sleep(DefaultDelay)
		synctest.Wait()
		if r, _ := l.v.record(keyFor("ann")); r.positions[0].Seq != 30 {
			t.Errorf("%+v", r)
		}
		before := l.v.written()
		time.Sleep(time.Hour)
		if n := l.v.written() - before; n != 0 {
			t.Errorf("%d writes of nothing", n)
		}
	})
}

func keyFor(user string) string { return encodeToken(user) + "." + encodeToken("phone") }

// TestStoresShareWrites: one write is on its way, and the next covers all that came meanwhile.
func TestStoresShareWrites(t *testing.T) {
	simulated(t, Options{}, func(t *testing.T, l *line) {
		h := hold(t, l.store, "ann", "phone")
		l.slow(10 * time.Millisecond)
		before, answers := l.v.written(), 0
		for range 500 {
			h.advance()
			h.dev.Store(func(err error) {
				if err != nil {
					t.Error(err)
				}
				answers++
			})
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if n := l.v.written() - before; answers != 500 || n > 200 {
			t.Errorf("%d answers, %d writes", answers, n)
		}
	})
}

// slow lets every way take up to lag.
func (l *line) slow(lag time.Duration) {
	l.v.mu.Lock()
	defer l.v.mu.Unlock()
	l.lag = lag
}

func TestRefresh(t *testing.T) {
	const expiry = 4 * time.Hour
	simulated(t, Options{Expiry: expiry}, func(t *testing.T, l *line) {
		h := hold(t, l.store, "ann", "phone")
		h.advance()
		for range 200 {
			time.Sleep(expiry / 16)
			synctest.Wait()
			r, ok := l.v.record(keyFor("ann"))
			if age := time.Since(r.seen); !ok || r.owner != h.owner || age > expiry*5/16+time.Minute {
				t.Fatalf("the record is %s old", age)
			}
		}
		if n := l.v.written(); n < 40 || n > 52 {
			t.Errorf("%d writes", n)
		}
		// Gone, it is not written any more.
		h.dev.Release()
		time.Sleep(time.Hour)
		before := l.v.written()
		time.Sleep(2 * expiry)
		if n := l.v.written() - before; n != 0 {
			t.Errorf("%d writes of a device that nobody holds", n)
		}
	})
}

// TestSeen: when a device was last seen is stored when it is let go, though nothing has changed.
func TestSeen(t *testing.T) {
	simulated(t, Options{}, func(t *testing.T, l *line) {
		h := hold(t, l.store, "ann", "phone")
		time.Sleep(24 * time.Hour)
		h.dev.Release()
		synctest.Wait()
		if r, _ := l.v.record(keyFor("ann")); time.Since(r.seen) > time.Second {
			t.Errorf("seen %s ago", time.Since(r.seen))
		}
		before := l.v.written()
		hold(t, l.store, "ann", "phone").dev.Release()
		synctest.Wait()
		if n := l.v.written() - before; n != 1 {
			t.Errorf("%d writes for a short visit", n)
		}
	})
}

// TestNoAnswers: Stores are answered by their deadline, and the store asks less and less often.
func TestNoAnswers(t *testing.T) {
	simulated(t, Options{}, func(t *testing.T, l *line) {
		h := hold(t, l.store, "ann", "phone")
		l.disturbed(1000)
		start := time.Now()
		if err := h.store(); !errors.Is(err, ErrUnavailable) || time.Since(start) != timeout {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		_, c := begin(t, l.store, "bob", "phone")
		start = time.Now()
		if err := await(t, c); !errors.Is(err, ErrUnavailable) || time.Since(start) != timeout {
			t.Errorf("%v after %s", err, time.Since(start))
		}
		seq := h.advance()
		h.dev.Changed()
		time.Sleep(time.Minute)
		l.disturbed(0)
		time.Sleep(2*timeout + maxBackoff)
		synctest.Wait()
		if r, _ := l.v.record(keyFor("ann")); r.positions[0].Seq != seq || h.taken.Load() != 0 {
			t.Errorf("%+v, taken %d", r, h.taken.Load())
		}
		if st := l.store.Stats(); st.Failures > 30 || st.Held != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// disturbed lets that many answers be lost.
func (l *line) disturbed(n int) {
	l.v.mu.Lock()
	defer l.v.mu.Unlock()
	l.forget = n
}

// TestLostAnswer: a write without an answer is found to be one's own.
func TestLostAnswer(t *testing.T) {
	simulated(t, Options{}, func(t *testing.T, l *line) {
		h := hold(t, l.store, "ann", "phone")
		for range 3 {
			l.disturbed(1)
			h.advance()
			if err := h.store(); !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
			h.advance()
			if err := h.store(); err != nil {
				t.Fatal(err)
			}
		}
		if st := l.store.Stats(); h.taken.Load() != 0 || st.Conflicts != 3 {
			t.Errorf("taken %d, %+v", h.taken.Load(), st)
		}
	})
}

// TestAwayAndBack: at once while NATS is away, by itself when it is back.
func TestAwayAndBack(t *testing.T) {
	simulated(t, Options{}, func(t *testing.T, l *line) {
		const n = 2000
		var all []*session
		for i := range n {
			all = append(all, hold(t, l.store, "ann"+encodeToken(string(rune(i))), "phone"))
		}
		l.slow(20 * time.Millisecond)
		late := make(chan error, n)
		for _, h := range all {
			h.advance()
			h.dev.Store(func(err error) { late <- err })
		}
		time.Sleep(time.Millisecond)
		start := time.Now()
		l.cut()
		for range n {
			if err := await(t, late); err != nil && !errors.Is(err, ErrUnavailable) {
				t.Fatal(err)
			}
		}
		if time.Since(start) > 0 {
			t.Errorf("answered %s after the cut", time.Since(start))
		}
		before := l.v.written()
		for _, h := range all {
			for range 10 {
				h.advance()
				h.dev.Changed()
			}
		}
		all[0].dev.Release()
		time.Sleep(time.Hour)
		l.mend()
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if w := l.v.written() - before; w > 2*n {
			t.Errorf("%d writes", w)
		}
		for i, h := range all {
			r, _ := l.v.record(h.dev.cell.key)
			if len(r.positions) != 1 || r.positions[0].Seq != 11 || h.taken.Load() != 0 {
				t.Fatalf("%d: %+v", i, r)
			}
		}
	})
}

// TestManyWaiters: what one device may have waiting is bounded.
func TestManyWaiters(t *testing.T) {
	simulated(t, Options{}, func(t *testing.T, l *line) {
		h := hold(t, l.store, "ann", "phone")
		l.slow(time.Second)
		var ok, refused int
		for range 5 * maxWaiters {
			h.dev.Store(func(err error) {
				switch {
				case err == nil:
					ok++
				case errors.Is(err, ErrUnavailable):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		if ok+refused != 5*maxWaiters || ok < maxWaiters || ok > 2*maxWaiters {
			t.Errorf("%d stored, %d refused", ok, refused)
		}
	})
}
