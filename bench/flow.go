package bench

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// flow is one measured stretch of publishing to subscribers: warm-up, the measured window, and the wait for what is still
// on its way.
type flow struct {
	load     *Load
	fleet    *fleet
	channels []*channel
	members  int   // sockets on each channel
	from, to int64 // the window, in the fleet's clock

	arrived   atomic.Int64 // deliveries so far
	threshold atomic.Int64 // a publisher waits for this many; meaningful while it does
	due       chan struct{}
}

func newFlow(l *Load, f *fleet, channels []*channel, members int) *flow {
	fl := &flow{load: l, fleet: f, channels: channels, members: members, due: make(chan struct{}, 1)}
	fl.threshold.Store(1 << 62)
	return fl
}

func (f *flow) newSink() sink { return &deliveries{flow: f, hist: report.NewHistogram()} }

// arrive counts deliveries, and wakes the publisher that waits for them.
func (f *flow) arrive(n int) {
	if f.arrived.Add(int64(n)) >= f.threshold.Load() {
		select {
		case f.due <- struct{}{}:
		default:
		}
	}
}

// await returns once so many deliveries have arrived, or false once none came for patience, or the context ended.
func (f *flow) await(ctx context.Context, deliveries int64, patience time.Duration) bool {
	f.threshold.Store(deliveries)
	defer f.threshold.Store(1 << 62)
	timer := time.NewTimer(patience)
	defer timer.Stop()
	last := f.arrived.Load()
	for last < deliveries {
		select {
		case <-f.due:
		case <-ctx.Done():
			return false
		case <-timer.C:
			if f.arrived.Load() == last {
				return false
			}
			timer.Reset(patience)
		}
		last = f.arrived.Load()
	}
	return true
}

// moment is what is known at one edge of the window.
type moment struct {
	server    usage
	client    time.Duration
	machine   time.Duration
	delivered uint64
	acked     uint64
	sent      uint64
	busy      []int64 // of each loop
}

func (f *flow) moment(ctx context.Context, p *publisher) moment {
	m := moment{server: f.target().edge(ctx), acked: p.acked.Load(), sent: p.sent.Load()}
	m.client, _ = cpuClock(0)
	m.machine = machineTime()
	for _, l := range append([]*loop{p.loop}, f.fleet.loops...) {
		l.mu.Lock()
		if s, ok := l.sink.(counter); ok {
			m.delivered += s.counted().counts.received
		}
		m.busy = append(m.busy, l.busy)
		l.mu.Unlock()
	}
	return m
}

func (f *flow) target() *Target { return f.load.Target }

// run publishes and measures. It fills in the report's figures of the window and of the whole.
func (f *flow) run(ctx context.Context, p *publisher, r *report.Report) error {
	start := f.fleet.clock.now() + int64(50*time.Millisecond)
	p.ramp = f.load.Ramp
	f.from = start + int64(f.load.Ramp+f.load.Warmup)
	f.to = f.from + int64(f.load.Duration)
	for _, l := range f.fleet.loops {
		l.mu.Lock()
		d := l.sink.(*deliveries)
		d.from, d.to = f.from, f.to
		l.mu.Unlock()
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.run(ctx, start, f.to) }()

	edges := [2]moment{}
	for i, at := range [2]int64{f.from, f.to} {
		if err := f.wait(ctx, at); err != nil {
			cancel()
			return errors.Join(err, unlessCancelled(<-done))
		}
		if edges[i] = f.moment(ctx, p); i == 0 {
			f.load.sampler.mark("measuring")
		}
	}
	if err := <-done; err != nil {
		return err
	}
	f.load.Progress("waiting for what is on its way")
	f.await(ctx, int64(p.sent.Load())*int64(f.members), f.load.Drain)
	p.awaitAnswers(ctx, f.load.Drain)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	f.window(r, p, edges[0], edges[1])
	r.SendDelay = p.delay.Latency()
	f.verdict(r, p)
	return nil
}

// unlessCancelled is why a publisher ended, unless it was told to.
func unlessCancelled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// wait returns at a time of the fleet's clock, or with the reason why the run cannot go on.
func (f *flow) wait(ctx context.Context, at int64) error {
	timer := time.NewTimer(time.Duration(at - f.fleet.clock.now()))
	defer timer.Stop()
	select {
	case <-timer.C:
		return f.fleet.err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// window fills in what was measured between two moments.
func (f *flow) window(r *report.Report, p *publisher, a, b moment) {
	seconds := b.server.at.Sub(a.server.at).Seconds()
	delivered := float64(b.delivered - a.delivered)
	cpu := between(a.server, b.server)
	r.Measured = report.Figure(seconds)
	r.Delivered = report.Figure(delivered / seconds)
	r.Published = report.Figure(float64(b.sent-a.sent) / seconds)
	if p.qos != wire.AtMostOnce {
		r.Published = report.Figure(float64(b.acked-a.acked) / seconds)
	}
	r.CPUDelivery = cpu.Per(1e3 * delivered)
	r.CPUPublish = cpu.Per(1e3 * float64(b.sent-a.sent))
	r.ServerCores = cpu.Per(1e9 * seconds)
	r.ClientCores = report.Figure((b.client - a.client).Seconds() / seconds)
	r.OtherCores = others(b.machine-a.machine, cpu, b.client-a.client).Per(1e9 * seconds)
	r.ClientBusy = 0
	for i := range a.busy {
		r.ClientBusy = max(r.ClientBusy, report.Figure(float64(b.busy[i]-a.busy[i])/1e9/seconds))
	}
	r.LatencyOf = "delivery"
}

// others is what programs other than the server and the client used of what the machine used.
func others(machine time.Duration, server report.Figure, client time.Duration) report.Figure {
	return max(0, report.Figure(machine)-server-report.Figure(client))
}

// verdict fills in what was delivered in all.
func (f *flow) verdict(r *report.Report, p *publisher) {
	var all deliveryCounts
	hist, refused := report.NewHistogram(), p.refusedByChannel()
	for _, l := range f.fleet.loops {
		l.mu.Lock()
		d := l.sink.(counter).counted()
		all.add(d.counts)
		hist.Merge(d.hist)
		for _, c := range l.conns {
			for i := range c.tracks {
				t := &c.tracks[i]
				r.Lost += t.lost(p.published(t.ch.index), refused[t.ch.index])
				r.Wrong += t.wrong
			}
		}
		l.mu.Unlock()
	}
	r.Latency = hist.Latency()
	r.Received, r.Sent = all.received, p.sent.Load()
	r.Duplicated, r.Reordered, r.Gaps, r.Foreign = all.duplicated, all.reordered, all.gaps, all.foreign
	r.PublishErrors, r.Unanswered = p.refusals(), p.unanswered()
	f.fleet.noteDisconnects(r)
	if why := p.firstRefusal(); why != "" {
		r.Note("publishes were refused, the first: %s", why)
	}
	if p.stalls > 0 {
		r.Note("the window stalled %d times for %v: messages in it were given up as lost", p.stalls, stallAfter)
	}
}
