package bench

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func TestConnect(t *testing.T) {
	for _, flatOut := range []bool{false, true} {
		l := load(t, newMiniServer(t))
		l.Ramp = 50 * time.Millisecond
		r, err := Connect{Load: l, Conns: 40, Rate: 400, FlatOut: flatOut, Window: 5, Hold: time.Millisecond, Storm: true, QoS: 1}.Run(t.Context())
		wantClean(t, r, err)
		x := r.Connects
		if r.Received != 40 || len(x.Waves) != 2 || x.Waves[0].Latency.Count != 40 || x.Waves[1].Joined != 40 || x.Waves[0].Failed != 0 || x.Rate.Known() == flatOut {
			t.Fatalf("%+v", x)
		}
		if w := x.Waves[0]; !flatOut && (w.Rate > 400 || !(w.Seconds > 0.1)) {
			t.Errorf("%+v", w)
		}
	}
}

// TestConnectCountsFailures has the server hang up on some.
func TestConnectCountsFailures(t *testing.T) {
	s := newMiniServer(t)
	s.accept = func(n int) bool { return n%4 != 1 }
	r, err := Connect{Load: load(t, s), Conns: 40, Rate: 1000, Hold: time.Millisecond, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	w, n := r.Connects.Waves[0], 0
	for _, failures := range r.Connects.Failures {
		n += failures
	}
	if w.Failed != 10 || n != 10 || w.Joined != 30 || r.Received != 30 || len(r.Notes) == 0 {
		t.Errorf("%+v, %v", r.Connects, r.Notes)
	}
	s.set(func() { s.accept = func(int) bool { return false } })
	if _, err := (Connect{Load: load(t, s), Conns: 5, QoS: 1}).Run(t.Context()); !errors.Is(err, ErrJoin) {
		t.Errorf("got %v", err)
	}
}

// TestConnectSeesWhoIsGone has the server close one socket while all hold.
func TestConnectSeesWhoIsGone(t *testing.T) {
	s := newMiniServer(t)
	o := Connect{Load: load(t, s), Conns: 10, Rate: 1000, Hold: 100 * time.Millisecond, QoS: 1}
	o.Progress = func(line string) {
		if !strings.HasPrefix(line, "holding") {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for c := range s.conns {
			_ = c.Close()
			return
		}
	}
	r, err := o.Run(t.Context())
	if err != nil || r.Disconnects != 1 || r.Lost != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}
