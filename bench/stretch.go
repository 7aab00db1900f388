package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// stretch publishes n messages at a rate, and measures. meanwhile, if there is one, runs beside it, and is told when all is published; when
// n is 0, publishing ends when it returns.
func (s *slowRun) stretch(ctx context.Context, name string, rate float64, n int, meanwhile func(context.Context, <-chan struct{}) error) error {
	s.o.Progress(fmt.Sprintf("%s: %.0f messages a second", name, rate))
	x := Stretch{Name: name, Rate: Figure(rate)}
	start := s.fleet.clock.now() + int64(20*time.Millisecond)
	end := start + int64(float64(n)/rate*1e9)
	if n == 0 {
		end = 1 << 62
	}
	s.liveLoop.mu.Lock()
	d := s.liveLoop.sink.(*deliveries)
	d.hist, d.from, d.to = newHistogram(), start, end
	s.liveLoop.mu.Unlock()
	s.live.from, s.p.rate = start, rate

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
	s.live.await(ctx, int64(s.p.sent.Load())*int64(s.live.members), s.o.Drain)
	s.liveLoop.mu.Lock()
	x.Latency = d.hist.latency()
	s.liveLoop.mu.Unlock()
	s.r.Latency = x.Latency
	seconds := last.at.Sub(first.at).Seconds()
	x.Seconds, x.ServerCores = Figure(seconds), between(first, last).per(1e9*seconds)
	x.RSSGrowth, x.HeapGrowth, x.TCPGrowth = g.rss, g.heap, g.tcp
	s.r.Stalled.Stretches = append(s.r.Stalled.Stretches, x)
	return s.fleet.err()
}

func (s *slowRun) target() *Target { return s.o.Target }

// growth is how far a server's memory went beyond what it was, at the most.
type growth struct{ rss, heap, tcp Figure }

// watchGrowth looks at the memory now and then until done is closed, and once more then.
func (t *Target) watchGrowth(ctx context.Context, from usage, tcp Figure, done <-chan struct{}) growth {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	g := growth{unknown, unknown, unknown}
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

// tcpMemory is what the kernel holds for all TCP sockets of the machine, in bytes: buffers of either end.
func tcpMemory() Figure {
	text, err := os.ReadFile("/proc/net/sockstat")
	if err != nil {
		return unknown
	}
	_, rest, _ := strings.Cut(string(text), "\nTCP:")
	line, _, _ := strings.Cut(rest, "\n")
	_, mem, ok := strings.Cut(line, " mem ")
	pages, err := strconv.Atoi(mem)
	if !ok || err != nil {
		return unknown
	}
	return Figure(pages * os.Getpagesize())
}

// more is the greater of two figures, of which either may be unknown.
func more(a, b Figure) Figure {
	if !a.known() || b > a {
		return b
	}
	return a
}
