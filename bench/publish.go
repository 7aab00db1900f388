package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

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
	Conns  int // DefaultPublishConns
	Depth  int // messages in flight on each socket; DefaultPublishDepth
	QoS    wire.QoS
	Rounds int // of both, each Duration/Rounds long; DefaultRounds

	// Raw publishes to a JetStream of its own for d after a warm-up, and returns how many messages a second it had
	// acknowledged: RawPublisher.Publish. nil: no comparison.
	Raw func(ctx context.Context, subjects, payload int, warmup, d time.Duration) (float64, error)
}

// Run measures publishing.
func (o Publish) Run(ctx context.Context) (r *Report, err error) {
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
	r = newReport("publish", &l)
	r.Connections, r.Channels, r.Publishers, r.QoS = o.Conns, o.Conns, o.Conns, int(o.QoS)
	f := newFleet(&l, o.QoS)
	if err := f.reserve(o.Conns); err != nil {
		return nil, err
	}
	defer func() {
		if e := f.close(); err == nil {
			err = e
		}
	}()
	t := &turns{o: &o, load: &l, fleet: f, run: new(postRun), nonce: strconv.FormatInt(time.Now().UnixNano(), 36)}
	if err := f.open(t.newSink); err != nil {
		return nil, err
	}
	if err := t.join(ctx, r); err != nil {
		return nil, err
	}
	for i := range o.Rounds {
		if err := t.round(ctx, i); err != nil {
			return nil, err
		}
	}
	t.report(r)
	r.judgeClient()
	return r, nil
}

// turns is a run of Publish.
type turns struct {
	o     *Publish
	load  *Load
	fleet *fleet
	run   *postRun
	nonce string
	conns []*conn

	rounds  []Round
	acked   uint64 // in the windows of all rounds
	cpu     Figure // used in them, ns
	client  time.Duration
	machine time.Duration
	busy    int64
	seconds float64
}

func (t *turns) newSink() sink {
	t.nonce += "x" // each loop numbers its own
	return &posts{load: t.load, qos: t.o.QoS, nonce: t.nonce, run: t.run, hist: newHistogram()}
}

func (t *turns) join(ctx context.Context, r *Report) error {
	for _, ch := range makeChannels(t.load.Namespace, "publish", t.o.Conns) {
		t.conns = append(t.conns, &conn{post: &post{channel: ch}})
	}
	before := t.load.Target.sample(ctx)
	if err := t.fleet.join(ctx, t.fleet.loops, t.conns); err != nil {
		return err
	}
	after := t.load.Target.sample(ctx)
	r.ServerRSS = (after.rss - before.rss).per(float64(t.o.Conns))
	r.ServerHeap = (after.heap - before.heap).per(float64(t.o.Conns))
	r.CPUConnect = between(before, after).per(1e3 * float64(t.o.Conns))
	return nil
}

// round publishes through the gateway, and then raw.
func (t *turns) round(ctx context.Context, i int) error {
	d := t.load.Duration / time.Duration(t.o.Rounds)
	t.load.Progress(fmt.Sprintf("round %d of %d: %d sockets for %v", i+1, t.o.Rounds, t.o.Conns, d))
	rate, err := t.gateway(ctx, d)
	if err != nil {
		return err
	}
	round := Round{Gateway: Figure(rate), Raw: unknown, Ratio: unknown}
	if t.o.Raw != nil {
		t.load.Progress(fmt.Sprintf("round %d of %d: raw JetStream for %v", i+1, t.o.Rounds, d))
		raw, err := t.o.Raw(ctx, t.o.Conns, t.load.Payload, t.load.Warmup, d)
		if err != nil {
			return fmt.Errorf("raw publisher: %w", err)
		}
		round.Raw, round.Ratio = Figure(raw), Figure(rate/raw)
	}
	t.rounds = append(t.rounds, round)
	return nil
}

// gateway publishes through the gateway for so long, and returns how many messages a second were acknowledged.
func (t *turns) gateway(ctx context.Context, d time.Duration) (float64, error) {
	now := t.fleet.clock.now()
	t.run.from.Store(now + int64(t.load.Warmup))
	t.run.to.Store(now + int64(t.load.Warmup+d))
	t.run.on.Store(true)
	defer t.run.on.Store(false)
	if err := t.start(); err != nil {
		return 0, err
	}
	if err := t.pause(ctx, t.load.Warmup); err != nil {
		return 0, err
	}
	a := t.edge(ctx)
	if err := t.pause(ctx, d); err != nil {
		return 0, err
	}
	b := t.edge(ctx)
	t.run.on.Store(false)

	seconds := b.server.at.Sub(a.server.at).Seconds()
	t.acked += b.acked - a.acked
	t.cpu += between(a.server, b.server)
	t.client += b.client - a.client
	t.machine += b.machine - a.machine
	t.busy += b.busy - a.busy
	t.seconds += seconds
	return float64(b.acked-a.acked) / seconds, t.drain(ctx)
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

func (t *turns) report(r *Report) {
	hist, gateway, raw := newHistogram(), Figure(0), Figure(0)
	for _, l := range t.fleet.loops {
		l.mu.Lock()
		s := l.sink.(*posts)
		hist.merge(s.hist)
		r.Sent += s.sent
		r.Duplicated += s.total.duplicated
		r.Reordered += s.total.reordered
		r.PublishErrors += s.total.errors
		r.Unanswered += s.sent - s.total.acked - s.total.errors
		if s.total.first != "" {
			r.note("publishes were refused, one of them: %s", s.total.first)
		}
		l.mu.Unlock()
	}
	r.Lost = r.Unanswered
	for _, x := range t.rounds {
		gateway, raw = gateway+x.Gateway, raw+x.Raw
	}
	n := float64(len(t.rounds))
	r.Rounds, r.Published, r.Raw, r.Ratio = t.rounds, gateway.per(n), raw.per(n), gateway/raw
	r.Latency, r.LatencyOf = hist.latency(), "publishing until acknowledged"
	r.Measured = Figure(t.seconds)
	r.CPUPublish = t.cpu.per(1e3 * float64(t.acked))
	r.ServerCores = t.cpu.per(1e9 * t.seconds)
	r.ClientCores = Figure(t.client.Seconds() / t.seconds)
	r.OtherCores = others(t.machine, t.cpu, t.client).per(1e9 * t.seconds)
	r.ClientBusy = Figure(float64(t.busy) / 1e9 / t.seconds)
	t.fleet.noteDisconnects(r)
}
