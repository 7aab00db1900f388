package bench

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jetwire/jetwire/bench/report"
)

// TestSeriesTellsHowARunWent holds a run's points against what it counted in all.
func TestSeriesTellsHowARunWent(t *testing.T) {
	l := load(t, newMiniServer(t))
	l.every = 25 * time.Millisecond
	var shown []report.Point
	l.Second = func(p report.Point) { shown = append(shown, p) }
	r, err := Fanout{Load: l, Conns: 20, Rate: 4000, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if r.Series == nil || len(r.Series.Points) < 5 || len(shown) != len(r.Series.Points) {
		t.Fatalf("%d shown, %+v", len(shown), r.Series)
	}
	last, delivered, measured := report.Figure(0), report.Figure(0), 0
	for i, p := range r.Series.Points {
		if i > 0 {
			delivered += p.Delivered * (p.At - last)
		}
		if last = p.At; p.P50.Known() && p.P50 > 0 && p.P99 >= p.P50 {
			measured++
		}
	}
	if got := float64(delivered); got < 0.5*float64(r.Received) || got > 1.1*float64(r.Received) || measured < 3 {
		t.Errorf("%v deliveries in the points, %d in all; %d points know latencies", delivered, r.Received, measured)
	}
	if !slices.ContainsFunc(r.Series.Points, func(p report.Point) bool { return p.Connections == 21 && p.ClientCores.Known() }) {
		t.Errorf("%+v", r.Series.Points)
	}
	if !slices.ContainsFunc(r.Series.Marks, func(m report.Mark) bool { return m.Text == "measuring" && m.At > 0 }) {
		t.Errorf("%+v", r.Series.Marks)
	}
	if r.Files.Needed != 21+otherFiles || r.Files.Client < r.Files.Needed || r.Loop != report.OpenLoop {
		t.Errorf("%+v, %s", r.Files, r.Loop)
	}
}

func TestPublishesAreInTheSeries(t *testing.T) {
	l := load(t, newMiniServer(t))
	l.every = 25 * time.Millisecond
	r, err := Publish{Load: l, Conns: 4, Depth: 8, Rounds: 1, QoS: 1}.Run(t.Context())
	wantClean(t, r, err)
	if !slices.ContainsFunc(r.Series.Points, func(p report.Point) bool { return p.Connections == 4 && p.Published > 100 && p.P50 > 0 }) || r.Loop != report.ClosedLoop {
		t.Errorf("%+v", r.Series.Points)
	}
}

// TestConnectionsThatEndAreNotCounted: what left, and what the fleet closed, is no connection any more.
func TestConnectionsThatEndAreNotCounted(t *testing.T) {
	l := load(t, newMiniServer(t)).withDefaults()
	f := newFleet(&l, 1)
	flow := newFlow(&l, f, makeChannels(channelPrefix(l.Namespace, "x"), 1), 3)
	if err := f.open(flow.newSink); err != nil {
		t.Fatal(err)
	}
	if err := f.join(t.Context(), f.loops, makeConns(3, flow.channels, 0, 0)); err != nil {
		t.Fatal(err)
	}
	if n := f.standing.Load(); n != 3 {
		t.Errorf("%d stand", n)
	}
	c := f.loops[0].conns[0]
	f.loops[0].mu.Lock()
	c.leave()
	c.leave()
	f.loops[0].mu.Unlock()
	if n := f.standing.Load(); n != 2 {
		t.Errorf("%d stand when one has left", n)
	}
	if err := f.close(); err != nil || f.standing.Load() != 0 {
		t.Errorf("%v, %d stand in the end", err, f.standing.Load())
	}
}

func TestNobodyLooksAtAServerThatIsReplaced(t *testing.T) {
	l := Load{Target: &Target{MetricsURL: "http://127.0.0.1:0/"}}.withDefaults()
	ctx, cancel := context.WithCancel(t.Context())
	var sampled = make(chan struct{})
	if err := l.sampler.without(func() error {
		go func() {
			l.sampler.sample(ctx, l.Target)
			close(sampled)
		}()
		l.Target.PID = 1
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	<-sampled
	cancel()
}

func TestMarksOfTheSameWordingAreOne(t *testing.T) {
	s := newSampler(nil, nil, time.Second)
	for _, text := range []string{"10 have come", "20 have come", "all have come", "10 have come"} {
		s.say(text)
	}
	if len(s.series.Marks) != 3 {
		t.Errorf("%+v", s.series.Marks)
	}
}

// TestAServerShortOfDescriptors is refused before anything is measured.
func TestAServerShortOfDescriptors(t *testing.T) {
	limit, err := fileLimit()
	if err != nil {
		t.Skip(err)
	}
	f := newFleet(&Load{Target: &Target{PID: 1}}, 1)
	server := processFileLimit(1)
	if server == 0 || server >= limit {
		t.Skipf("process 1 may have %d descriptors, this one %d", server, limit)
	}
	if err := f.checkFiles(server, server); !errors.Is(err, ErrFiles) {
		t.Error(err)
	}
}
