package bench

import (
	"context"
	"errors"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

func load(t *testing.T, s *miniServer) Load {
	t.Helper()
	return Load{
		Target: s.target(t), Duration: 300 * time.Millisecond, Warmup: 50 * time.Millisecond, Drain: 500 * time.Millisecond,
	}
}

func wantClean(t *testing.T, r *report.Report, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	if r.Lost+r.Duplicated+r.Reordered+r.Wrong+r.Foreign+r.Gaps+r.PublishErrors+r.Unanswered+r.Disconnects != 0 {
		var b strings.Builder
		_ = r.WriteText(&b)
		t.Fatal(b.String())
	}
}

func TestFanoutAtARate(t *testing.T) {
	for _, q := range []wire.QoS{0, 1, 2} {
		r, err := Fanout{Load: load(t, newMiniServer(t)), Conns: 20, Rate: 4000, QoS: q}.Run(t.Context())
		wantClean(t, r, err)
		if r.Received != 20*r.Sent || r.Sent < 60 || r.Latency.Count == 0 || !r.Latency.P99.Known() {
			t.Errorf("QoS %d: %d sent, %d received, %+v", q, r.Sent, r.Received, r.Latency)
		}
	}
}

func TestRampAndSizes(t *testing.T) {
	for _, flatOut := range []bool{false, true} {
		l := load(t, newMiniServer(t))
		l.Ramp = 200 * time.Millisecond
		var err error
		if l.Payload, err = ParseSizes("64-256:9,2000:1"); err != nil {
			t.Fatal(err)
		}
		r, err := Fanout{Load: l, Conns: 10, Rate: 2000, FlatOut: flatOut, QoS: 1}.Run(t.Context())
		wantClean(t, r, err)
		if !flatOut && (r.Sent < 80 || r.Sent > 90) { // half the rate for 200 ms, all of it for 350
			t.Errorf("%d sent", r.Sent)
		}
	}
	l := load(t, newMiniServer(t))
	l.Ramp = 100 * time.Millisecond
	start := time.Now()
	r, err := Idle{Load: l, Steps: []int{5, 20}, Settle: 10 * time.Millisecond, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if r.Received != 20 || time.Since(start) < 2*l.Ramp {
		t.Errorf("%d received after %v", r.Received, time.Since(start))
	}
}

func TestFanoutFlatOut(t *testing.T) {
	r, err := Fanout{Load: load(t, newMiniServer(t)), Conns: 10, FlatOut: true, Window: 8, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if r.Target.Known() || r.Delivered < 1000 {
		t.Errorf("%+v", r)
	}
}

func TestRooms(t *testing.T) {
	for _, q := range []wire.QoS{0, 1} {
		r, err := Rooms{Load: load(t, newMiniServer(t)), Rooms: 7, Members: 3, Publishers: 2, Rate: 3000, QoS: q}.Run(t.Context())
		wantClean(t, r, err)
		if r.Received != 3*r.Sent || r.Publishers != 2 || r.Connections != 21 {
			t.Errorf("%+v", r)
		}
	}
}

func TestIdle(t *testing.T) {
	r, err := Idle{Load: load(t, newMiniServer(t)), Steps: []int{5, 12}, Own: true, Settle: 10 * time.Millisecond, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if len(r.Steps) != 2 || r.Received != 12 || r.Channels != 13 || r.ServerRSS != 0 || r.Latency.Count != 12 {
		t.Errorf("%+v", r)
	}
}

func TestPublish(t *testing.T) {
	o := Publish{Load: load(t, newMiniServer(t)), Conns: 4, Depth: 8, Rounds: 2, QoS: 1}
	o.Raw = func(context.Context, int, int, time.Duration, time.Duration) (float64, error) { return 1000, nil }
	r, err := o.Run(t.Context())
	wantClean(t, r, err)
	if len(r.Rounds) != 2 || r.Rounds[0].Gateway < 100 || r.Rounds[1].Gateway < 100 || r.Raw != 1000 || !r.Ratio.Known() || r.Latency.Count == 0 {
		t.Errorf("%+v", r)
	}
}

func slowReaders(t *testing.T, s *miniServer) SlowReaders {
	t.Helper()
	l := load(t, s)
	l.Payload, l.Warmup = Bytes(256), -1
	return SlowReaders{Load: l, Readers: 5, Live: 3, Messages: 60, Rate: 500, Trickle: 100, QoS: 1}
}

func TestSlowReaders(t *testing.T) {
	r, err := slowReaders(t, newMiniServer(t)).Run(t.Context())
	wantClean(t, r, err)
	x := r.Stalled
	if len(x.Stretches) != 4 || x.Complete != 5 || !(x.Last > 0) || x.RSSGrowth != 0 {
		t.Fatalf("%+v", x)
	}
	for i, want := range []int64{3 * 30, 3 * 150, 3 * 60} {
		if got := x.Stretches[i].Latency.Count; got != want {
			t.Errorf("%s: %d deliveries to live readers, want %d", x.Stretches[i].Name, got, want)
		}
	}
	// What the trickle sent while they caught up comes on top.
	if least := uint64(3*(30+150+60) + 5*60); r.Received < least || r.Received != least+8*(r.Sent-240) {
		t.Errorf("%d sent, %d received", r.Sent, r.Received)
	}
}

// TestAStalledReaderThatLacksAMessage has the server leave one out while nobody reads.
func TestAStalledReaderThatLacksAMessage(t *testing.T) {
	s := newMiniServer(t)
	s.deliver = func(c *miniConn, n uint64, frame []byte) [][]byte {
		if subs := s.subs[firstKey(s.subs)]; n == 200 && c == subs[len(subs)-1] {
			return nil
		}
		return [][]byte{frame}
	}
	r, err := slowReaders(t, s).Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Lost != 1 || !r.Broken() {
		t.Errorf("lost %d", r.Lost)
	}
}

func TestSlowReadersNeedAQoS(t *testing.T) {
	o := slowReaders(t, newMiniServer(t))
	o.QoS = 0
	if _, err := o.Run(t.Context()); err == nil {
		t.Error("QoS 0 was taken")
	}
}

func TestOneByOneJoinsToo(t *testing.T) {
	l := load(t, newMiniServer(t))
	l.OneByOne = true
	r, err := Idle{Load: l, Steps: []int{3}, Own: true, Settle: time.Millisecond, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
}

func TestSeveralSources(t *testing.T) {
	l := load(t, newMiniServer(t))
	l.Sources = 3
	r, err := Fanout{Load: l, Conns: 6, Rate: 600, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
}

// TestSeveralGateways spreads the sockets over two addresses of one server.
func TestSeveralGateways(t *testing.T) {
	s := newMiniServer(t)
	second := httptest.NewServer(s.http.Config.Handler)
	t.Cleanup(second.Close)
	l := load(t, s)
	other, err := NewTarget(t.Context(), strings.Replace(second.URL, "http://", "ws://", 1)+"/ws", "", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	l.Target.Others = []*Target{other}
	at := map[string]int{}
	s.after = func(n uint64) {
		for c := range s.conns {
			if n == 1 {
				at[c.LocalAddr().String()]++
			}
		}
	}
	r, err := Rooms{Load: l, Rooms: 4, Members: 5, Publishers: 2, Rate: 1000, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if len(at) != 2 || at[other.addr.String()] != 11 || r.Received != 5*r.Sent || len(r.Gateways) != 2 {
		t.Errorf("%v, %+v", at, r)
	}
	if u := l.Target.sample(t.Context()); u.rss != 6e6 || u.heap != 3e6 || u.cpu != 5*time.Second {
		t.Errorf("%+v", u)
	}
	other.MetricsURL += "/no/such/page"
	if u := l.Target.sample(t.Context()); u.rss.Known() || u.cpu >= 0 {
		t.Errorf("%+v", u)
	}
}

// TestFaultsAreSeen has the server lie to one of three sockets, once.
func TestFaultsAreSeen(t *testing.T) {
	var held []byte
	for name, test := range map[string]struct {
		deliver func(n uint64, frame []byte) [][]byte
		check   func(r *report.Report) bool
	}{
		"lost": {
			func(n uint64, f []byte) [][]byte {
				if n == 5 {
					return nil
				}
				return [][]byte{f}
			},
			func(r *report.Report) bool { return r.Lost == 1 && r.Duplicated == 0 && r.Reordered == 0 },
		},
		"duplicated": {
			func(n uint64, f []byte) [][]byte {
				if n == 5 {
					return [][]byte{f, f}
				}
				return [][]byte{f}
			},
			func(r *report.Report) bool { return r.Lost == 0 && r.Duplicated == 1 && r.Reordered == 0 },
		},
		"reordered": {
			func(n uint64, f []byte) [][]byte {
				switch n {
				case 5:
					held = f
					return nil
				case 6:
					return [][]byte{f, held}
				}
				return [][]byte{f}
			},
			func(r *report.Report) bool { return r.Lost == 0 && r.Duplicated == 0 && r.Reordered == 1 },
		},
	} {
		s := newMiniServer(t)
		s.deliver = func(c *miniConn, n uint64, frame []byte) [][]byte {
			if c != s.subs[firstKey(s.subs)][1] {
				return [][]byte{frame}
			}
			return test.deliver(n, frame)
		}
		r, err := Fanout{Load: load(t, s), Conns: 3, Rate: 300, QoS: 1}.Run(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if !test.check(r) || !r.Broken() {
			t.Errorf("%s: lost %d, duplicated %d, reordered %d", name, r.Lost, r.Duplicated, r.Reordered)
		}
	}
}

func firstKey(m map[string][]*miniConn) string {
	for k := range m {
		return k
	}
	return ""
}

func TestRefusedPublishIsNoLoss(t *testing.T) {
	s := newMiniServer(t)
	s.refuse = func(n uint64) bool { return n == 4 }
	r, err := Fanout{Load: load(t, s), Conns: 3, Rate: 300, QoS: 1}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.Lost != 0 || r.PublishErrors != 1 || r.Unanswered != 0 || r.Broken() || !strings.Contains(strings.Join(r.Notes, " "), "store_full") {
		t.Errorf("%+v", r)
	}
}

func TestServerThatHangsUpIsReported(t *testing.T) {
	s := newMiniServer(t)
	s.after = func(n uint64) {
		if n == 5 {
			for c := range s.conns {
				_ = c.Close()
			}
		}
	}
	_, err := Fanout{Load: load(t, s), Conns: 3, Rate: 300, QoS: 1}.Run(t.Context())
	if !errors.Is(err, errPublisherGone) {
		t.Errorf("got %v", err)
	}
}

func TestBadTokenEndsTheRun(t *testing.T) {
	l := load(t, newMiniServer(t))
	l.Target.Token = "forged"
	_, err := Fanout{Load: l, Conns: 3, QoS: 1}.Run(t.Context())
	var refusal *wire.Error
	if !errors.Is(err, ErrJoin) || !errors.As(err, &refusal) || refusal.Code != wire.BadToken {
		t.Errorf("got %v", err)
	}
}

func TestCancelEndsTheRun(t *testing.T) {
	l := load(t, newMiniServer(t))
	l.Duration = time.Hour
	ctx, cancel := context.WithCancel(t.Context())
	s := time.AfterFunc(200*time.Millisecond, cancel)
	defer s.Stop()
	if _, err := (Fanout{Load: l, Conns: 3, Rate: 300, QoS: 1}).Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestTooFewFiles(t *testing.T) {
	limit, err := fileLimit()
	if err != nil {
		t.Skip(err)
	}
	_, err = Fanout{Load: load(t, newMiniServer(t)), Conns: limit}.Run(t.Context())
	if !errors.Is(err, ErrFiles) {
		t.Errorf("got %v", err)
	}
}

func TestNobodyListens(t *testing.T) {
	s := newMiniServer(t)
	l := load(t, s)
	s.http.Close()
	if _, err := (Fanout{Load: l, Conns: 3}).Run(t.Context()); !errors.Is(err, ErrJoin) {
		t.Errorf("got %v", err)
	}
}

// TestLatencyCountsFromTheSchedule has the server take half as long again for each message as there is time for one: each
// waits longer than the one before, and the last ones are still on their way when publishing ends.
func TestLatencyCountsFromTheSchedule(t *testing.T) {
	for _, q := range []wire.QoS{0, 1} {
		s := newMiniServer(t)
		s.after = func(uint64) { time.Sleep(15 * time.Millisecond) }
		l := load(t, s)
		l.Warmup = -1
		r, err := Fanout{Load: l, Conns: 2, Rate: 200, QoS: q}.Run(t.Context())
		wantClean(t, r, err)
		if r.Received != 2*r.Sent || r.Latency.P50 < 40_000 || r.Latency.P99 < 100_000 || r.Latency.Max > 2_000_000 {
			t.Errorf("QoS %d: %d sent, %d received, %+v", q, r.Sent, r.Received, r.Latency)
		}
	}
}

func TestPublishGoesOnAfterRefusals(t *testing.T) {
	s := newMiniServer(t)
	s.refuse = func(n uint64) bool { return n == 1 }
	r, err := Publish{Load: load(t, s), Conns: 1, Depth: 1, Rounds: 2, QoS: 1}.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if r.PublishErrors != 1 || r.Lost != 0 || r.Rounds[0].Gateway != 0 || !(r.Rounds[1].Gateway > 0) {
		t.Errorf("%+v", r)
	}
}
