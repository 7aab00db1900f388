package bench

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Mixed.
const (
	DefaultMixedConns     = 2_000
	DefaultMixedRate      = 10_000 // deliveries a second
	DefaultMixedPublishes = 500    // messages a second
	DefaultMixedRequests  = 50     // a second
	DefaultMixedJoins     = 50     // sockets a second
	DefaultMix            = "fanout:20,rooms:40,durable:10,publish:5,idle:20,history:1,churn:4"
)

// Classes are what a Mix is made of.
var Classes = []string{"fanout", "rooms", "durable", "publish", "idle", "history", "churn"}

// ErrMix is returned for a text that names no Mix.
var ErrMix = errors.New("bench: a mix is classes with weights, such as " + DefaultMix)

// Mix is how sockets are shared out among Classes: by weight. A class that is not in it gets none.
type Mix map[string]int

// ParseMix reads `fanout:20,rooms:40`. Errors are ErrMix.
func ParseMix(text string) (Mix, error) {
	const most = 1_000_000
	m := Mix{}
	for _, word := range strings.Split(text, ",") {
		class, share, _ := strings.Cut(strings.TrimSpace(word), ":")
		n, err := strconv.Atoi(share)
		known := false
		for _, c := range Classes {
			known = known || c == class
		}
		_, twice := m[class]
		if err != nil || n < 0 || n > most || !known || twice {
			return nil, fmt.Errorf("%w: %q; the classes are %s, each named once at most", ErrMix, word, strings.Join(Classes, ", "))
		}
		m[class] = n
	}
	if m.total() == 0 {
		return nil, fmt.Errorf("%w: all weights are 0", ErrMix)
	}
	return m, nil
}

func (m Mix) total() (n int) {
	for _, share := range m {
		n += share
	}
	return n
}

// of is how many of n sockets a class gets: one at least, if it has a weight.
func (m Mix) of(class string, n int) int {
	if m[class] == 0 {
		return 0
	}
	return max(1, n*m[class]/m.total())
}

// Mixed runs several scenarios at the same time against one server, each with a share of the sockets.
type Mixed struct {
	Load
	Conns     int     // all sockets together; DefaultMixedConns
	Mix       Mix     // DefaultMix
	Rate      float64 // deliveries a second to the sockets of fanout, rooms, durable and churn, alike to each; DefaultMixedRate
	Publishes float64 // messages a second by the sockets of publish; DefaultMixedPublishes
	Requests  float64 // pages of history a second; DefaultMixedRequests
	Joins     float64 // sockets a second that come and go beside those of churn; DefaultMixedJoins
	QoS       wire.QoS
}

// part is one class of a mixed run.
type part struct {
	class string
	conns int
	rate  float64 // asked for; 0: none
	of    string  // what the rate is of
	run   func(ctx context.Context, l Load) (*report.Report, error)
	r     *report.Report
}

// Run measures a mix. The report's Parts have the figures of each class, and what they lost together stands in its totals.
func (o Mixed) Run(ctx context.Context) (r *report.Report, err error) {
	def(&o.Conns, DefaultMixedConns)
	def(&o.Rate, DefaultMixedRate)
	def(&o.Publishes, DefaultMixedPublishes)
	def(&o.Requests, DefaultMixedRequests)
	def(&o.Joins, DefaultMixedJoins)
	if o.QoS == wire.AtMostOnce {
		return nil, errNoPosition // of durable, and of what churn judges by
	}
	if o.Mix.total() == 0 {
		if o.Mix, err = ParseMix(DefaultMix); err != nil {
			return nil, err
		}
	}
	l := o.withDefaults()
	o.Load = l
	parts := o.parts()
	r = l.report("mixed")
	defer l.watch(ctx, r)()
	r.Loop = report.OpenLoop
	r.QoS = int(o.QoS)
	for _, p := range parts {
		r.Connections += p.conns
	}
	if err := newFleet(&l, o.QoS).reserve(r.Connections + 4*len(parts) + int(o.Joins*DefaultStay.Seconds()*2)); err != nil {
		return nil, err
	}
	if err := o.run(ctx, parts, r); err != nil {
		return nil, err
	}
	for _, p := range parts {
		p.report(r)
	}
	return r, nil
}

// parts shares out the sockets and the rates.
func (o *Mixed) parts() (list []*part) {
	listening := 0
	for _, class := range []string{"fanout", "rooms", "durable", "churn"} {
		listening += o.Mix.of(class, o.Conns)
	}
	for _, class := range Classes {
		n := o.Mix.of(class, o.Conns)
		if n == 0 {
			continue
		}
		p := &part{class: class, conns: n, rate: o.Rate * float64(n) / float64(max(1, listening)), of: "deliveries"}
		q := o.QoS
		rooms := func(ctx context.Context, l Load) (*report.Report, error) {
			members := min(DefaultRoomMembers, n)
			return Rooms{Load: l, Rooms: n / members, Members: members, Publishers: 1, Rate: p.rate, QoS: q, Durable: class == "durable"}.Run(ctx)
		}
		switch class {
		case "fanout":
			p.run = func(ctx context.Context, l Load) (*report.Report, error) {
				return Fanout{Load: l, Conns: n, Rate: p.rate, QoS: q}.Run(ctx)
			}
		case "rooms", "durable":
			p.conns -= n % min(DefaultRoomMembers, n)
			p.run = rooms
		case "churn":
			p.run = func(ctx context.Context, l Load) (*report.Report, error) {
				return Churn{Load: l, Conns: n, Channels: 1, Rate: p.rate, Joins: o.Joins, Changes: -1, QoS: q, together: true}.Run(ctx)
			}
		case "publish":
			p.rate, p.of = o.Publishes, "publishes"
			p.run = func(ctx context.Context, l Load) (*report.Report, error) {
				return Publish{Load: l, Conns: n, Rate: p.rate, Rounds: 1, QoS: q}.Run(ctx)
			}
		case "history":
			p.rate, p.of = o.Requests, "pages"
			p.run = history{Conns: n, Rate: p.rate}.with
		case "idle":
			p.rate, p.of = 0, "sockets"
			p.run = func(ctx context.Context, l Load) (*report.Report, error) {
				return Connect{Load: l, Conns: n, FlatOut: true, Hold: l.Ramp + l.Warmup + l.Duration, QoS: q}.Run(ctx)
			}
		}
		list = append(list, p)
	}
	return list
}

func (o history) with(ctx context.Context, l Load) (*report.Report, error) {
	o.Load = l
	return o.run(ctx)
}

// run lets all parts connect, then begin together, and measures the server meanwhile.
func (o *Mixed) run(ctx context.Context, parts []*part, r *report.Report) error {
	before := o.Target.sample(ctx)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	there, begin := make(chan struct{}, len(parts)), make(chan struct{})
	var all sync.WaitGroup
	errs := make([]error, len(parts))
	for i, p := range parts {
		l := o.Load
		l.Processes, l.Loops, l.Progress = 0, max(1, l.Loops/len(parts)), func(string) {}
		l.gather = func(ctx context.Context) error {
			there <- struct{}{}
			select {
			case <-begin:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
		all.Go(func() {
			if p.r, errs[i] = p.run(ctx, l); errs[i] != nil {
				errs[i] = fmt.Errorf("%s: %w", p.class, errs[i])
				cancel(errs[i]) // the others can't go on alone
			}
		})
	}
	o.Progress(fmt.Sprintf("connecting %d sockets of %d classes", r.Connections, len(parts)))
	err := o.watch(ctx, len(parts), there, begin, before, r)
	if err != nil {
		cancel(err)
	}
	all.Wait()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	return err
}

// watch lets the parts begin when all are there, and sees what the server uses.
func (o *Mixed) watch(ctx context.Context, parts int, there <-chan struct{}, begin chan<- struct{}, before usage, r *report.Report) error {
	for range parts {
		select {
		case <-there:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	n := float64(r.Connections)
	after := o.Target.sample(ctx)
	r.ServerRSS, r.ServerHeap = (after.rss - before.rss).Per(n), (after.heap - before.heap).Per(n)
	o.Progress(fmt.Sprintf("all begin: %v after %v of warm-up", o.Duration, o.Ramp+o.Warmup))
	close(begin)
	if err := sleep(ctx, o.Ramp+o.Warmup); err != nil {
		return err
	}
	a, machine := o.Target.edge(ctx), machineTime()
	client, _ := cpuClock(0)
	if err := sleep(ctx, o.Duration); err != nil {
		return err
	}
	b := o.Target.edge(ctx)
	used, _ := cpuClock(0)
	seconds, cpu := b.at.Sub(a.at).Seconds(), between(a, b)
	r.Measured, r.ServerCores = report.Figure(seconds), cpu.Per(1e9*seconds)
	r.ClientCores = report.Figure((used - client).Seconds() / seconds)
	r.OtherCores = others(machineTime()-machine, cpu, used-client).Per(1e9 * seconds)
	o.Progress("waiting for what is on its way")
	return nil
}

// report adds a part to the whole.
func (p *part) report(r *report.Report) {
	x := p.r
	y := report.Part{
		Class: p.class, Connections: p.conns, Asked: report.Unknown, Of: p.of, PerSecond: x.Delivered, Latency: x.Latency, LatencyOf: x.LatencyOf,
		Lost: x.Lost, Duplicated: x.Duplicated, Reordered: x.Reordered, Wrong: x.Wrong, Churn: x.Churn,
	}
	if p.rate > 0 {
		y.Asked = report.Figure(p.rate)
	}
	switch p.class {
	case "publish":
		y.PerSecond = x.Published
	case "idle":
		y.PerSecond = report.Unknown
	}
	r.Parts = append(r.Parts, y)
	r.Channels += x.Channels
	r.Publishers += x.Publishers
	r.Sent, r.Received = r.Sent+x.Sent, r.Received+x.Received
	r.Lost, r.Duplicated, r.Reordered, r.Wrong = r.Lost+x.Lost, r.Duplicated+x.Duplicated, r.Reordered+x.Reordered, r.Wrong+x.Wrong
	r.Gaps, r.Foreign, r.Disconnects = r.Gaps+x.Gaps, r.Foreign+x.Foreign, r.Disconnects+x.Disconnects
	r.PublishErrors, r.Unanswered = r.PublishErrors+x.PublishErrors, r.Unanswered+x.Unanswered
	r.ClientBusy = max(r.ClientBusy, x.ClientBusy, 0)
	if p.of == "deliveries" {
		r.Delivered, r.Target = sum(r.Delivered, x.Delivered), sum(r.Target, y.Asked)
		r.CPUDelivery = (r.ServerCores * 1e6).Per(float64(r.Delivered))
		merge(r, x)
	}
	for _, note := range x.Notes {
		r.Note("%s: %s", p.class, note)
	}
}

// merge adds the distribution of x's deliveries.
func merge(r, x *report.Report) {
	all := report.NewHistogram()
	all.Merge(r.Latency.Histogram)
	all.Merge(x.Latency.Histogram)
	r.Latency, r.LatencyOf = all.Latency(), "delivery"
}

// sum adds up figures of which the first may be unknown.
func sum(a, b report.Figure) report.Figure {
	if !a.Known() {
		return b
	}
	return a + b
}
