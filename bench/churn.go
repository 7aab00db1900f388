package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Churn.
const (
	DefaultChurnConns    = 1_000
	DefaultChurnChannels = 10
	DefaultChurnRate     = 2_000 // deliveries a second
	DefaultJoins         = 200   // sockets a second
	DefaultStay          = 2 * time.Second
	DefaultChanges       = 500 // a second
	DefaultChurnSettle   = 10 * time.Second
)

// Churn has a standing population with live traffic while other sockets come and go, and then while sockets subscribe to
// channels and leave them.
type Churn struct {
	Load         // Duration is that of each stretch; Ramp: of Joins and Changes
	Conns    int // standing sockets; DefaultChurnConns
	Channels int // that have traffic, over which sockets are spread; DefaultChurnChannels
	Rate     float64
	Joins    float64       // sockets that come a second, as many as go; DefaultJoins. Negative: none
	Stay     time.Duration // of each, and of a subscription that changes; DefaultStay
	Changes  float64       // a second, on standing sockets: a subscribe or an unsubscribe; DefaultChanges. Negative: none
	Settle   time.Duration // for the server to collect its garbage, at most; DefaultChurnSettle
	QoS      wire.QoS

	together bool // in one stretch, with nothing to compare it with
}

// Run measures what churn costs the server and the standing sockets. Every subscription is judged from the position at which it began
// until it ended. A guest leaves once it has what was published before its time was over, or Drain has passed.
func (o Churn) Run(ctx context.Context) (r *report.Report, err error) {
	def(&o.Conns, DefaultChurnConns)
	def(&o.Channels, DefaultChurnChannels)
	def(&o.Rate, DefaultChurnRate)
	def(&o.Stay, DefaultStay)
	def(&o.Settle, DefaultChurnSettle)
	if o.Joins == 0 {
		o.Joins = DefaultJoins
	}
	if o.Changes == 0 {
		o.Changes = DefaultChanges
	}
	o.Channels = min(o.Channels, o.Conns)
	members := (o.Conns + o.Channels - 1) / o.Channels
	o.Conns = members * o.Channels
	l := o.withDefaults()
	o.Load = l
	r = l.report("churn")
	defer l.watch(ctx, r)()
	r.Loop = report.OpenLoop
	r.Connections, r.Channels, r.Publishers, r.QoS = o.Conns, o.Channels, 1, int(o.QoS)
	r.Target = report.Figure(o.Rate)
	r.Churn = &report.Churn{
		Joins: report.Figure(max(0, o.Joins)), Changes: report.Figure(max(0, o.Changes)), Stay: report.Figure(o.Stay.Seconds()),
		CPUVisit: report.Unknown, CPUChange: report.Unknown,
		RSSBefore: report.Unknown, RSSAfter: report.Unknown, HeapBefore: report.Unknown, HeapAfter: report.Unknown,
	}
	f := newFleet(&l, o.QoS)
	f.lenient = true
	c := &churnRun{o: &o, r: r, fleet: f, rate: o.Rate / float64(members)}
	c.movers = make([]*mover, int(max(0, o.Changes)*o.Stay.Seconds()+0.5))
	if err := f.reserve(o.Conns + len(c.movers) + 2*int(max(0, o.Joins)*(o.Stay+l.Drain).Seconds()) + 1); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := c.open(ctx, members); err != nil {
		return nil, err
	}
	if err := c.run(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// churnRun is one run of Churn.
type churnRun struct {
	o     *Churn
	r     *report.Report
	fleet *fleet
	live  *liveTraffic
	rate  float64 // messages a second
	loops []*loop // of guests and movers
	visit *flow   // of the same channels

	// Owned by what runs beside a stretch.
	guests []*guest // in the order in which their time is over
	going  []*guest // their time is over
	movers []*mover
}

func (c *churnRun) newSink() sink {
	return &visits{deliveries: deliveries{flow: c.visit, hist: report.NewHistogram()}, took: report.NewHistogram()}
}

// open connects the standing sockets.
func (c *churnRun) open(ctx context.Context, members int) (err error) {
	channels := makeChannels(channelPrefix(c.o.Namespace, "churn"), c.o.Channels)
	c.visit = newFlow(&c.o.Load, c.fleet, channels, members)
	if err := c.fleet.open(c.newSink); err != nil {
		return err
	}
	c.loops = append(c.loops, c.fleet.loops...)
	if c.live, err = newLiveTraffic(ctx, &c.o.Load, c.fleet, channels, members); err != nil {
		return err
	}
	c.live.p.positions = &positions{channels: len(channels)}
	var conns []*conn
	for i := range c.movers {
		c.movers[i] = &mover{c: &conn{tracks: []track{{ch: channels[i%len(channels)], late: true}}}}
		conns = append(conns, c.movers[i].c)
	}
	if err := c.fleet.join(ctx, c.loops, conns); err != nil {
		return err
	}
	if got := c.fleet.takeJoins(); len(got.Failures) > 0 {
		return fmt.Errorf("%w: %s", ErrJoin, mostly(got.Failures))
	}
	for _, l := range c.loops {
		l.mu.Lock()
		l.ahead = unlimited
		l.mu.Unlock()
	}
	return nil
}

func (c *churnRun) run(ctx context.Context) error {
	o, x, live := c.o, c.r.Churn, c.live
	n := int(c.rate * o.Duration.Seconds())
	if err := o.ready(ctx); err != nil {
		return err
	}
	if o.Warmup > 0 {
		if err := live.stretch(ctx, "warm-up", c.rate, max(1, int(c.rate*o.Warmup.Seconds())), nil); err != nil {
			return err
		}
		live.stretches = nil
	}
	if o.together {
		if err := c.both(ctx); err != nil {
			return err
		}
		return c.verdict(ctx)
	}
	if err := live.stretch(ctx, "alone", c.rate, n, nil); err != nil {
		return err
	}
	before := c.rest(ctx)
	if o.Joins > 0 {
		if err := c.stretch(ctx, "sockets", c.comeAndGo); err != nil {
			return err
		}
		x.CPUVisit = c.extra().Per(float64(x.Came))
	}
	if o.Changes > 0 {
		if err := c.stretch(ctx, "channels", c.move); err != nil {
			return err
		}
		x.CPUChange = c.extra().Per(float64(x.Changed))
	}
	if err := live.stretch(ctx, "after", c.rate, n, nil); err != nil {
		return err
	}
	after := c.rest(ctx)
	x.RSSBefore, x.RSSAfter, x.HeapBefore, x.HeapAfter = before.rss, after.rss, before.heap, after.heap
	if grown := after.rss - before.rss; grown > before.rss/4+16<<20 {
		c.r.Note("the memory has not come back: %.0f MiB more RSS than before", grown/(1<<20))
	}
	return c.verdict(ctx)
}

// rest is what the server holds once it has collected its garbage.
func (c *churnRun) rest(ctx context.Context) usage {
	c.o.Progress("waiting until the server has collected its garbage")
	c.o.Target.awaitCollection(ctx, c.o.Settle)
	return c.o.Target.sample(ctx)
}

// both has guests and movers beside the same traffic.
func (c *churnRun) both(ctx context.Context) error {
	return c.stretch(ctx, "churn", func(ctx context.Context) error {
		moved := make(chan error, 1)
		go func() {
			if c.o.Changes > 0 {
				moved <- c.move(ctx)
			} else {
				moved <- nil
			}
		}()
		var err error
		if c.o.Joins > 0 {
			err = c.comeAndGo(ctx)
		}
		return errors.Join(err, <-moved)
	})
}

// stretch runs something beside live traffic, and notes what the client used meanwhile.
func (c *churnRun) stretch(ctx context.Context, name string, do func(context.Context) error) error {
	from, err := c.live.flow.moment(ctx, c.live.p)
	if err != nil {
		return err
	}
	err = c.live.stretch(ctx, name, c.rate, 0, func(ctx context.Context, _ <-chan struct{}) error { return do(ctx) })
	if err != nil {
		return err
	}
	to, err := c.live.flow.moment(ctx, c.live.p)
	c.live.flow.window(c.r, c.live.p, from, to)
	return err
}

// extra is the processor time, in µs, that the server used in the last stretch beyond what it used in the first for as long.
func (c *churnRun) extra() report.Figure {
	list := c.live.stretches
	a, b := list[0], list[len(list)-1]
	return (b.ServerCores - a.ServerCores) * b.Seconds * 1e6
}

// sentSoFar is how many messages a channel was sent.
func (c *churnRun) sentSoFar(index int) uint64 { return c.live.p.published(index) }

// verdict judges the standing sockets, the movers, and every guest that was there.
func (c *churnRun) verdict(ctx context.Context) error {
	o, r, x, p := c.o, c.r, c.r.Churn, c.live.p
	p.awaitAnswers(ctx, o.Drain)
	c.visit.await(ctx, 1<<40, min(o.Drain, time.Second)) // until nothing comes
	c.live.verdict(r)
	got := c.fleet.takeJoins()
	for why, n := range got.Failures {
		x.Failed += n
		r.Note("%d guests could not join: %s", n, why)
	}
	changes := report.NewHistogram()
	for _, l := range c.loops {
		l.mu.Lock()
		v := l.sink.(*visits)
		v.counts.report(r)
		changes.Merge(v.took)
		all := v.ended
		for conn := range l.begun() {
			for _, t := range conn.tracks {
				if conn.phase == joined && t.until == 0 {
					t.until = c.sentSoFar(t.ch.index)
				}
				all = append(all, t)
			}
		}
		c.judge(all)
		if v.fails > 0 {
			r.Note("%d changes were refused, the first: %s", v.fails, v.first)
			x.Failed += v.fails
		}
		l.mu.Unlock()
	}
	x.Joining, x.Changing = got.Took.Latency(), changes.Latency()
	x.Stretches = c.live.stretches
	r.Latency, r.LatencyOf = c.live.stretches[len(c.live.stretches)-1].Latency, "delivery to standing sockets"
	if len(x.Stretches) > 1 {
		r.Latency, r.LatencyOf = x.Stretches[1].Latency, "delivery to standing sockets while others come and go"
	}
	r.Sent, r.PublishErrors, r.Unanswered, r.SendDelay = p.sent.Load(), p.refusals(), p.unanswered(), p.delay.Latency()
	if why := p.firstRefusal(); why != "" {
		r.Note("publishes were refused, the first: %s", why)
	}
	c.fleet.noteDisconnects(r)
	return context.Cause(ctx)
}

// judge judges late subscriptions.
func (c *churnRun) judge(all []track) {
	p := c.live.p
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	for i := range all {
		t := &all[i]
		c.r.Wrong += t.wrong
		c.r.Churn.Judged++
		if c.o.QoS > wire.AtMostOnce {
			c.r.Lost += t.missed(p.positions)
		} else if t.next != 0 {
			c.r.Lost += t.lost(t.until, 0)
		}
	}
}
