package bench

import (
	"context"
	"fmt"
	"strconv"
	"strings"
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
	durable    bool // each socket is a device of a user of its own
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
	prefix := channelPrefix(l.Namespace, b.scenario)
	flow := newFlow(l, f, makeChannels(prefix, b.channels), b.members)
	flow.prefix, flow.quarter = prefix, quarterOf(b.window)
	newSink := flow.newSink
	if b.durable {
		if b.qos == wire.AtMostOnce {
			return nil, errNoPosition
		}
		flow.user = func(i int) (*device, error) {
			return newDevice(l.Target, strings.ReplaceAll(prefix, ".", "-")+strconv.Itoa(i))
		}
		newSink = func() sink { return &devices{deliveries: deliveries{flow: flow, hist: report.NewHistogram()}} }
	}
	defer func() {
		if e := flow.close(); err == nil {
			err = e
		}
	}()
	if err := flow.staff(ctx, r, r.Connections, b.publishers, newSink); err != nil {
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
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	l.Progress(fmt.Sprintf("publishing for %v after %v of warm-up", l.Duration, l.Warmup))
	if err := flow.run(ctx, p, r); err != nil {
		return nil, err
	}
	if b.durable {
		flow.fleet.noteAcks(r)
	}
	return r, nil
}

// join opens all sockets and measures what they cost.
func (b *broadcast) join(ctx context.Context, flow *flow, p *publisher, r *report.Report) error {
	target, n := b.load.Target, float64(r.Connections)
	b.load.Progress(fmt.Sprintf("connecting %d sockets", r.Connections))
	before := target.sample(ctx)
	if _, err := flow.open(ctx, opening{To: r.Connections, Step: 1}); err != nil {
		return err
	}
	after := target.edge(ctx)
	r.CPUConnect = between(before, after).Per(1e3 * n)
	after = target.sample(ctx)
	r.ServerRSS = (after.rss - before.rss).Per(n)
	r.ServerHeap = (after.heap - before.heap).Per(n)
	return p.join(ctx)
}

// channelPrefix begins the names of channels that no other run uses.
func channelPrefix(namespace, scenario string) string {
	return namespace + "." + scenario + "." + strconv.FormatInt(time.Now().UnixNano(), 36) + "."
}

func makeChannels(prefix string, n int) []*channel {
	channels := make([]*channel, n)
	for i := range channels {
		channels[i] = numbered(prefix, i, i)
	}
	return channels
}

func numbered(prefix string, i, index int) *channel {
	return &channel{name: prefix + strconv.Itoa(i), index: index}
}
