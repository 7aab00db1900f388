package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// broadcast is what fanout and rooms have in common: channels with the same number of sockets each, and a publisher.
type broadcast struct {
	load       Load
	scenario   string
	channels   int
	members    int // sockets on each channel
	publishers int // sockets
	deliveries float64
	window     int
	qos        wire.QoS
}

func (b *broadcast) run(ctx context.Context) (r *report.Report, err error) {
	l := &b.load
	r = l.report(b.scenario)
	defer l.watch(ctx, r)()
	r.Connections, r.Channels, r.QoS = b.channels*b.members, b.channels, int(b.qos)
	r.Loop = report.ClosedLoop
	if b.deliveries > 0 {
		r.Loop, r.Target = report.OpenLoop, report.Figure(b.deliveries)
	}
	f := newFleet(l, b.qos)
	if err := f.reserve(r.Connections + b.publishers); err != nil {
		return nil, err
	}
	flow := newFlow(l, f, makeChannels(l.Namespace, b.scenario, b.channels), b.members)
	defer func() {
		if e := f.close(); err == nil {
			err = e
		}
	}()
	if err := f.open(flow.newSink); err != nil {
		return nil, err
	}
	p, err := newPublisher(flow, b.publishers, b.deliveries/float64(b.members), b.window)
	if err != nil {
		return nil, err
	}
	defer p.loop.close() //nolint:errcheck // closing an epoll descriptor tells nothing new
	r.Publishers = len(p.conns)
	if err := b.join(ctx, flow, p, r); err != nil {
		return nil, err
	}
	l.Progress(fmt.Sprintf("publishing for %v after %v of warm-up", l.Duration, l.Warmup))
	if err := flow.run(ctx, p, r); err != nil {
		return nil, err
	}
	return r, nil
}

// join opens all sockets and measures what they cost.
func (b *broadcast) join(ctx context.Context, flow *flow, p *publisher, r *report.Report) error {
	target, conns := b.load.Target, make([]*conn, 0, r.Connections)
	for range b.members {
		for _, ch := range flow.channels {
			conns = append(conns, &conn{tracks: []track{{ch: ch}}})
		}
	}
	b.load.Progress(fmt.Sprintf("connecting %d sockets", len(conns)))
	before := target.sample(ctx)
	if err := flow.fleet.join(ctx, flow.fleet.loops, conns); err != nil {
		return err
	}
	after := target.edge(ctx)
	r.CPUConnect = between(before, after).Per(1e3 * float64(len(conns)))
	after = target.sample(ctx)
	r.ServerRSS = (after.rss - before.rss).Per(float64(len(conns)))
	r.ServerHeap = (after.heap - before.heap).Per(float64(len(conns)))
	return p.join(ctx)
}

// makeChannels names n channels that no other run uses.
func makeChannels(namespace, scenario string, n int) []*channel {
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	channels := make([]*channel, n)
	for i := range channels {
		channels[i] = &channel{name: namespace + "." + scenario + "." + run + "." + strconv.Itoa(i), index: i}
	}
	return channels
}
