package cursor

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jetwire/jetwire/streams/natstest"
)

// holder holds a lease until stop is called.
type holder struct {
	holds atomic.Bool
	terms atomic.Int32
	stop  func()
}

func (s *Store) hold(name string, among *atomic.Int32) *holder {
	h := &holder{}
	ctx, cancel := context.WithCancel(context.Background())
	var work sync.WaitGroup
	work.Go(func() {
		s.Hold(ctx, name, func(ctx context.Context) {
			h.terms.Add(1)
			among.Add(1)
			h.holds.Store(true)
			<-ctx.Done()
			h.holds.Store(false)
			among.Add(-1)
		})
	})
	h.stop = func() { cancel(); work.Wait() }
	return h
}

func TestOneHoldsALease(t *testing.T) {
	ns := natstest.Run(t)
	var n atomic.Int32
	s := open(t, ns, "a", nil)
	a := s.hold("x", &n)
	eventually(t, "a to hold it", a.holds.Load)
	b := open(t, ns, "b", nil).hold("x", &n)
	other := open(t, ns, "c", nil).hold("y", &atomic.Int32{})
	eventually(t, "another lease", other.holds.Load)
	if n.Load() != 1 || b.holds.Load() {
		t.Fatal("two hold it")
	}
	a.stop()
	if e, err := s.kv.Get(t.Context(), "lease.x"); err == nil && string(e.Value()) == "a" { // b may have it by now
		t.Error("it was not given back")
	}
	eventually(t, "b to hold it", b.holds.Load)
	b.stop()
	other.stop()
}

// A holder that dies keeps nobody waiting for longer than its lease, and one that has lost it stops.
func TestLeaseOfTheDeadLapses(t *testing.T) {
	ns := natstest.Run(t)
	dead := open(t, ns, "dead", nil)
	if _, err := dead.put(t.Context(), "lease.x", []byte("dead"), 0, dead.opts.Lease); err != nil {
		t.Fatal(err)
	}
	var n atomic.Int32
	b := open(t, ns, "b", nil).hold("x", &n)
	eventually(t, "the lease to lapse", b.holds.Load)
	eventually(t, "the lease to be taken away", func() bool {
		e, err := dead.kv.Get(t.Context(), "lease.x")
		if err != nil {
			return false
		}
		_, err = dead.put(t.Context(), "lease.x", []byte("other"), e.Revision(), dead.opts.Lease)
		return err == nil
	})
	eventually(t, "b to stop", func() bool { return !b.holds.Load() })
	eventually(t, "b to hold it again", func() bool { return b.holds.Load() && b.terms.Load() == 2 })
	b.stop()
}

func TestLeaseOfAnotherIsNotRenewed(t *testing.T) {
	s := open(t, natstest.Run(t), "a", nil)
	revision, err := s.put(t.Context(), "lease.x", []byte("b"), 0, s.opts.Lease)
	if err != nil {
		t.Fatal(err)
	}
	if l := (lease{"lease.x", revision, time.Now()}); !s.renew(t.Context(), &l) || l.revision == revision {
		t.Error("it is not renewed")
	}
	if l := (lease{"lease.x", revision, time.Now()}); s.renew(t.Context(), &l) {
		t.Error("another has written it since, and it is held")
	}
}
