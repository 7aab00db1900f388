package bench

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// DefaultIdleSteps are the plateaus of Idle; its slopes go from the first to the last.
var DefaultIdleSteps = []int{1_000, 5_000, 10_000, 15_000}

// DefaultSettle is how long Idle lets memory settle on each plateau, at most.
const DefaultSettle = 8 * time.Second

// Idle has many sockets that are signed in, listen to one shared channel, and wait.
type Idle struct {
	Load
	Steps  []int // ascending numbers of connections; DefaultIdleSteps
	Own    bool  // each listens to a channel of its own besides
	Settle time.Duration
	QoS    wire.QoS // of the subscriptions
}

// Run measures idle connections: what each costs in memory, and what it cost to connect. In the end one message has to
// reach them all, which shows that every one of them is what it claims to be.
func (o Idle) Run(ctx context.Context) (r *report.Report, err error) {
	l := o.withDefaults()
	if len(o.Steps) == 0 {
		o.Steps = DefaultIdleSteps
	}
	if !slices.IsSorted(o.Steps) || o.Steps[0] < 1 {
		return nil, fmt.Errorf("steps %v: they must ascend from at least 1", o.Steps)
	}
	if o.Settle <= 0 {
		o.Settle = DefaultSettle
	}
	r = l.report("idle")
	defer l.watch(ctx, r)()
	total := o.Steps[len(o.Steps)-1]
	r.Connections, r.Channels, r.QoS, r.Publishers = total, 1, int(o.QoS), 1
	f := newFleet(&l, o.QoS)
	if err := f.reserve(total + 1); err != nil {
		return nil, err
	}
	channels := makeChannels(l.Namespace, "idle", 1)
	var own []*channel
	if o.Own {
		own = makeChannels(l.Namespace, "own", total)
		for _, ch := range own {
			ch.index = nowhere
		}
		r.Channels += total
	}
	flow := newFlow(&l, f, channels, total)
	defer func() {
		if e := f.close(); err == nil {
			err = e
		}
	}()
	if err := f.open(flow.newSink); err != nil {
		return nil, err
	}
	if err := o.climb(ctx, flow, own, r); err != nil {
		return nil, err
	}
	return r, o.check(ctx, flow, r)
}

// climb connects step by step and measures each plateau.
func (o *Idle) climb(ctx context.Context, flow *flow, own []*channel, r *report.Report) error {
	f, have := flow.fleet, 0
	for _, n := range o.Steps {
		conns := make([]*conn, 0, n-have)
		for i := have; i < n; i++ {
			c := &conn{tracks: []track{{ch: flow.channels[0]}}}
			if own != nil {
				c.tracks = append(c.tracks, track{ch: own[i]})
			}
			conns = append(conns, c)
		}
		flow.load.Progress(fmt.Sprintf("connecting up to %d sockets", n))
		before := flow.target().edge(ctx)
		if err := o.open(ctx, f, conns); err != nil {
			return err
		}
		step := report.Step{Connections: n}
		step.CPUConnect = between(before, flow.target().edge(ctx)).Per(1e3 * float64(n-have))
		have = n
		u, err := o.settled(ctx, flow.target())
		if err != nil {
			return err
		}
		step.RSS, step.Heap = u.rss, u.heap
		r.Steps = append(r.Steps, step)
	}
	r.Slopes()
	r.Latency, r.LatencyOf = f.joins.Latency(), "connecting and subscribing"
	return f.err()
}

func (o *Idle) open(ctx context.Context, f *fleet, conns []*conn) error {
	if o.Ramp > 0 {
		return f.joinOver(ctx, f.loops, conns, o.Ramp)
	}
	return f.join(ctx, f.loops, conns)
}

// settled samples until the memory of two samples in a row differs by less than half a percent.
func (o *Idle) settled(ctx context.Context, t *Target) (usage, error) {
	const pause = time.Second
	deadline := time.Now().Add(o.Settle)
	tick := time.NewTicker(min(pause, o.Settle))
	defer tick.Stop()
	last := t.sample(ctx)
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return last, context.Cause(ctx)
		}
		now := t.sample(ctx)
		if change := (now.rss - last.rss).Per(float64(last.rss)); !(change*change > 0.005*0.005) || time.Now().After(deadline) {
			return now, nil
		}
		last = now
	}
}

// check publishes one message to the shared channel, which every socket has to get.
func (o *Idle) check(ctx context.Context, flow *flow, r *report.Report) error {
	p, err := newPublisher(flow, 1, 0, 1)
	if err != nil {
		return err
	}
	defer p.loop.close() //nolint:errcheck // closing an epoll descriptor tells nothing new
	if err := p.join(ctx); err != nil {
		return err
	}
	start := time.Now()
	if err := p.publish(flow.fleet.clock.now(), 1); err != nil {
		return err
	}
	flow.await(ctx, int64(flow.members), flow.load.Drain)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.Delivered = report.Figure(float64(flow.arrived.Load()) / time.Since(start).Seconds())
	p.awaitAnswers(ctx, flow.load.Drain)
	latency := r.Latency
	flow.verdict(r, p)
	r.Latency = latency
	return nil
}
