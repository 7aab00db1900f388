package bench

import (
	"testing"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

func churn(t *testing.T, s *miniServer) Churn {
	t.Helper()
	l := load(t, s)
	l.Drain = 300 * time.Millisecond
	return Churn{Load: l, Conns: 12, Channels: 3, Rate: 1200, Joins: 150, Stay: 50 * time.Millisecond, Changes: 200, Settle: time.Millisecond, QoS: 1}
}

func TestChurn(t *testing.T) {
	for _, q := range []wire.QoS{0, 1, 2} {
		o := churn(t, newMiniServer(t))
		o.QoS = q
		r, err := o.Run(t.Context())
		wantClean(t, r, err)
		x := r.Churn
		if x.Came != 45 || x.Failed != 0 || x.Changed < 30 || x.Judged < 45+x.Changed/2 || len(x.Stretches) != 4 || x.Joining.Count != 45 || x.Changing.Count == 0 {
			t.Errorf("QoS %d: %+v", q, x)
		}
		if r.Received < 12*r.Sent/3 || x.RSSAfter != 3e6 {
			t.Errorf("QoS %d: %d of %d, %+v", q, r.Received, r.Sent, x)
		}
	}
}

func TestChurnInOneStretch(t *testing.T) {
	o := churn(t, newMiniServer(t))
	o.together = true
	r, err := o.Run(t.Context())
	wantClean(t, r, err)
	if x := r.Churn; x.Came != 45 || x.Changed < 30 || len(x.Stretches) != 1 {
		t.Errorf("%+v", x)
	}
}

// TestChurnSeesLosses has the server leave one message out for a socket that comes later than the standing ones: in the middle of its
// visit, at its beginning, and at its end.
func TestChurnSeesLosses(t *testing.T) {
	for name, left := range map[string]func(n int) bool{
		"the third":  func(n int) bool { return n == 3 },
		"the first":  func(n int) bool { return n == 1 },
		"all":        func(int) bool { return true },
		"from third": func(n int) bool { return n >= 3 },
	} {
		s := newMiniServer(t)
		var victim *miniConn
		got := 0
		s.deliver = func(c *miniConn, _ uint64, frame []byte) [][]byte {
			if victim == nil && c.index >= 12+1+10+5 { // standing, publisher, movers, and some guests
				victim = c
			}
			if c == victim {
				if got++; left(got) {
					return nil
				}
			}
			return [][]byte{frame}
		}
		o := churn(t, s)
		o.Changes = -1
		o.Stay = 200 * time.Millisecond
		r, err := o.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if r.Lost < 1 || !r.Broken() || name != "all" && name != "from third" && r.Lost != 1 {
			t.Errorf("%s: lost %d, wrong %d, of %d", name, r.Lost, r.Wrong, got)
		}
	}
}

func TestChurnSeesDuplicatesAndDisorder(t *testing.T) {
	s := newMiniServer(t)
	var victim *miniConn
	var held []byte
	got := 0
	s.deliver = func(c *miniConn, _ uint64, frame []byte) [][]byte {
		if victim == nil && c.index >= 30 {
			victim = c
		}
		if c != victim {
			return [][]byte{frame}
		}
		switch got++; got {
		case 1:
			held = frame
			return nil
		case 2:
			return [][]byte{frame, held}
		case 3:
			return [][]byte{frame, frame}
		}
		return [][]byte{frame}
	}
	o := churn(t, s)
	o.Changes = -1
	o.Stay = 200 * time.Millisecond
	r, err := o.Run(t.Context())
	if err != nil || r.Lost != 0 || r.Reordered != 1 || r.Duplicated != 1 {
		t.Errorf("lost %d, reordered %d, duplicated %d, %v", r.Lost, r.Reordered, r.Duplicated, err)
	}
}

// TestChurnSeesLossesOfMovers has the server leave out the first message of a channel that a standing socket has just gone to.
func TestChurnSeesLossesOfMovers(t *testing.T) {
	s := newMiniServer(t)
	done := false
	s.deliver = func(c *miniConn, n uint64, frame []byte) [][]byte {
		if !done && n > 130 && c.index >= 13 {
			done = true
			return nil
		}
		return [][]byte{frame}
	}
	o := churn(t, s)
	o.Joins = -1
	r, err := o.Run(t.Context())
	if err != nil || r.Lost != 1 || !r.Broken() {
		t.Errorf("lost %d, %v", r.Lost, err)
	}
}

func TestMissed(t *testing.T) {
	p := &positions{channels: 2}
	for i, seq := range []uint64{10, 11, 12, 13, 0, 15, 16, 17, 18, 19} { // of channel 0: 10, 12, refused, 16, 18
		p.note(uint64(i), seq)
	}
	for i, test := range []struct {
		t    track
		want uint64
	}{
		{track{since: 0, until: 5}, 4},
		{track{since: 12, until: 5}, 2},
		{track{since: 18, until: 5}, 0},
		{track{since: 10, first: 2, next: 6, until: 5}, 0},
		{track{since: 0, first: 2, next: 6, until: 5}, 1},
		{track{since: 12, first: 4, next: 5, until: 5}, 1},
		{track{since: 12, first: 4, next: 5, until: 4}, 0},
		{track{since: 0, first: 1, next: 6, until: 5, holes: []hole{{2, 4}}}, 2},
	} {
		test.t.ch = &channel{index: 0}
		if got := test.t.missed(p); got != test.want {
			t.Errorf("%d: %d, want %d", i, got, test.want)
		}
	}
}
