package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Connect.
const (
	DefaultConnectConns  = 5_000
	DefaultConnectRate   = 1_000 // sockets a second
	DefaultConnectWindow = 64    // sockets that open at the same time
	DefaultHold          = 2 * time.Second
)

// Connect has many sockets connect, sign in and subscribe, hold, and close.
type Connect struct {
	Load            // Ramp: of the rate; there is no warm-up, and Conns and Rate say how long it takes
	Conns   int     // DefaultConnectConns
	Rate    float64 // sockets a second, whatever the server does; DefaultConnectRate
	FlatOut bool    // instead: as fast as it goes with Window at the same time
	Window  int     // DefaultConnectWindow
	Hold    time.Duration
	Storm   bool // after that all close at once, and come back flat out
	QoS     wire.QoS
}

// Run measures connecting. A connection that fails is counted with the reason and is no error; those that succeeded have to be there
// after Hold, and to get a message.
func (o Connect) Run(ctx context.Context) (r *report.Report, err error) {
	def(&o.Conns, DefaultConnectConns)
	def(&o.Rate, DefaultConnectRate)
	def(&o.Window, DefaultConnectWindow)
	def(&o.Hold, DefaultHold)
	l := o.withDefaults()
	o.Load = l
	r = l.report("connect")
	defer l.watch(ctx, r)()
	r.Loop = report.OpenLoop
	r.Connections, r.Channels, r.Publishers, r.QoS = o.Conns, 1, 1, int(o.QoS)
	r.Connects = &report.Connects{Rate: report.Unknown, Window: o.Window}
	if o.FlatOut {
		r.Loop = report.ClosedLoop
	} else {
		r.Connects.Rate, r.Connects.Window = report.Figure(o.Rate), 0
	}
	f := newFleet(&l, o.QoS)
	f.lenient = true
	prefix := channelPrefix(l.Namespace, "connect")
	flow := newFlow(&l, f, makeChannels(prefix, 1), 0)
	flow.prefix = prefix
	defer func() { err = errors.Join(err, flow.close()) }()
	if err := flow.staff(ctx, r, o.Conns, 1, flow.newSink); err != nil {
		return nil, err
	}
	if err := o.run(ctx, flow, r); err != nil {
		return nil, err
	}
	if err := flow.check(ctx, r); err != nil {
		return nil, err
	}
	return r, nil
}

func (o *Connect) run(ctx context.Context, flow *flow, r *report.Report) error {
	before := flow.target().sample(ctx)
	first := opening{To: o.Conns, Step: 1, Ahead: o.Window}
	told := fmt.Sprintf("connecting %d sockets, %d at the same time", o.Conns, o.Window)
	if !o.FlatOut {
		first.Rate, first.Ramp = o.Rate, int64(o.Ramp)
		told = fmt.Sprintf("connecting %d sockets, %.0f a second", o.Conns, o.Rate)
	}
	o.Progress(told)
	if err := o.wave(ctx, flow, r, "connect", first); err != nil {
		return err
	}
	after := flow.target().sample(ctx)
	n := float64(flow.members)
	r.ServerRSS, r.ServerHeap = (after.rss - before.rss).Per(n), (after.heap - before.heap).Per(n)
	if err := o.stay(ctx); err != nil {
		return err
	}
	if !o.Storm {
		return nil
	}
	o.Progress(fmt.Sprintf("closing all %d at once; they come back, %d at the same time", flow.members, o.Window))
	return o.wave(ctx, flow, r, "storm", opening{To: o.Conns, Step: 1, Ahead: o.Window})
}

func (o *Connect) stay(ctx context.Context) error {
	if err := o.ready(ctx); err != nil {
		return err
	}
	o.Progress(fmt.Sprintf("holding for %v", o.Hold))
	return sleep(ctx, o.Hold)
}

// wave opens all sockets, and before that closes those that are open.
func (o *Connect) wave(ctx context.Context, flow *flow, r *report.Report, name string, open opening) error {
	e, err := flow.edge(ctx)
	if err != nil {
		return err
	}
	began, from, machine := time.Now(), flow.target().edge(ctx), machineTime()
	if err := flow.leave(ctx); err != nil {
		return err
	}
	open.Start = flow.fleet.clock.now()
	got, err := flow.open(ctx, open)
	if err != nil {
		return err
	}
	to := flow.target().edge(ctx)
	then, err := flow.edge(ctx)
	if err != nil {
		return err
	}
	if got.Joined == 0 {
		return fmt.Errorf("%w: none of %d: %s", ErrJoin, open.To, mostly(got.Failures))
	}
	flow.members = got.Joined
	seconds, cpu := to.at.Sub(from.at).Seconds(), between(from, to)
	w := report.Wave{
		Name: name, Joined: got.Joined, Failed: open.To - got.Joined, Seconds: report.Figure(float64(got.Last-open.Start) / 1e9),
		Latency: got.Took.Latency(), CPU: cpu.Per(1e3 * float64(open.To)), ServerCores: cpu.Per(1e9 * seconds),
	}
	w.Rate = report.Figure(got.Joined) / w.Seconds
	r.Connects.Waves = append(r.Connects.Waves, w)
	for why, n := range got.Failures {
		tell(&r.Connects.Failures, why, n)
		r.Note("%s: %d connections failed: %s", name, n, why)
	}
	r.Latency, r.LatencyOf = w.Latency, "connecting and subscribing"
	r.CPUConnect, r.ServerCores = w.CPU, w.ServerCores
	r.Measured = report.Figure(time.Since(began).Seconds())
	client := time.Duration(then.CPU - e.CPU)
	r.ClientCores = report.Figure(client.Seconds() / seconds)
	r.OtherCores = others(machineTime()-machine, cpu, client).Per(1e9 * seconds)
	for i := range e.Busy {
		r.ClientBusy = max(r.ClientBusy, 0, report.Figure(float64(then.Busy[i]-e.Busy[i])/1e9/seconds))
	}
	return nil
}

// mostly is the most frequent of the reasons.
func mostly(reasons map[string]int) (why string) {
	for text, n := range reasons {
		if n > reasons[why] {
			why = text
		}
	}
	return why
}
