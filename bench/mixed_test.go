package bench

import (
	"errors"
	"strings"
	"testing"
	"time"
)

func mixed(t *testing.T, s *miniServer) Mixed {
	t.Helper()
	m := Mix{"fanout": 2, "rooms": 4, "durable": 2, "publish": 1, "idle": 2, "churn": 1}
	return Mixed{Load: load(t, s), Conns: 60, Mix: m, Rate: 600, Publishes: 100, Joins: 20, QoS: 1}
}

func TestMixed(t *testing.T) {
	r, err := mixed(t, newMiniServer(t)).Run(t.Context())
	wantClean(t, r, err)
	if len(r.Parts) != 6 || r.Connections != 60 || !(r.Delivered > 0) || r.Latency.Count == 0 || r.Target != 600 {
		t.Errorf("%+v", r)
	}
	for _, p := range r.Parts {
		if p.Latency.Count == 0 || p.Of != "sockets" && !(p.PerSecond > 0) {
			t.Errorf("%+v", p)
		}
	}
}

// TestMixedSeesALossOfOneClass has the server leave one message out for a room.
func TestMixedSeesALossOfOneClass(t *testing.T) {
	s := newMiniServer(t)
	done := false
	s.deliver = func(c *miniConn, n uint64, frame []byte) [][]byte {
		if !done && strings.Contains(string(frame), ".rooms.") && c.user == "" && n > 5 {
			done = true
			return nil
		}
		return [][]byte{frame}
	}
	r, err := mixed(t, s).Run(t.Context())
	if err != nil || r.Lost != 1 || !r.Broken() {
		t.Fatalf("lost %d, %v", r.Lost, err)
	}
	for _, p := range r.Parts {
		if (p.Lost == 1) != (p.Class == "rooms") {
			t.Errorf("%+v", p)
		}
	}
}

func TestMixedEndsWithItsFirstFailure(t *testing.T) {
	o := mixed(t, newMiniServer(t))
	o.Target.Sign = nil
	o.Duration = time.Hour
	if _, err := o.Run(t.Context()); !errors.Is(err, errNoSigner) || !strings.Contains(err.Error(), "durable") {
		t.Errorf("got %v", err)
	}
}

func TestParseMix(t *testing.T) {
	for _, text := range []string{"", "fanout", "fanout:", "fanout:-1", "fanout:1,fanout:2", "pigeons:3", "fanout:0", "fanout:9999999"} {
		if m, err := ParseMix(text); !errors.Is(err, ErrMix) {
			t.Errorf("%q: %v, %v", text, m, err)
		}
	}
	m, err := ParseMix("fanout:1, rooms:3")
	if err != nil || m.of("fanout", 100) != 25 || m.of("rooms", 100) != 75 || m.of("idle", 100) != 0 || m.of("fanout", 1) != 1 {
		t.Errorf("%v, %v", m, err)
	}
	if _, err := ParseMix(DefaultMix); err != nil {
		t.Error(err)
	}
}

func FuzzParseMix(f *testing.F) {
	f.Add(DefaultMix)
	f.Add("fanout:1,rooms:0")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseMix(text)
		if err != nil {
			return
		}
		for class := range m {
			if n := m.of(class, 100); n < 0 || n > 100 {
				t.Fatalf("%q: %d of 100 for %s", text, n, class)
			}
		}
	})
}

func TestPublishAtARate(t *testing.T) {
	s := newMiniServer(t)
	l := load(t, s)
	l.Ramp = 100 * time.Millisecond
	r, err := Publish{Load: l, Conns: 4, Rate: 400, Rounds: 1, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if r.Sent < 155 || r.Sent > 165 || r.Latency.Count < 100 || !(r.Published > 0) { // half of it for 100 ms, all of it for 350
		t.Errorf("%+v", r)
	}
	s.after = func(uint64) { time.Sleep(15 * time.Millisecond) } // four sockets, one lock: 67 a second
	l.Ramp = 0
	if r, err = (Publish{Load: l, Conns: 4, Rate: 200, Rounds: 1, QoS: 1}).Run(t.Context()); err != nil || r.Latency.P50 < 40_000 {
		t.Errorf("latency does not count from the schedule: %+v, %v", r.Latency, err)
	}
}

func TestDurableRooms(t *testing.T) {
	o := Rooms{Load: load(t, newMiniServer(t)), Rooms: 3, Members: 4, Publishers: 1, Rate: 600, QoS: 1, Durable: true}
	r, err := o.Run(t.Context())
	wantClean(t, r, err)
	if r.Received != 4*r.Sent {
		t.Errorf("%d of %d", r.Received, r.Sent)
	}
	o.QoS = 0
	if _, err := o.Run(t.Context()); !errors.Is(err, errNoPosition) {
		t.Errorf("got %v", err)
	}
}
