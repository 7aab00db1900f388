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

	prefix  string                     // of the channels' names
	own     string                     // of the names of channels for one socket each, to which nothing is published; empty: there are none
	user    func(int) (*device, error) // as whom a socket connects; nil: as the target says
	quarter int                        // messages: a publisher waits for so many at a time
	crew    *crew                      // processes that hold the subscribers; nil: this one does

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
	edge
	server  usage
	machine time.Duration
	acked   uint64
	sent    uint64
}

func (f *flow) moment(ctx context.Context, p *publisher) (moment, error) {
	m := moment{server: f.target().edge(ctx), acked: p.acked.Load(), sent: p.sent.Load(), machine: machineTime()}
	var err error
	m.edge, err = f.edge(ctx, p.loop)
	return m, err
}

// edge is what is known of this process and the load processes, and of loops beside the fleet's.
func (f *flow) edge(ctx context.Context, also ...*loop) (edge, error) {
	e := f.fleet.edge(also...)
	if f.crew == nil {
		return e, nil
	}
	theirs, err := f.crew.edge(ctx)
	e.Delivered, e.CPU, e.Busy = e.Delivered+theirs.Delivered, e.CPU+theirs.CPU, append(e.Busy, theirs.Busy...)
	return e, err
}

func (f *flow) target() *Target { return f.load.Target }

// run publishes and measures. It fills in the report's figures of the window and of the whole.
func (f *flow) run(ctx context.Context, p *publisher, r *report.Report) error {
	start := f.fleet.clock.now() + int64(50*time.Millisecond)
	p.ramp = f.load.Ramp
	f.from = start + int64(f.load.Ramp+f.load.Warmup)
	f.to = f.from + int64(f.load.Duration)
	if err := f.span(ctx, f.from, f.to); err != nil {
		return err
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.run(ctx, start, f.to) }()

	edges := [2]moment{}
	for i, at := range [2]int64{f.from, f.to} {
		err := f.wait(ctx, at)
		if err == nil {
			edges[i], err = f.moment(ctx, p)
		}
		if err != nil {
			cancel()
			return errors.Join(err, unlessCancelled(<-done))
		}
		if i == 0 {
			f.load.sampler.mark("measuring")
			f.load.Measuring(f.load.Duration)
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
	return f.verdict(ctx, r, p)
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
	delivered := float64(b.Delivered - a.Delivered)
	cpu, client := between(a.server, b.server), time.Duration(b.CPU-a.CPU)
	r.Measured = report.Figure(seconds)
	r.Delivered = report.Figure(delivered / seconds)
	r.Published = report.Figure(float64(b.sent-a.sent) / seconds)
	if p.qos != wire.AtMostOnce {
		r.Published = report.Figure(float64(b.acked-a.acked) / seconds)
	}
	r.CPUDelivery = cpu.Per(1e3 * delivered)
	r.CPUPublish = cpu.Per(1e3 * float64(b.sent-a.sent))
	r.ServerCores = cpu.Per(1e9 * seconds)
	r.ClientCores = report.Figure(client.Seconds() / seconds)
	r.OtherCores = others(b.machine-a.machine, cpu, client).Per(1e9 * seconds)
	r.ClientBusy = 0
	for i := range a.Busy {
		r.ClientBusy = max(r.ClientBusy, report.Figure(float64(b.Busy[i]-a.Busy[i])/1e9/seconds))
	}
	r.LatencyOf = "delivery"
}

// others is what programs other than the server and the client used of what the machine used.
func others(machine time.Duration, server report.Figure, client time.Duration) report.Figure {
	return max(0, report.Figure(machine)-server-report.Figure(client))
}

// verdict fills in what was delivered in all.
func (f *flow) verdict(ctx context.Context, r *report.Report, p *publisher) error {
	said := published{Sent: p.sent.Load(), Channels: len(f.channels), Refused: p.refusedByChannel()}
	all := f.fleet.judge(&said)
	if f.crew != nil {
		theirs, err := f.crew.judge(ctx, &said)
		if err != nil {
			return err
		}
		all.add(&theirs)
	}
	all.report(r)
	r.Latency, r.Sent = all.Took.Latency(), said.Sent
	r.PublishErrors, r.Unanswered = p.refusals(), p.unanswered()
	if why := p.firstRefusal(); why != "" {
		r.Note("publishes were refused, the first: %s", why)
	}
	if p.stalls > 0 {
		r.Note("the window stalled %d times for %v: messages in it were given up as lost", p.stalls, stallAfter)
	}
	return nil
}

// open opens sockets, here or in the load processes.
func (f *flow) open(ctx context.Context, o opening) (opened, error) {
	if f.crew != nil {
		return f.crew.open(ctx, o)
	}
	return f.openHere(ctx, o)
}

// span has latencies of messages that were meant to be sent from one time to another count.
func (f *flow) span(ctx context.Context, from, to int64) error {
	f.fleet.span(from, to)
	if f.crew == nil {
		return nil
	}
	return f.crew.each(ctx, func(int) order { return order{Span: &[2]int64{from, to}} }, nil)
}

// leave closes all sockets without a goodbye.
func (f *flow) leave(ctx context.Context) error {
	f.leaveHere()
	if f.crew == nil {
		return nil
	}
	f.fleet.standing.Add(-int64(f.crew.joined))
	f.crew.joined = 0
	return f.crew.each(ctx, func(int) order { return order{Leave: true} }, nil)
}

func (f *flow) leaveHere() {
	leaveAll(f.fleet.loops)
	for _, l := range f.fleet.loops {
		l.mu.Lock()
		for c := range l.begun() {
			l.forget(c)
		}
		l.mu.Unlock()
	}
}

// close ends the load processes, if there are any, and all loops, those given beside the fleet's too.
func (f *flow) close(others ...*loop) error {
	if f.crew != nil {
		f.crew.close()
	}
	return f.fleet.close(others...)
}
