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
	prefix := channelPrefix(l.Namespace, "idle")
	flow := newFlow(&l, f, makeChannels(prefix, 1), total)
	flow.prefix = prefix
	if o.Own {
		flow.own = channelPrefix(l.Namespace, "own")
		r.Channels += total
	}
	defer func() {
		if e := flow.close(); err == nil {
			err = e
		}
	}()
	if err := flow.staff(ctx, r, total, 1, flow.newSink); err != nil {
		return nil, err
	}
	if err := o.climb(ctx, flow, r); err != nil {
		return nil, err
	}
	return r, flow.check(ctx, r)
}

// climb connects step by step and measures each plateau.
func (o *Idle) climb(ctx context.Context, flow *flow, r *report.Report) error {
	took, have := report.NewHistogram(), 0
	for _, n := range o.Steps {
		more := opening{From: have, To: n, Step: 1}
		if o.Ramp > 0 {
			more.Rate, more.Start = float64(n-have)/o.Ramp.Seconds(), flow.fleet.clock.now()
		}
		flow.load.Progress(fmt.Sprintf("connecting up to %d sockets", n))
		before := flow.target().edge(ctx)
		opened, err := flow.open(ctx, more)
		if err != nil {
			return err
		}
		took.Merge(opened.Took)
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
	r.Latency, r.LatencyOf = took.Latency(), "connecting and subscribing"
	return flow.fleet.err()
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

// check publishes one message to the flow's channel, which every socket has to get.
func (f *flow) check(ctx context.Context, r *report.Report) error {
	p, err := newPublisher(f, 1, 0, 1)
	if err != nil {
		return err
	}
	defer p.loop.close() //nolint:errcheck // closing an epoll descriptor tells nothing new
	if err := p.join(ctx); err != nil {
		return err
	}
	began := time.Now()
	if err := p.publish(f.fleet.clock.now(), 1); err != nil {
		return err
	}
	f.await(ctx, int64(f.members), f.load.Drain)
	if err := context.Cause(ctx); err != nil {
		return err
	}
	r.Delivered = report.Figure(float64(f.arrived.Load()) / time.Since(began).Seconds())
	p.awaitAnswers(ctx, f.load.Drain)
	latency := r.Latency
	err = f.verdict(ctx, r, p)
	r.Latency = latency
	return err
}
