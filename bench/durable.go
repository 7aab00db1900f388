package bench

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Durable.
const (
	DefaultDurableUsers  = 100_000
	DefaultDurableBatch  = 5_000
	DefaultDurableSample = 1_000
	DefaultDurableSettle = 150 * time.Second // Go collects its garbage every two minutes at least
)

const toldUsers = 5 // of those who came back to another place than they left

// metricGoroutines and metricCollected are client_golang's own names.
const (
	metricGoroutines = "go_goroutines"
	metricCollected  = "go_memstats_last_gc_time_seconds"
)

// Durable has many users come once with a device, get and acknowledge a message, and go away. What is left at the server are their cursors.
type Durable struct {
	Load
	Users  int           // DefaultDurableUsers
	Batch  int           // of them that are there at the same time; DefaultDurableBatch
	Sample int           // that come back in the end, to show that they are known; DefaultDurableSample
	Settle time.Duration // how long the server gets to collect its garbage, at most; DefaultDurableSettle
	QoS    wire.QoS      // of the subscription besides the inbox
	Store  *Store        // nil: nothing is known of the store
}

// Run measures cursors at rest.
func (o Durable) Run(ctx context.Context) (r *report.Report, err error) {
	def(&o.Users, DefaultDurableUsers)
	def(&o.Batch, DefaultDurableBatch)
	def(&o.Sample, DefaultDurableSample)
	def(&o.Settle, DefaultDurableSettle)
	if o.QoS == wire.AtMostOnce {
		return nil, errNoPosition
	}
	o.Batch, o.Sample = min(o.Batch, o.Users), min(o.Sample, o.Users)
	l := o.withDefaults()
	o.Load = l
	r = l.report("durable")
	defer l.watch(ctx, r)()
	r.Connections, r.Publishers, r.QoS = o.Users, 1, int(o.QoS)
	batches := (o.Users + o.Batch - 1) / o.Batch
	r.Channels = batches
	f := newFleet(&l, o.QoS)
	if err := f.reserve(max(o.Batch, o.Sample) + 1); err != nil {
		return nil, err
	}
	d := &durableRun{o: &o, r: r, fleet: f, run: strconv.FormatInt(time.Now().UnixNano(), 36)}
	d.flow = newFlow(&l, f, makeChannels(channelPrefix(l.Namespace, "durable"), batches), 1)
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.open(func() sink {
		return &devices{deliveries: deliveries{flow: d.flow, hist: report.NewHistogram(), to: 1 << 62}, onAck: d.onAck}
	}); err != nil {
		return nil, err
	}
	if d.p, err = newPublisher(d.flow, 1, 1, 1); err != nil {
		return nil, err
	}
	f.others = append(f.others, d.p.loop)
	return r, d.all(ctx)
}

// durableRun is one run of Durable.
type durableRun struct {
	o     *Durable
	r     *report.Report
	fleet *fleet
	flow  *flow
	p     *publisher
	run   string

	acked  atomic.Int64 // devices that have got an answer to the ack of their last message
	sample []*device
}

func (d *durableRun) onAck(_ *conn, t *track, _ int64) {
	if t.acked == t.got {
		d.acked.Add(1)
	}
}

// atRest is a server without clients, but for the publisher.
type atRest struct {
	usage
	goroutines report.Figure
	store      storeState
}

func (d *durableRun) all(ctx context.Context) error {
	if err := d.p.join(ctx); err != nil {
		return err
	}
	x := &report.Cursors{Users: d.o.Users}
	d.r.Cursors = x
	before, err := d.look(ctx, 0) // a server that has just started has nothing to collect
	if err != nil {
		return err
	}
	began, cpu := time.Now(), d.fleet.target.edge(ctx)
	for i := range d.flow.channels {
		if err := d.batch(ctx, i); err != nil {
			return err
		}
	}
	x.Seconds = report.Figure(time.Since(began).Seconds())
	x.CPU = between(cpu, d.fleet.target.edge(ctx)).Per(1e3 * float64(d.o.Users))
	d.o.Progress("all are away; waiting until the server has collected its garbage")
	after, err := d.look(ctx, d.o.Settle)
	if err != nil {
		return err
	}
	setCursors(x, before, after, float64(d.o.Users), d.o.Store != nil)
	d.r.ServerRSS, d.r.ServerHeap, d.r.CPUConnect = x.RSS, x.Heap, x.CPU
	d.r.Latency, d.r.LatencyOf = d.fleet.joins.Latency(), "connecting with a device and subscribing"
	if err := d.comeBack(ctx); err != nil {
		return err
	}
	return errors.Join(d.verdict(ctx), context.Cause(ctx))
}

// setCursors fills in what was left between two looks.
func setCursors(x *report.Cursors, before, after atRest, users float64, store bool) {
	x.RSSBefore, x.RSSAfter, x.HeapBefore, x.HeapAfter = before.rss, after.rss, before.heap, after.heap
	x.RSS, x.Heap = (after.rss - before.rss).Per(users), (after.heap - before.heap).Per(users)
	x.Goroutines, x.GoroutinesN = (after.goroutines - before.goroutines).Per(users), after.goroutines
	x.Records, x.StoreBytes, x.Consumers, x.ConsumersN = report.Unknown, report.Unknown, report.Unknown, report.Unknown
	if store {
		a, b := &before.store, &after.store
		x.Records = report.Figure(float64(b.records) - float64(a.records)).Per(users)
		x.StoreBytes = report.Figure(float64(b.bytes) - float64(a.bytes)).Per(users)
		x.Consumers, x.ConsumersN = report.Figure(b.consumers-a.consumers).Per(users), report.Figure(b.consumers)
	}
}

// batch has the i-th part of the users come, get one message, acknowledge it, and go.
func (d *durableRun) batch(ctx context.Context, i int) error {
	n := min(d.o.Batch, d.o.Users-i*d.o.Batch)
	conns := make([]*conn, n)
	for j := range conns {
		as, err := newDevice(d.fleet.target, fmt.Sprintf("durable-%s-%d", d.run, i*d.o.Batch+j))
		if err != nil {
			return err
		}
		conns[j] = &conn{as: as, tracks: []track{{ch: d.flow.channels[i]}}}
		if rand.IntN(d.o.Users) < d.o.Sample { //nolint:gosec // which ones does not matter
			d.sample = append(d.sample, as)
			as.last = &conns[j].tracks[0]
		}
	}
	if err := d.fleet.join(ctx, d.fleet.loops, conns); err != nil {
		return err
	}
	d.acked.Store(0)
	if err := d.p.publish(d.fleet.clock.now(), 1); err != nil {
		return err
	}
	if !d.awaitAcks(ctx, int64(n)) {
		if err := errors.Join(context.Cause(ctx), d.fleet.err()); err != nil {
			return err
		}
		return fmt.Errorf("%w: %d of %d devices have an answer to their ack; %s", ErrNoProgress, d.acked.Load(), n, d.firstError())
	}
	leaveAll(d.fleet.loops)
	d.o.Progress(fmt.Sprintf("%d users have been there", i*d.o.Batch+n))
	return d.fleet.err()
}

func (d *durableRun) firstError() string {
	for _, l := range d.fleet.loops {
		l.mu.Lock()
		why := l.sink.(*devices).firstError
		l.mu.Unlock()
		if why != "" {
			return "one was refused: " + why
		}
	}
	return "the others got none"
}

// awaitAcks returns once so many acks were answered, or false when none was for a while.
func (d *durableRun) awaitAcks(ctx context.Context, n int64) bool {
	last, moved := d.acked.Load(), time.Now()
	for last < n && ctx.Err() == nil && time.Since(moved) < stepTimeout {
		nap(2 * time.Millisecond)
		if now := d.acked.Load(); now != last {
			last, moved = now, time.Now()
		}
	}
	return last >= n
}

// look waits until the server has collected its garbage, but no longer than patience, and sees what it holds.
func (d *durableRun) look(ctx context.Context, patience time.Duration) (a atRest, err error) {
	t := d.fleet.target
	if patience > 0 {
		t.awaitCollection(ctx, patience)
	}
	if a.usage = t.sample(ctx); d.o.Store != nil {
		if a.store, err = d.o.Store.state(ctx); err != nil {
			return a, err
		}
	}
	m, err := t.metrics(ctx)
	if err != nil {
		return a, nil //nolint:nilerr // the report then has no such figure
	}
	a.goroutines = value(m, metricGoroutines)
	return a, nil
}

// comeBack lets a sample of the devices connect again.
func (d *durableRun) comeBack(ctx context.Context) error {
	d.o.Progress(fmt.Sprintf("%d of them come back", len(d.sample)))
	conns := make([]*conn, len(d.sample))
	for i, as := range d.sample {
		had := as.last
		conns[i] = &conn{as: as, tracks: []track{{ch: had.ch, restored: true, next: had.next}, {ch: &channel{name: as.inbox(), index: nowhere}, restored: true}}}
	}
	if err := d.fleet.join(ctx, d.fleet.loops, conns); err != nil {
		return err
	}
	for i, c := range conns {
		c.loop.mu.Lock()
		if at := c.tracks[0].acked; at != d.sample[i].last.acked {
			if d.r.Wrong++; d.r.Wrong > toldUsers {
				c.loop.mu.Unlock()
				continue
			}
			d.r.Note("user %s came back at %d, and had acknowledged %d", c.as.user, at, d.sample[i].last.acked)
		}
		c.loop.mu.Unlock()
	}
	d.r.Cursors.Returned = len(conns)
	leaveAll(d.fleet.loops)
	return d.fleet.err()
}

func (d *durableRun) verdict(ctx context.Context) error {
	latency := d.r.Latency
	d.p.awaitAnswers(ctx, d.o.Drain)
	err := d.flow.verdict(ctx, d.r, d.p)
	d.r.Latency = latency
	return err
}
