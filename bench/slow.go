package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of SlowReaders.
const (
	DefaultSlowReaders  = 1_000
	DefaultLiveReaders  = 100
	DefaultSlowMessages = 100_000
	DefaultSlowRate     = 4_000 // messages a second
	DefaultTrickle      = 50    // messages a second
	DefaultSlowPayload  = 256   // bytes
)

const (
	slowBuffer   = 8 << 10                // bytes that the kernel holds for a stalled reader: otherwise it takes megabytes for each
	readerBuffer = 256 << 10              // … once it reads again
	beatEvery    = 10 * time.Second       // of stalled sockets
	watchEvery   = 500 * time.Millisecond // the server's memory is looked at
	deadlock     = 30 * time.Second       // without a delivery: catching up has failed
)

// SlowReaders has many sockets stop reading while messages arrive on their channel, and then read again, all at once. Others
// on the same channel read all the time.
type SlowReaders struct {
	Load             // Duration is that of the two stretches before the stall
	Readers  int     // that stall; DefaultSlowReaders
	Live     int     // that do not; DefaultLiveReaders
	Messages int     // while they are stalled; DefaultSlowMessages
	Rate     float64 // of these, a second; DefaultSlowRate
	Trickle  float64 // messages a second before, and while the readers catch up; DefaultTrickle
	QoS      wire.QoS
}

// Run measures what stalled readers cost. Memory and latency are compared with those of the same rates while there were only live
// readers: the stretches `alone` and `busy` come before the stall.
func (o SlowReaders) Run(ctx context.Context) (r *report.Report, err error) {
	def(&o.Readers, DefaultSlowReaders)
	def(&o.Live, DefaultLiveReaders)
	def(&o.Messages, DefaultSlowMessages)
	def(&o.Rate, DefaultSlowRate)
	def(&o.Trickle, DefaultTrickle)
	if o.QoS == wire.AtMostOnce {
		return nil, errors.New("slow readers at QoS 0 skip what they cannot take: choose 1 or 2")
	}
	l := o.withDefaults()
	o.Load = l
	r = l.report("slow-readers")
	defer l.watch(ctx, r)()
	r.Loop = report.OpenLoop // of the live sockets
	r.Connections, r.Channels, r.Publishers, r.QoS = o.Readers+o.Live, 1, 1, int(o.QoS)
	r.Stalled = &report.Stalled{Readers: o.Readers, Live: o.Live, Messages: o.Messages}
	f := newFleet(&l, o.QoS)
	if err := f.reserve(r.Connections + 1); err != nil {
		return nil, err
	}
	// The live readers' loop, the publisher and the readers that catch up must not wait for each other in Go's scheduler.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU() + 2))
	s := &slowRun{o: &o, r: r, fleet: f, caughtUp: make(chan struct{})}
	defer func() { err = errors.Join(err, f.close()) }()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	if err := s.run(ctx); err != nil {
		return nil, err
	}
	return r, nil
}

func def[T int | float64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// slowRun is one run of SlowReaders.
type slowRun struct {
	o     *SlowReaders
	r     *report.Report
	fleet *fleet

	live  *liveTraffic
	slow  *flow   // of the same channel
	loops []*loop // of the stalled readers

	goal     uint64        // the number of the last message that stalled readers must get; fixed before they read again
	resumed  int64         // when they did, in the fleet's clock
	left     atomic.Int64  // readers that have not reached the goal
	caughtUp chan struct{} // closed when none is left
}

// open connects the publisher and the live readers.
func (s *slowRun) open(ctx context.Context) (err error) {
	channels := makeChannels(channelPrefix(s.o.Namespace, "slow"), 1)
	s.slow = newFlow(&s.o.Load, s.fleet, channels, s.o.Readers)
	if err := s.fleet.open(func() sink { return &deliveries{flow: s.slow, hist: report.NewHistogram(), each: s.reached} }); err != nil {
		return err
	}
	s.loops = slices.Clone(s.fleet.loops)
	s.live, err = newLiveTraffic(ctx, &s.o.Load, s.fleet, channels, s.o.Live)
	return err
}

func (s *slowRun) run(ctx context.Context) error {
	o := s.o
	seconds := o.Duration.Seconds()
	if o.Warmup > 0 {
		if err := s.live.stretch(ctx, "warm-up", o.Rate, int(o.Rate*o.Warmup.Seconds()), nil); err != nil {
			return err
		}
		s.live.stretches = nil
	}
	if err := s.live.stretch(ctx, "alone", o.Trickle, int(o.Trickle*seconds), nil); err != nil {
		return err
	}
	if err := s.live.stretch(ctx, "busy", o.Rate, int(o.Rate*seconds), nil); err != nil {
		return err
	}
	o.Progress(fmt.Sprintf("connecting %d readers, which then stop reading", o.Readers))
	if err := s.fleet.join(ctx, s.loops, makeConns(o.Readers, s.slow.channels, s.live.p.sent.Load(), slowBuffer)); err != nil {
		return err
	}
	if err := s.each(func(c *conn) error { return c.setDeaf(true) }); err != nil {
		return err
	}
	if err := s.live.stretch(ctx, "stalled", o.Rate, o.Messages, s.beat); err != nil {
		return err
	}
	stalled := s.live.stretches[len(s.live.stretches)-1]
	s.r.Stalled.RSSGrowth, s.r.Stalled.HeapGrowth = stalled.RSSGrowth, stalled.HeapGrowth
	if stalled.RSSGrowth > report.GrowthTarget {
		s.r.Note("the server grew by more than %d MiB while the readers were stalled", report.GrowthTarget>>20)
	}
	if err := s.live.stretch(ctx, "catching up", o.Trickle, 0, s.catchUp); err != nil {
		return err
	}
	s.live.p.awaitAnswers(ctx, o.Drain)
	s.slow.await(ctx, int64(s.live.p.sent.Load()-s.goal+uint64(o.Messages))*int64(o.Readers), o.Drain)
	if err := s.live.flow.verdict(ctx, s.r, s.live.p); err != nil {
		return err
	}
	s.r.Stalled.Stretches, s.r.SendDelay = s.live.stretches, s.live.p.delay.Latency()
	s.r.Latency, s.r.LatencyOf = s.live.latest, "delivery to live readers while the others catch up"
	return context.Cause(ctx)
}

// each does f with every stalled reader.
func (s *slowRun) each(f func(c *conn) error) error {
	for _, l := range s.loops {
		l.mu.Lock()
		for c := range l.begun() {
			if c.phase != joined {
				continue
			}
			if err := f(c); err != nil {
				l.end(c, err)
			}
		}
		l.mu.Unlock()
	}
	return s.fleet.err()
}

// beat keeps the stalled readers' connections while published is open.
func (s *slowRun) beat(ctx context.Context, published <-chan struct{}) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-published:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
			if err := s.each((*conn).beat); err != nil {
				return err
			}
		}
	}
}

// reached is told of every message that a stalled reader gets.
func (s *slowRun) reached(_ *conn, t *track, now int64) {
	if s.goal == 0 || t.next != s.goal+1 || t.done != 0 {
		return
	}
	t.done = now
	if s.left.Add(-1) == 0 {
		close(s.caughtUp)
	}
}

// catchUp lets the stalled readers read, and waits until each has every message.
func (s *slowRun) catchUp(ctx context.Context, _ <-chan struct{}) error {
	s.left.Store(int64(s.o.Readers))
	s.goal = s.live.p.sent.Load() // deaf readers' loops do not look at it yet: nothing reaches them
	before, err := s.live.flow.moment(ctx, s.live.p)
	if err != nil {
		return err
	}
	s.resumed = s.fleet.clock.now()
	if err := s.each(func(c *conn) error { return errors.Join(setBuffer(c.fd, readerBuffer), c.setDeaf(false)) }); err != nil {
		return err
	}
	err = s.untilCaughtUp(ctx)
	after, failed := s.live.flow.moment(ctx, s.live.p)
	s.live.flow.window(s.r, s.live.p, before, after)
	s.tellTimes()
	return errors.Join(err, failed)
}

func (s *slowRun) untilCaughtUp(ctx context.Context) error {
	const tellEvery = 5 * time.Second
	tick := time.NewTicker(tellEvery)
	defer tick.Stop()
	arrived, last, moved := s.slow.arrived.Load(), uint64(0), time.Now()
	for {
		select {
		case <-s.caughtUp:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
		now := s.slow.arrived.Load()
		s.o.Progress(fmt.Sprintf("%d of %d readers have everything; %d deliveries/s", int64(s.o.Readers)-s.left.Load(), s.o.Readers,
			(now-arrived)*int64(time.Second)/int64(tellEvery)))
		arrived = now
		switch readers, missing := s.lag(); {
		case readers == 0 && s.left.Load() > 0:
			s.r.Note("%d readers were disconnected before they had everything", s.left.Load())
			return nil
		case missing != last:
			last, moved = missing, time.Now()
		case time.Since(moved) > deadlock:
			s.r.Note("nothing came for %v: %d readers have not got everything", deadlock, s.left.Load())
			return nil
		}
	}
}

// lag is how many connected readers have not got everything, and how many messages they lack.
func (s *slowRun) lag() (readers int, missing uint64) {
	for _, l := range s.loops {
		l.mu.Lock()
		for c := range l.begun() {
			if t := &c.tracks[0]; t.done == 0 && c.phase == joined {
				readers, missing = readers+1, missing+s.goal+1-t.next
			}
		}
		l.mu.Unlock()
	}
	return readers, missing
}

// tellTimes says when readers had everything.
func (s *slowRun) tellTimes() {
	var took []int64
	for _, l := range s.loops {
		l.mu.Lock()
		for c := range l.begun() {
			for i := range c.tracks {
				if at := c.tracks[i].done; at != 0 {
					took = append(took, at-s.resumed)
				}
			}
		}
		l.mu.Unlock()
	}
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	second := func(i int) report.Figure { return report.Figure(float64(took[i]) / 1e9) }
	x := s.r.Stalled
	x.Complete, x.First, x.Median, x.Last = len(took), second(0), second(len(took)/2), second(len(took)-1)
}
