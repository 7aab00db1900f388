package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Publish.
const (
	DefaultPublishConns = 100
	DefaultPublishDepth = 32 // messages in flight on each socket
	DefaultRounds       = 3
)

// Publish has many sockets publish, each with many messages in flight. If Raw is given, a raw asynchronous JetStream
// publisher takes turns with them against a server of its own: the ratio of the two says what the gateway costs.
type Publish struct {
	Load
	Conns  int     // DefaultPublishConns
	Depth  int     // messages in flight on each socket; DefaultPublishDepth
	Rate   float64 // instead: messages a second, all sockets together, whatever the server does; latency counts from when each was meant to be sent
	QoS    wire.QoS
	Rounds int // of all that take turns, each Duration/Rounds long; DefaultRounds

	Namespaces []string // that take turns with the load's own, each with sockets of its own: say, with other durability classes

	// Raw publishes to a JetStream of its own for d after a warm-up, and returns how many messages a second it had
	// acknowledged: RawPublisher.Publish. nil: no comparison.
	Raw func(ctx context.Context, subjects, payload int, warmup, d time.Duration) (float64, error)
}

// Run measures publishing.
func (o Publish) Run(ctx context.Context) (r *report.Report, err error) {
	l := o.withDefaults()
	if o.Conns <= 0 {
		o.Conns = DefaultPublishConns
	}
	if o.Depth <= 0 {
		o.Depth = DefaultPublishDepth
	}
	if o.Rounds <= 0 {
		o.Rounds = DefaultRounds
	}
	r = l.report("publish")
	defer l.watch(ctx, r)()
	r.Loop = report.ClosedLoop
	r.Connections, r.Channels, r.Publishers, r.QoS = o.Conns, o.Conns, o.Conns, int(o.QoS)
	var all []*turns
	defer func() {
		for _, t := range all {
			if e := t.fleet.close(); err == nil {
				err = e
			}
		}
	}()
	for _, namespace := range append([]string{l.Namespace}, o.Namespaces...) {
		l := l
		l.Namespace = namespace
		t := &turns{o: &o, load: &l, fleet: newFleet(&l, o.QoS), run: new(postRun), nonce: strconv.FormatInt(time.Now().UnixNano(), 36)}
		if err := t.fleet.reserve(o.Conns * (1 + len(o.Namespaces))); err != nil {
			return nil, err
		}
		all = append(all, t)
		memory := r
		if len(all) > 1 {
			memory = new(report.Report) // the report's is the load's namespace's
		}
		if err := t.open(ctx, memory); err != nil {
			return nil, err
		}
	}
	if o.Rate > 0 {
		r.Loop, r.Target = report.OpenLoop, report.Figure(o.Rate)
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	for i := range o.Rounds {
		if err := o.round(ctx, i, all); err != nil {
			return nil, err
		}
	}
	all[0].report(r)
	for _, t := range all {
		r.Classes = append(r.Classes, t.class())
		t.judge(r)
	}
	return r, nil
}

// round publishes through the gateway, in each namespace, and then raw.
func (o *Publish) round(ctx context.Context, i int, all []*turns) error {
	d := o.withDefaults().Duration / time.Duration(o.Rounds)
	for _, t := range all {
		t.load.Progress(fmt.Sprintf("round %d of %d: %d sockets for %v in %s", i+1, o.Rounds, o.Conns, d, t.load.Namespace))
		rate, err := t.gateway(ctx, d)
		if err != nil {
			return err
		}
		t.rounds = append(t.rounds, report.Round{Gateway: report.Figure(rate), Raw: report.Unknown, Ratio: report.Unknown})
	}
	if o.Raw == nil {
		return nil
	}
	l := all[0].load
	l.Progress(fmt.Sprintf("round %d of %d: raw JetStream for %v", i+1, o.Rounds, d))
	raw, err := o.Raw(ctx, o.Conns, l.Payload.Mean(), l.Warmup, d)
	if err != nil {
		return fmt.Errorf("raw publisher: %w", err)
	}
	for _, t := range all {
		x := &t.rounds[i]
		x.Raw, x.Ratio = report.Figure(raw), x.Gateway/report.Figure(raw)
	}
	return nil
}

// turns is a run of Publish.
type turns struct {
	o     *Publish
	load  *Load
	fleet *fleet
	run   *postRun
	nonce string
	conns []*conn

	rounds  []report.Round
	acked   uint64        // in the windows of all rounds
	cpu     report.Figure // used in them, ns
	client  time.Duration
	machine time.Duration
	busy    int64
	seconds float64
}

func (t *turns) newSink() sink {
	t.nonce += "x" // each loop numbers its own
	return &posts{size: newSizer(t.load.Payload), qos: t.o.QoS, nonce: t.nonce, run: t.run, hist: report.NewHistogram()}
}

func (t *turns) open(ctx context.Context, r *report.Report) error {
	if err := t.fleet.open(t.newSink); err != nil {
		return err
	}
	return t.join(ctx, r)
}

func (t *turns) join(ctx context.Context, r *report.Report) error {
	for _, ch := range makeChannels(channelPrefix(t.load.Namespace, "publish"), t.o.Conns) {
		t.conns = append(t.conns, &conn{post: &post{channel: ch}})
	}
	before := t.load.Target.sample(ctx)
	if err := t.fleet.join(ctx, t.fleet.loops, t.conns); err != nil {
		return err
	}
	after := t.load.Target.sample(ctx)
	r.ServerRSS = (after.rss - before.rss).Per(float64(t.o.Conns))
	r.ServerHeap = (after.heap - before.heap).Per(float64(t.o.Conns))
	r.CPUConnect = between(before, after).Per(1e3 * float64(t.o.Conns))
	return nil
}

// gateway publishes through the gateway for so long, and returns how many messages a second were acknowledged.
func (t *turns) gateway(ctx context.Context, d time.Duration) (float64, error) {
	start, ramp := t.fleet.clock.now(), time.Duration(0)
	if t.o.Rate > 0 {
		ramp = t.load.Ramp
	}
	from := start + int64(ramp+t.load.Warmup)
	t.run.from.Store(from)
	t.run.to.Store(from + int64(d))
	stop, err := t.begin(ctx, start, from+int64(d))
	if err != nil {
		return 0, err
	}
	rate, err := t.measure(ctx, ramp, d)
	return rate, errors.Join(err, stop(), t.drain(ctx))
}

// begin starts to publish. stop ends that, and waits until it has.
func (t *turns) begin(ctx context.Context, start, end int64) (stop func() error, err error) {
	if t.o.Rate <= 0 {
		t.run.on.Store(true)
		return func() error { t.run.on.Store(false); return nil }, t.start()
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- t.atRate(ctx, start, end) }()
	return func() error {
		cancel()
		return unlessCancelled(<-ended)
	}, nil
}

// atRate publishes on the sockets in turn when a message is due.
func (t *turns) atRate(ctx context.Context, start, end int64) error {
	return t.fleet.clock.pace(ctx, schedule{t.o.Rate, t.load.Ramp}, start, end, func(i uint64, at int64) error {
		c := t.conns[i%uint64(len(t.conns))]
		c.loop.mu.Lock()
		defer c.loop.mu.Unlock()
		if c.phase != joined {
			return fmt.Errorf("%w: %w", errPublisherGone, c.why)
		}
		return c.loop.sink.(*posts).publish(c, 1, at)
	})
}

// measure waits until all is warm, and sees how much is acknowledged in so long a time.
func (t *turns) measure(ctx context.Context, ramp, d time.Duration) (float64, error) {
	if err := t.pause(ctx, ramp+t.load.Warmup); err != nil {
		return 0, err
	}
	a := t.edge(ctx)
	t.load.Measuring(d)
	if err := t.pause(ctx, d); err != nil {
		return 0, err
	}
	b := t.edge(ctx)

	seconds := b.server.at.Sub(a.server.at).Seconds()
	t.acked += b.acked - a.acked
	t.cpu += between(a.server, b.server)
	t.client += b.client - a.client
	t.machine += b.machine - a.machine
	t.busy += b.busy - a.busy
	t.seconds += seconds
	return float64(b.acked-a.acked) / seconds, nil
}

// start fills every socket's window.
func (t *turns) start() error {
	for _, c := range t.conns {
		if err := t.fillUp(c); err != nil {
			return err
		}
	}
	return nil
}

func (t *turns) fillUp(c *conn) error {
	c.loop.mu.Lock()
	defer c.loop.mu.Unlock()
	if c.phase != joined {
		return fmt.Errorf("%w: %w", errPublisherGone, c.why)
	}
	c.post.free = 0
	n := t.o.Depth - c.post.inFlight
	if n <= 0 {
		return nil
	}
	return c.loop.sink.(*posts).publish(c, n, t.fleet.clock.now())
}

func (t *turns) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return t.fleet.err()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// postEdge is what is known at one edge of a window.
type postEdge struct {
	server  usage
	client  time.Duration
	machine time.Duration
	acked   uint64
	open    uint64 // sent, and not answered
	busy    int64  // of the busiest loop
}

func (t *turns) edge(ctx context.Context) postEdge {
	e := postEdge{server: t.load.Target.edge(ctx)}
	e.client, _ = cpuClock(0)
	e.machine = machineTime()
	for _, l := range t.fleet.loops {
		l.mu.Lock()
		s := l.sink.(*posts)
		e.acked += s.total.acked
		e.open += s.sent - s.total.acked - s.total.errors
		e.busy = max(e.busy, l.busy)
		l.mu.Unlock()
	}
	return e
}

// drain waits for the answers that are still on their way.
func (t *turns) drain(ctx context.Context) error {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	var last uint64
	for since := time.Now(); time.Since(since) < t.load.Drain; {
		open := t.edge(ctx).open
		if open == 0 {
			return nil
		}
		if open != last {
			last, since = open, time.Now()
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

func (t *turns) report(r *report.Report) {
	own, raw := t.class(), report.Figure(0)
	for _, x := range own.Rounds {
		raw += x.Raw
	}
	r.Rounds, r.Published, r.Raw, r.Ratio = own.Rounds, own.Published, raw.Per(float64(len(own.Rounds))), own.Ratio
	r.Latency, r.LatencyOf = own.Latency, "publishing until acknowledged"
	r.Measured = report.Figure(t.seconds)
	r.CPUPublish = own.CPUPublish
	r.ServerCores = t.cpu.Per(1e9 * t.seconds)
	r.ClientCores = report.Figure(t.client.Seconds() / t.seconds)
	r.OtherCores = others(t.machine, t.cpu, t.client).Per(1e9 * t.seconds)
	r.ClientBusy = report.Figure(float64(t.busy) / 1e9 / t.seconds)
}

// class reports one namespace.
func (t *turns) class() report.Class {
	c := report.Class{Namespace: t.load.Namespace, Rounds: t.rounds}
	hist, gateway, raw := report.NewHistogram(), report.Figure(0), report.Figure(0)
	for _, l := range t.fleet.loops {
		l.mu.Lock()
		s := l.sink.(*posts)
		hist.Merge(s.hist)
		if s.total.acked > 0 {
			c.Class = s.total.class.String()
		}
		l.mu.Unlock()
	}
	for _, x := range t.rounds {
		gateway, raw = gateway+x.Gateway, raw+x.Raw
	}
	c.Published, c.Ratio, c.Latency = gateway.Per(float64(len(t.rounds))), gateway/raw, hist.Latency()
	c.CPUPublish = t.cpu.Per(1e3 * float64(t.acked))
	return c
}

// judge counts what went wrong.
func (t *turns) judge(r *report.Report) {
	for _, l := range t.fleet.loops {
		l.mu.Lock()
		s := l.sink.(*posts)
		r.Sent += s.sent
		r.Duplicated += s.total.duplicated
		r.Reordered += s.total.reordered
		r.PublishErrors += s.total.errors
		r.Unanswered += s.sent - s.total.acked - s.total.errors
		if s.total.first != "" {
			r.Note("publishes were refused, one of them: %s", s.total.first)
		}
		l.mu.Unlock()
	}
	r.Lost = r.Unanswered
	t.fleet.noteDisconnects(r)
}
