package soak

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/jetwire/jetwire/bench/oracle"
	"github.com/jetwire/jetwire/gateway/client"
)

// kind is what a subscriber does.
type kind struct {
	word  string
	count func(*Options) int
}

func (k *kind) name(i int) string { return fmt.Sprintf("%s-%d", k.word, i) }

var (
	steady    = &kind{"steady", func(o *Options) int { return o.Steady }}
	stalling  = &kind{"stalling", func(o *Options) int { return o.Stalling }}
	vanishing = &kind{"vanishing", func(o *Options) int { return o.Vanishing }}
	passing   = &kind{"passing", func(o *Options) int { return o.Passing }}
	browsing  = &kind{"browsing", func(o *Options) int { return o.Browsing }}
	durable   = &kind{"device", func(o *Options) int { return max(0, o.Devices) }}
	matching  = &kind{"matching", func(o *Options) int { return max(0, o.Matching) }}
	kinds     = []*kind{steady, stalling, vanishing, passing, browsing, durable, matching}
)

// party is a subscriber, over all its clients.
type party struct {
	// Fixed after construction.
	r    *run
	kind *kind
	name string
	link *link
	qos  client.QoS
	held gate // its handlers wait here

	// Used by one goroutine at a time.
	c     *client.Client // nil: it is away
	desks []*desk
}

// desk is a party's view of one channel.
type desk struct {
	p       *party
	channel string
	reader  *oracle.Reader // nil until the first position is known
	sub     *client.Subscription
	since   *client.Position // nil: from now on
	ready   chan struct{}    // closed when reader is set
}

func newParty(r *run, k *kind, i int, l *link) *party {
	p := &party{r: r, kind: k, name: l.name, link: l, qos: client.AtLeastOnce + client.QoS(i%2)}
	if k != browsing {
		p.fresh(k == passing)
	}
	return p
}

func (r *run) party(name string) *party {
	for _, p := range r.parties {
		if p.name == name {
			return p
		}
	}
	return nil
}

// fresh makes desks that start from the beginning, or from now on.
func (p *party) fresh(fromNow bool) {
	p.desks = nil
	for _, channel := range p.r.channels {
		d := &desk{p: p, channel: channel, ready: make(chan struct{})}
		if !fromNow {
			d.since = &client.Position{}
			d.reader = p.r.oracle.Subscriber(p.name, channel, 0)
			close(d.ready)
		}
		p.desks = append(p.desks, d)
	}
}

// open connects and subscribes to every channel, from where it was.
func (p *party) open(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.r.o.Settle)
	defer cancel()
	c, err := p.r.dial(ctx, p.link, p.name)
	if err != nil {
		return err
	}
	p.c = c
	for _, d := range p.desks {
		if err := d.subscribe(ctx); err != nil {
			return fmt.Errorf("subscribe to %s: %w", d.channel, err)
		}
	}
	return nil
}

func (d *desk) subscribe(ctx context.Context) error {
	o := client.SubscribeOptions{QoS: d.p.qos, OnMessage: d.message, OnGap: d.gap, OnError: d.failed}
	if d.since != nil {
		o.Since, o.Epoch = &d.since.Seq, d.since.Epoch
	}
	sub, err := d.p.c.Subscribe(ctx, d.channel, o)
	if err != nil {
		return err
	}
	d.sub = sub
	if d.reader == nil { // no message is handed on meanwhile: see message
		d.reader = d.p.r.oracle.Subscriber(d.p.name, d.channel, sub.Position().Seq)
		close(d.ready)
	}
	return nil
}

func (d *desk) message(m client.Message) {
	<-d.ready
	d.p.held.wait()
	d.reader.Message(oracle.Delivery{Seq: m.Seq, Prev: m.Prev, From: m.From, ID: m.ID, Body: m.Body})
}

func (d *desk) gap(g client.Gap) {
	<-d.ready
	d.p.r.failures.add("%s was told of a gap on %s: %+v", d.p.name, d.channel, g)
	d.reader.Gap(g.From, g.To, g.Epoch)
}

func (d *desk) failed(err error) {
	d.p.r.failures.add("%s: the subscription to %s ended: %v", d.p.name, d.channel, err)
}

// close goes away. What was handed on is where it comes back.
func (p *party) close() {
	if p.c == nil {
		return
	}
	p.r.hangUp(p.c)
	p.c = nil
	for _, d := range p.desks {
		if d.sub != nil {
			at := d.sub.Position()
			d.since, d.sub = &at, nil
		}
	}
}

// leave goes away for good.
func (p *party) leave() {
	for _, d := range p.desks {
		select {
		case <-d.ready:
		default: // it never got there; its handler may wait
			d.reader = p.r.oracle.Subscriber(p.name, d.channel, p.r.oracle.Top(d.channel))
			close(d.ready)
		}
	}
	p.close()
	for _, d := range p.desks {
		d.reader.Leave()
	}
}

// pass listens for a while from now on, goes away for good, and does so again.
func (p *party) pass(ctx, storm context.Context) {
	rng := p.r.rng(p.name, 0)
	for storm.Err() == nil {
		p.fresh(true)
		err := p.open(ctx)
		if err != nil && ctx.Err() == nil {
			p.r.failures.add("%s could not subscribe: %v", p.name, err)
		}
		sleep(storm, between(rng, 100*time.Millisecond, 5*time.Second))
		p.leave()
		p.r.count(Counters{Passes: 1})
	}
}

// browse reads parts of the history, again and again.
func (r *run) browse(ctx, storm context.Context, i int) {
	p := r.party(browsing.name(i))
	rng := r.rng(p.name, 0)
	for sleep(storm, between(rng, time.Millisecond, 200*time.Millisecond)) {
		channel := r.channels[rng.IntN(len(r.channels))]
		to := r.oracle.Top(channel)
		if to == 0 {
			continue
		}
		back := rng.IntN(2) == 0
		from := to - min(to, uint64(rng.IntN(3000)))
		h := client.HistoryRequest{Channel: channel, Since: from, Until: to, Limit: 1 + rng.IntN(200)}
		if err := r.walkThrough(ctx, p.c, p.name, &h, back); err != nil && ctx.Err() == nil && storm.Err() == nil {
			r.failures.add("%s: history %+v: %v", p.name, h, err)
		}
	}
}

// walkThrough reads one range of the history.
func (r *run) walkThrough(ctx context.Context, c *client.Client, name string, h *client.HistoryRequest, back bool) error {
	ctx, cancel := context.WithTimeout(ctx, r.o.Settle)
	defer cancel()
	h.Newest = back
	w := &walk{r: r, name: name, h: *h, reader: r.oracle.Walk(name, h.Channel, h.Since, h.Until, back)}
	if err := w.read(ctx, c); err != nil {
		w.reader.Leave()
		return err
	}
	w.reader.End()
	if n := w.reader.Missing(); n > 0 || w.strange {
		w.tell(n)
	}
	r.count(Counters{Walks: 1})
	return nil
}

// walk is one range of the history being read.
type walk struct {
	r       *run
	name    string
	h       client.HistoryRequest
	reader  *oracle.Reader
	strange bool // something came that was not asked for
	pages   []string
}

const toldPages = 40 // of a walk that went wrong

func (w *walk) read(ctx context.Context, c *client.Client) error {
	for h := w.h; ; {
		began := time.Now()
		page, err := c.History(ctx, h)
		if err != nil {
			return err
		}
		if page.Lost != nil {
			w.r.failures.add("%s: history %+v says that %+v is lost", w.name, h, *page.Lost)
		}
		for i := range page.Messages {
			m := &page.Messages[i]
			w.strange = w.strange || m.Seq <= w.h.Since || m.Seq > w.h.Until
			w.reader.Message(oracle.Delivery{Seq: m.Seq, Prev: m.Prev, From: m.From, ID: m.ID, Body: m.Body})
		}
		if n := len(page.Messages); len(w.pages) < toldPages && n > 0 {
			w.pages = append(w.pages, fmt.Sprintf("%q: %d from %d to %d in %v", h.Cursor, n, page.Messages[0].Seq, page.Messages[n-1].Seq, time.Since(began)))
		} else if len(w.pages) < toldPages {
			w.pages = append(w.pages, fmt.Sprintf("%q: nothing in %v", h.Cursor, time.Since(began)))
		}
		if page.Next == "" {
			return nil
		}
		h = client.HistoryRequest{Channel: h.Channel, Cursor: page.Next, Limit: h.Limit}
	}
}

// tell shows the pages of a walk that went wrong.
func (w *walk) tell(missing int) {
	w.r.o.Progress(fmt.Sprintf("%s lacks %d messages of %+v; its pages:", w.name, missing, w.h))
	for _, p := range w.pages {
		w.r.o.Progress("  " + p)
	}
}

// readAll reads everything, in each way there is.
func (r *run) readAll(ctx context.Context) error {
	c, err := r.dial(ctx, r.links[0], "reader")
	if err != nil {
		return err
	}
	defer r.hangUp(c)
	var wg sync.WaitGroup
	for _, channel := range r.channels {
		to := r.oracle.Top(channel)
		if to == 0 {
			continue
		}
		wg.Go(func() {
			for i, back := range []bool{false, true} {
				name := []string{"history-oldest-first", "history-newest-first"}[i]
				h := client.HistoryRequest{Channel: channel, Until: to}
				if err := r.walkThrough(ctx, c, name, &h, back); err != nil {
					r.failures.add("%s of %s: %v", name, channel, err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (r *run) count(c Counters) {
	r.totalMu.Lock()
	defer r.totalMu.Unlock()
	r.total.add(c)
}
