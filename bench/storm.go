package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of ResumeStorm.
const (
	DefaultStormUsers    = 10_000
	DefaultStormMessages = 20
	DefaultStormLive     = 100
	DefaultStormRate     = 100 // messages a second to the live sockets
	DefaultStormAgain    = 500
)

const (
	stormAhead  = 1_000           // sockets that open at the same time: all at once would only measure the kernel's queue of connections
	stormWindow = 2_000           // messages in flight while the inboxes are filled
	ackDelay    = 3 * time.Second // after which what was acknowledged at QoS 1 must be stored
)

// ResumeStorm has many durable users away while each gets messages in its inbox, and then come back all at once. They ask for nothing: the
// server knows them.
type ResumeStorm struct {
	Load
	Users    int     // DefaultStormUsers
	Messages int     // for each; DefaultStormMessages
	Live     int     // sockets on a channel beside; DefaultStormLive
	Rate     float64 // messages a second to these; DefaultStormRate
	Again    int     // users that come back once more; DefaultStormAgain

	patience time.Duration // without a message, after which what is missing is lost; stepTimeout

	Kill func(context.Context) error // kills and restarts the server while all are away, and sets Target's address and PID; nil: it stays
}

// Run measures the storm.
func (o ResumeStorm) Run(ctx context.Context) (r *report.Report, err error) {
	def(&o.Users, DefaultStormUsers)
	def(&o.Messages, DefaultStormMessages)
	def(&o.Live, DefaultStormLive)
	def(&o.Rate, DefaultStormRate)
	def(&o.Again, DefaultStormAgain)
	def(&o.patience, stepTimeout)
	o.Again = min(o.Again, o.Users)
	l := o.withDefaults()
	l.Ahead = max(l.Ahead, stormAhead)
	o.Load = l
	r = l.report("resume-storm")
	defer l.watch(ctx, r)()
	r.Loop = report.OpenLoop // of the live sockets
	r.Connections, r.Channels, r.Publishers, r.QoS = o.Users, o.Users, 1, int(wire.AtLeastOnce)
	r.Storm = &report.Storm{Users: o.Users, Messages: o.Messages, Killed: o.Kill != nil, Restart: report.Unknown, Requests: report.Unknown}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 2)) // see SlowReaders
	s := &stormRun{o: &o, r: r, acked: make(chan struct{})}
	if err := s.prepare(ctx); err != nil {
		return nil, err
	}
	if o.Kill != nil {
		o.Progress("killing the server")
		began := time.Now()
		if err := l.sampler.without(func() error { return o.Kill(ctx) }); err != nil {
			return nil, err
		}
		r.Storm.Restart = report.Figure(time.Since(began).Seconds())
	}
	if err := s.storm(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

// stormRun is one run of ResumeStorm.
type stormRun struct {
	o       *ResumeStorm
	r       *report.Report
	users   []*device
	inboxes []*channel
	refused map[int]uint64

	loops     []*loop // of the users that came back
	returning *flow
	open      atomic.Int64       // users that have not got an answer to their last ack
	acked     chan struct{}      // closed when there are none
	before    map[string]float64 // the server's metrics, before anybody came back
}

// prepare makes the users known to the server, and fills their inboxes when they are away.
func (s *stormRun) prepare(ctx context.Context) (err error) {
	o, t := s.o, s.o.Target
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	for i := range o.Users {
		as, err := newDevice(t, fmt.Sprintf("storm-%s-%d", run, i))
		if err != nil {
			return err
		}
		s.users = append(s.users, as)
		s.inboxes = append(s.inboxes, &channel{name: as.inbox(), index: i})
	}
	f := newFleet(&o.Load, wire.AtLeastOnce)
	if err := f.reserve(o.Users + o.Live + 2); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	fl := newFlow(&o.Load, f, s.inboxes, 1)
	if err := f.open(func() sink { return &devices{deliveries: deliveries{flow: fl, hist: report.NewHistogram()}} }); err != nil {
		return err
	}
	o.Progress(fmt.Sprintf("connecting %d users, which then go", o.Users))
	if err := f.join(ctx, f.loops, s.conns()); err != nil {
		return err
	}
	leaveAll(f.loops)
	return s.fill(ctx, fl)
}

// conns makes a connection for each user.
func (s *stormRun) conns() []*conn {
	conns := make([]*conn, len(s.users))
	for i, as := range s.users {
		conns[i] = &conn{as: as, tracks: []track{{ch: s.inboxes[i], restored: true, next: 1}}}
	}
	return conns
}

// fill publishes to every inbox.
func (s *stormRun) fill(ctx context.Context, fl *flow) error {
	o, total := s.o, s.o.Users*s.o.Messages
	token, err := o.Target.Sign("jetbench", []string{"user.>"})
	if err != nil {
		return err
	}
	p, err := newPublisher(fl, 1, 1, stormWindow)
	if err != nil {
		return err
	}
	fl.fleet.others = append(fl.fleet.others, p.loop)
	p.conns[0].as = &device{token: token}
	if err := p.join(ctx); err != nil {
		return err
	}
	o.Progress(fmt.Sprintf("publishing %d messages to the inboxes", total))
	began := time.Now()
	if err := p.pump(ctx, total); err != nil {
		return err
	}
	p.awaitAnswers(ctx, o.Drain)
	s.r.Sent, s.r.PublishErrors, s.r.Unanswered, s.refused = p.sent.Load(), p.refusals(), p.unanswered(), p.refusedByChannel()
	s.r.Published = report.Figure(float64(p.acked.Load()) / time.Since(began).Seconds())
	if why := p.firstRefusal(); why != "" {
		s.r.Note("publishes were refused, the first: %s", why)
	}
	return context.Cause(ctx)
}

// pump publishes so many messages with the window's number in flight.
func (p *publisher) pump(ctx context.Context, total int) error {
	moved, last := time.Now(), uint64(0)
	for int(p.sent.Load()) < total {
		inFlight := int(p.unanswered())
		if n := min(p.window-inFlight, total-int(p.sent.Load())); n > p.window/4 || n > 0 && inFlight == 0 || n == total-int(p.sent.Load()) && n > 0 {
			if err := p.publish(p.flow.fleet.clock.now(), n); err != nil {
				return err
			}
		}
		nap(500 * time.Microsecond)
		if now := p.acked.Load() + p.refusals(); now != last {
			last, moved = now, time.Now()
		}
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case time.Since(moved) > stepTimeout:
			return fmt.Errorf("%w: %d publishes wait for their answers", ErrNoProgress, p.unanswered())
		}
	}
	return nil
}

// storm lets everybody come back.
func (s *stormRun) storm(ctx context.Context) (err error) {
	o, x := s.o, s.r.Storm
	f := newFleet(&o.Load, wire.AtLeastOnce)
	if err := f.reserve(o.Users + o.Live + 2); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.close()) }()
	s.returning = newFlow(&o.Load, f, s.inboxes, 1)
	if err := f.open(func() sink {
		return &devices{deliveries: deliveries{flow: s.returning, hist: report.NewHistogram()}, onAck: s.onAck}
	}); err != nil {
		return err
	}
	s.loops = slices.Clone(f.loops)
	live, err := newLiveTraffic(ctx, &o.Load, f, makeChannels(channelPrefix(o.Namespace, "storm"), 1), o.Live)
	if err != nil {
		return err
	}
	if err := live.stretch(ctx, "before", o.Rate, int(o.Rate*o.Duration.Seconds()), nil); err != nil {
		return err
	}
	o.Progress(fmt.Sprintf("%d users come back", o.Users))
	if err := live.stretch(ctx, "storm", o.Rate, 0, func(ctx context.Context, _ <-chan struct{}) error { return s.comeBack(ctx, live) }); err != nil {
		return err
	}
	x.Stretches, s.r.SendDelay = live.stretches, live.p.delay.Latency()
	s.r.Latency, s.r.LatencyOf = live.latest, "delivery to live sockets on another channel meanwhile"
	s.verdict(f)
	live.verdict(s.r)
	leaveAll(s.loops)
	return s.again(ctx)
}

func (s *stormRun) onAck(_ *conn, t *track, now int64) {
	if t.done == 0 && t.next == uint64(s.o.Messages)+1-s.refused[t.ch.index] && t.acked == t.got {
		t.done = now
		if s.open.Add(-1) == 0 {
			close(s.acked)
		}
	}
}

// comeBack connects everybody, and waits until each has all of its messages, and an answer to its ack.
func (s *stormRun) comeBack(ctx context.Context, live *liveTraffic) error {
	o, x, f := s.o, s.r.Storm, s.returning.fleet
	before, err := o.Target.metrics(ctx)
	if err != nil {
		s.r.Note("the server's metrics could not be read: %v", err)
	}
	s.open.Store(int64(o.Users))
	from, err := live.flow.moment(ctx, live.p)
	if err != nil {
		return err
	}
	began := f.clock.now()
	if err := f.join(ctx, s.loops, s.conns()); err != nil {
		return err
	}
	second := func(at int64) report.Figure { return report.Figure(float64(at-began) / 1e9) }
	x.Joined = second(f.clock.now())
	s.awaitAll(ctx)
	published := s.r.Published
	to, err := live.flow.moment(ctx, live.p)
	if err != nil {
		return err
	}
	live.flow.window(s.r, live.p, from, to)
	s.r.Published, s.r.CPUPublish = published, report.Unknown
	x.Acked = second(f.clock.now())
	delivered, total := int64(0), uint64(0)
	for _, l := range s.loops {
		l.mu.Lock()
		d := l.sink.(*devices)
		delivered, total = max(delivered, d.last), total+d.counts.Received
		l.mu.Unlock()
	}
	x.Delivered = second(delivered)
	s.r.Delivered = report.Figure(total) / x.Delivered
	x.CPU = s.r.ServerCores * s.r.Measured * 1e6 / report.Figure(total)
	s.r.CPUDelivery = x.CPU
	s.before = before
	return context.Cause(ctx)
}

// awaitAll waits for the last ack's answer, or until nothing has moved for a while.
func (s *stormRun) awaitAll(ctx context.Context) {
	tick := time.NewTicker(min(time.Second, s.o.patience/2))
	defer tick.Stop()
	last, moved := int64(-1), time.Now()
	for {
		select {
		case <-s.acked:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := s.returning.arrived.Load() - s.open.Load()
		if now != last {
			last, moved = now, time.Now()
		} else if time.Since(moved) > s.o.patience {
			s.r.Note("nothing came for %v: %d users lack a message or the answer to an ack; %d messages came in all", s.o.patience, s.open.Load(), s.returning.arrived.Load())
			return
		}
	}
}

// natsRequests adds up what costs the server a request to NATS each.
func natsRequests(counted map[string]report.Figure) (n report.Figure) {
	for name, v := range counted {
		if name == "jetwire_log_reads_total" || strings.HasPrefix(name, "jetwire_device_reads") || strings.HasPrefix(name, "jetwire_device_writes") {
			n += v
		}
	}
	return n
}

// verdict judges what the users got.
func (s *stormRun) verdict(f *fleet) {
	for _, l := range s.loops {
		l.mu.Lock()
		d := l.sink.(*devices)
		d.counts.report(s.r)
		for c := range l.begun() {
			t := &c.tracks[0]
			s.r.Lost += t.lost(uint64(s.o.Messages), s.refused[t.ch.index])
			s.r.Wrong += t.wrong
		}
		l.mu.Unlock()
	}
	f.noteDisconnects(s.r)
	(&fleet{loops: s.loops}).noteAcks(s.r)
}

// verdict adds what was wrong with live traffic.
func (s *liveTraffic) verdict(r *report.Report) {
	refused := s.p.refusedByChannel()
	s.loop.mu.Lock()
	defer s.loop.mu.Unlock()
	d := s.loop.sink.(*deliveries)
	for c := range s.loop.begun() {
		t := &c.tracks[0]
		r.Lost += t.lost(s.p.published(t.ch.index), refused[t.ch.index])
		r.Wrong += t.wrong
	}
	r.Duplicated += d.counts.Duplicated
	r.Reordered += d.counts.Reordered
	r.Gaps += d.counts.Gaps
	r.Foreign += d.counts.Foreign
}

// again lets some users come back once more: what they acknowledged must have been stored.
func (s *stormRun) again(ctx context.Context) (err error) {
	o := s.o
	if err := sleep(ctx, ackDelay); err != nil {
		return err
	}
	if after, err := o.Target.metrics(ctx); err == nil && s.before != nil {
		s.r.Storm.Counted = counted(s.before, after)
		s.r.Storm.Requests = natsRequests(s.r.Storm.Counted)
	}
	f := newFleet(&o.Load, wire.AtLeastOnce)
	fl := newFlow(&o.Load, f, s.inboxes, 1)
	defer func() { err = errors.Join(err, f.close()) }()
	if err := f.open(func() sink { return &devices{deliveries: deliveries{flow: fl, hist: report.NewHistogram()}} }); err != nil {
		return err
	}
	if err := f.join(ctx, f.loops, s.conns()[:o.Again]); err != nil {
		return err
	}
	fl.await(ctx, 1<<40, o.Drain) // until nothing comes
	s.r.Storm.Again, s.r.Storm.Returned = o.Again, uint64(fl.arrived.Load())
	s.r.Duplicated += s.r.Storm.Returned
	return context.Cause(ctx)
}
