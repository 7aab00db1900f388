package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetwire/jetwire/bench/report"
)

// liveTraffic is sockets that always read, a number of them on each channel, and what is published to it, stretch by stretch.
type liveTraffic struct {
	load      *Load
	flow      *flow
	loop      *loop
	p         *publisher
	latest    report.Latency
	stretches []report.Stretch
}

// newLiveTraffic connects the publisher, and so many sockets for each channel. Its loop is one of the fleet's, which must be open.
func newLiveTraffic(ctx context.Context, l *Load, f *fleet, channels []*channel, members int) (*liveTraffic, error) {
	s := &liveTraffic{load: l, flow: newFlow(l, f, channels, members)}
	var err error
	if s.loop, err = f.newLoop(s.flow.newSink()); err != nil {
		return nil, err
	}
	f.loops = append(f.loops, s.loop)
	if s.p, err = newPublisher(s.flow, 1, 1, 1); err != nil {
		return nil, err
	}
	f.others = append(f.others, s.p.loop)
	if err := s.p.join(ctx); err != nil {
		return nil, err
	}
	sockets := members * len(channels)
	l.Progress(fmt.Sprintf("connecting %d live readers", sockets))
	return s, f.join(ctx, []*loop{s.loop}, makeConns(sockets, channels, 0, 0))
}

// makeConns makes connections that listen to the channels in turn and have got the first so many messages of each.
func makeConns(n int, channels []*channel, had uint64, buffer int) []*conn {
	conns := make([]*conn, n)
	for i := range conns {
		conns[i] = &conn{buffer: buffer, tracks: []track{{ch: channels[i%len(channels)], next: had + 1}}}
	}
	return conns
}

// stretch publishes n messages at a rate, and measures. meanwhile, if there is one, runs beside it, and is told when all is published; when
// n is 0, publishing ends when it returns.
func (s *liveTraffic) stretch(ctx context.Context, name string, rate float64, n int, meanwhile func(context.Context, <-chan struct{}) error) error {
	s.load.Progress(fmt.Sprintf("%s: %.0f messages a second", name, rate))
	x := report.Stretch{Name: name, Rate: report.Figure(rate)}
	start := s.flow.fleet.clock.now() + int64(20*time.Millisecond)
	end := start + int64(float64(n)/rate*1e9)
	if n == 0 {
		end = 1 << 62
	}
	s.loop.mu.Lock()
	d := s.loop.sink.(*deliveries)
	d.hist, d.from, d.to = report.NewHistogram(), start, end
	s.loop.mu.Unlock()
	s.flow.from, s.p.rate = start, rate

	first, tcp := s.target().sample(ctx), tcpMemory()
	publishing, stop := context.WithCancel(ctx)
	defer stop()
	published, failed := make(chan struct{}), error(nil)
	go func() {
		defer close(published)
		failed = unlessCancelled(s.p.run(publishing, start, end))
	}()
	grown := make(chan growth, 1)
	go func() { grown <- s.target().watchGrowth(ctx, first, tcp, published) }()
	var err error
	if meanwhile != nil {
		err = meanwhile(ctx, published)
	}
	if n == 0 || err != nil {
		stop()
	}
	<-published
	last := s.target().edge(ctx)
	g := <-grown
	if err := errors.Join(err, failed, context.Cause(ctx)); err != nil {
		return err
	}
	s.flow.await(ctx, int64(s.p.sent.Load())*int64(s.flow.members), s.load.Drain)
	s.loop.mu.Lock()
	x.Latency = d.hist.Latency()
	s.loop.mu.Unlock()
	s.latest = x.Latency
	seconds := last.at.Sub(first.at).Seconds()
	x.Seconds, x.ServerCores = report.Figure(seconds), between(first, last).Per(1e9*seconds)
	x.RSSGrowth, x.HeapGrowth, x.TCPGrowth = g.rss, g.heap, g.tcp
	s.stretches = append(s.stretches, x)
	return s.flow.fleet.err()
}

func (s *liveTraffic) target() *Target { return s.load.Target }

// growth is how far a server's memory went beyond what it was, at the most.
type growth struct{ rss, heap, tcp report.Figure }

// watchGrowth looks at the memory now and then until done is closed, and once more then.
func (t *Target) watchGrowth(ctx context.Context, from usage, tcp report.Figure, done <-chan struct{}) growth {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	g := growth{report.Unknown, report.Unknown, report.Unknown}
	for last := false; ; {
		u := t.sample(ctx)
		g.rss, g.heap = more(g.rss, u.rss-from.rss), more(g.heap, u.heap-from.heap)
		g.tcp = more(g.tcp, tcpMemory()-tcp)
		if last || ctx.Err() != nil {
			return g
		}
		select {
		case <-tick.C:
		case <-done:
			last = true
		case <-ctx.Done():
		}
	}
}

// more is the greater of two figures, of which either may be unknown.
func more(a, b report.Figure) report.Figure {
	if !a.Known() || b > a {
		return b
	}
	return a
}
