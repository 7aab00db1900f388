package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Ping.
const (
	DefaultPingConns    = 5_000
	DefaultPingInterval = time.Second
)

// restTime is how long a server is watched before it has a connection.
const restTime = 2 * time.Second

// ErrNoPings is returned by Ping's Run when the server pinged nobody.
var ErrNoPings = errors.New("bench: the server pinged nobody while it was measured: does it ping silent connections as often as it was said to?")

// Ping has sockets wait on one channel, and counts the server's pings, which they answer.
type Ping struct {
	Load
	Conns    int           // DefaultPingConns
	Interval time.Duration // between two pings of a socket, as the server was told: measuring begins no earlier than that; DefaultPingInterval
	QoS      wire.QoS      // of the subscriptions
}

// Run measures what a ping and its pong cost the server, with the timers behind them. What the server uses when it has no
// connections is not counted.
func (o Ping) Run(ctx context.Context) (r *report.Report, err error) {
	l := o.withDefaults()
	if o.Conns <= 0 {
		o.Conns = DefaultPingConns
	}
	if o.Interval <= 0 {
		o.Interval = DefaultPingInterval
	}
	r = l.report("ping")
	r.Connections, r.Channels, r.QoS = o.Conns, 1, int(o.QoS)
	f := newFleet(&l, o.QoS)
	if err := f.reserve(o.Conns); err != nil {
		return nil, err
	}
	flow := newFlow(&l, f, makeChannels(channelPrefix(l.Namespace, "ping"), 1), o.Conns)
	defer func() {
		if e := f.close(); err == nil {
			err = e
		}
	}()
	if err := f.open(flow.newSink); err != nil {
		return nil, err
	}
	l.Progress(fmt.Sprintf("watching the server without connections for %v", restTime))
	rest, _, err := o.watch(ctx, f, restTime)
	if err != nil {
		return nil, err
	}
	conns := make([]*conn, o.Conns)
	for i := range conns {
		conns[i] = &conn{tracks: []track{{ch: flow.channels[0]}}}
	}
	l.Progress(fmt.Sprintf("connecting %d sockets", o.Conns))
	if err := f.join(ctx, f.loops, conns); err != nil {
		return nil, err
	}
	l.Progress(fmt.Sprintf("counting pings for %v", l.Duration))
	if _, _, err := o.watch(ctx, f, max(l.Warmup, 2*o.Interval)); err != nil {
		return nil, err
	}
	busy, pings, err := o.watch(ctx, f, l.Duration)
	if err != nil {
		return nil, err
	}
	if pings == 0 {
		return nil, ErrNoPings
	}
	rate := float64(pings) / l.Duration.Seconds()
	r.Measured, r.ServerCores = report.Figure(l.Duration.Seconds()), busy
	r.Ping = &report.Ping{Interval: report.Figure(o.Interval.Seconds()), Rate: report.Figure(rate), Rest: rest, CPU: (1e6 * (busy - rest)).Per(rate)}
	f.noteDisconnects(r)
	return r, f.err()
}

// watch returns how many cores the server used for a while, and how many pings were answered meanwhile.
func (o *Ping) watch(ctx context.Context, f *fleet, d time.Duration) (cores report.Figure, pings uint64, err error) {
	before, had := f.target.edge(ctx), f.pings()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return 0, 0, context.Cause(ctx)
	}
	after := f.target.edge(ctx)
	return between(before, after).Per(float64(after.at.Sub(before.at))), f.pings() - had, nil
}

// pings is how many pings of the server the subscribers have answered.
func (f *fleet) pings() (n uint64) {
	for _, l := range f.loops {
		l.mu.Lock()
		n += l.pings
		l.mu.Unlock()
	}
	return n
}
