package bench

import (
	"context"
	"errors"
	"fmt"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// What history asks for.
const (
	historyChannels = 10
	historyDepth    = 200 // messages in each
	historyPage     = 50  // the newest, of each request
)

// history has sockets ask for pages of the log at a rate.
type history struct {
	Load
	Conns int
	Rate  float64 // requests a second; the schedule does not wait for the server
}

// pager is a sink of connections that ask for history.
type pager interface {
	page(c *conn, id uint64, h *wire.HistoryReply, now int64)
}

// run fills channels, and then measures how long pages take. What a page lacks counts as lost.
func (o history) run(ctx context.Context) (r *report.Report, err error) {
	l := o.withDefaults()
	r = l.report("history")
	defer l.watch(ctx, r)()
	r.Loop = report.OpenLoop
	r.Connections, r.Channels, r.Publishers, r.QoS = o.Conns, historyChannels, 1, int(wire.AtLeastOnce)
	f := newFleet(&l, wire.AtLeastOnce)
	if err := f.reserve(o.Conns + 1); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	flow := newFlow(&l, f, makeChannels(channelPrefix(l.Namespace, "history"), historyChannels), 1)
	if err := f.open(func() sink { return &pages{deliveries: deliveries{flow: flow, hist: report.NewHistogram()}} }); err != nil {
		return nil, err
	}
	if err := o.fill(ctx, flow, r); err != nil {
		return nil, err
	}
	conns := make([]*conn, o.Conns)
	for i := range conns {
		conns[i] = &conn{}
	}
	if err := f.join(ctx, f.loops, conns); err != nil {
		return nil, err
	}
	if err := l.ready(ctx); err != nil {
		return nil, err
	}
	clock := f.clock
	start := clock.now()
	from := start + int64(l.Ramp+l.Warmup)
	end := from + int64(l.Duration)
	f.span(from, end)
	asked := 0
	err = clock.pace(ctx, schedule{o.Rate, l.Ramp}, start, end, func(i uint64, at int64) error {
		asked++
		return ask(conns[i%uint64(len(conns))], flow.channels[i%historyChannels].name, at)
	})
	if err != nil {
		return nil, err
	}
	flow.await(ctx, int64(asked), l.Drain)
	o.judge(flow, r, asked)
	return r, context.Cause(ctx)
}

// fill publishes what is asked for later.
func (o history) fill(ctx context.Context, flow *flow, r *report.Report) error {
	p, err := newPublisher(flow, 1, 1, historyDepth)
	if err != nil {
		return err
	}
	defer p.loop.close() //nolint:errcheck // closing an epoll descriptor tells nothing new
	if err := p.join(ctx); err != nil {
		return err
	}
	if err := p.pump(ctx, historyChannels*historyDepth); err != nil {
		return err
	}
	p.awaitAnswers(ctx, flow.load.Drain)
	r.Sent, r.PublishErrors, r.Unanswered = p.sent.Load(), p.refusals(), p.unanswered()
	if why := p.firstRefusal(); why != "" {
		return fmt.Errorf("%w: filling a channel: %s", ErrNoProgress, why)
	}
	return context.Cause(ctx)
}

// ask sends one request, whose id is when it was meant to be sent.
func ask(c *conn, channel string, at int64) error {
	l := c.loop
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.phase != joined {
		return nil // the server ended it, which is counted
	}
	l.text = wire.AppendHistory(l.text[:0], uint64(at), &wire.History{Channel: channel, Last: historyPage})
	return c.say(l.text)
}

func (o history) judge(flow *flow, r *report.Report, asked int) {
	hist := report.NewHistogram()
	for _, l := range flow.fleet.loops {
		l.mu.Lock()
		p := l.sink.(*pages)
		hist.Merge(p.hist)
		r.Received += p.messages
		r.Lost += p.missing
		r.Wrong += p.wrong
		if p.first != "" {
			r.Note("requests were refused, the first: %s", p.first)
		}
		l.mu.Unlock()
	}
	r.Unanswered += uint64(int64(asked) - flow.arrived.Load())
	r.Latency, r.LatencyOf = hist.Latency(), "asking for a page of history"
	r.Delivered = report.Figure(float64(r.Latency.Count) / flow.load.Duration.Seconds())
	r.Measured = report.Figure(flow.load.Duration.Seconds())
	flow.fleet.noteDisconnects(r)
}

// pages is the sink of sockets that ask for history.
type pages struct {
	deliveries

	// Guarded by the loop's mu.
	messages, missing, wrong uint64
	first                    string // refusal
}

var (
	_ sink  = (*pages)(nil)
	_ pager = (*pages)(nil)
)

// page judges one page: the newest messages of a channel that was filled with historyDepth, without a hole.
func (p *pages) page(_ *conn, id uint64, h *wire.HistoryReply, now int64) {
	n := len(h.Messages)
	p.messages += uint64(n)
	if n < historyPage {
		p.missing += uint64(historyPage - n)
	}
	for i := range h.Messages {
		m := &h.Messages[i]
		if _, number, _, _ := scanPayload(m.Body); number != uint64(historyDepth-n+i+1) || i > 0 && m.Seq <= h.Messages[i-1].Seq {
			p.wrong++
		}
	}
	if at := int64(id); at >= p.from && at < p.to {
		p.hist.Record(now - at)
	}
	p.fresh++
}

func (p *pages) refused(_ *conn, _ uint64, why *wire.Error) {
	if p.fresh++; p.first == "" {
		p.first = why.Error()
	}
	p.missing += historyPage
}
