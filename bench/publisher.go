package bench

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

const (
	stallAfter = 2 * time.Second
	longestNap = 20 * time.Millisecond // between looks at the context
)

var errPublisherGone = errors.New("the publisher's connection ended")

// publisher sends numbered messages to the channels of a flow in turn, from sockets of its own on a loop of its own.
// A channel belongs to one socket, so that its numbers arrive in order.
type publisher struct {
	flow   *flow
	qos    wire.QoS
	rate   float64 // messages a second; 0: as fast as the window allows
	ramp   time.Duration
	window int    // messages in flight when flat out
	nonce  string // begins the message ids of QoS 2
	loop   *loop
	conns  []*conn

	sent  atomic.Uint64
	acked atomic.Uint64 // answered without an error

	// Owned by run.
	body, text, out []byte
	size            sizer
	delay           report.Histogram // how late messages of the window were written
	stalls          int

	// Guarded by loop.mu.
	refusedIn map[int]uint64 // by channel
	first     string         // refusal
	errors    uint64
	positions *positions // of all messages; nil: nobody asks for them
}

func newPublisher(f *flow, sockets int, rate float64, window int) (*publisher, error) {
	p := &publisher{
		flow: f, qos: f.fleet.qos, rate: rate, window: window, nonce: strconv.FormatInt(time.Now().UnixNano(), 36),
		delay: report.NewHistogram(), refusedIn: make(map[int]uint64), size: newSizer(f.load.Payload),
	}
	var err error
	if p.loop, err = f.fleet.newLoop((*acks)(p)); err != nil {
		return nil, err
	}
	for range min(sockets, len(f.channels)) {
		p.conns = append(p.conns, &conn{})
	}
	return p, nil
}

// join opens the publisher's sockets.
func (p *publisher) join(ctx context.Context) error {
	return p.flow.fleet.join(ctx, []*loop{p.loop}, p.conns)
}

// run publishes from start until end, in the fleet's clock.
func (p *publisher) run(ctx context.Context, start, end int64) error {
	if p.rate > 0 {
		return p.open(ctx, start, end)
	}
	return p.closed(ctx, start, end)
}

// open publishes at a fixed rate, whatever the server does.
func (p *publisher) open(ctx context.Context, start, end int64) error {
	clock := p.flow.fleet.clock
	return clock.pace(ctx, schedule{p.rate, p.ramp}, start, end, func(_ uint64, at int64) error {
		if err := p.publish(at, 1); err != nil {
			return err
		}
		if at >= p.flow.from {
			p.delay.Record(clock.now() - at)
		}
		return nil
	})
}

// closed keeps a window of messages in flight. It refills the window once a quarter of it has arrived everywhere.
func (p *publisher) closed(ctx context.Context, start, end int64) error {
	members := int64(p.flow.members)
	var given int64 // up, after a stall
	for {
		window := p.windowAt(start)
		sent := int64(p.sent.Load())
		if !p.flow.await(ctx, (sent-window+int64(quarterOf(int(window))))*members-given, stallAfter) {
			if err := context.Cause(ctx); err != nil {
				return err
			}
			if err := p.flow.fleet.err(); err != nil {
				return err
			}
			p.stalls++
			given = sent*members - p.flow.arrived.Load()
		}
		free := window - (sent - (p.flow.arrived.Load()+given)/members)
		now := p.flow.fleet.clock.now()
		if now >= end {
			return nil
		}
		if err := p.publish(now, int(min(max(free, 1), window))); err != nil {
			return err
		}
	}
}

// quarterOf is how much of a window has to be free before it is filled again.
func quarterOf(window int) int { return max(1, window/4) }

// windowAt is how many messages may be in flight now: it rises during the ramp.
func (p *publisher) windowAt(start int64) int64 {
	since := p.flow.fleet.clock.now() - start
	if p.ramp == 0 || since >= int64(p.ramp) {
		return int64(p.window)
	}
	return max(1, int64(p.window)*since/int64(p.ramp))
}

// publish sends the next n messages. What goes to one socket without another's between leaves in one write.
func (p *publisher) publish(at int64, n int) error {
	var c *conn
	p.out = p.out[:0]
	waiting := uint64(0) // messages in out
	for range n {
		i := p.sent.Load() + waiting
		channels := uint64(len(p.flow.channels))
		ch := p.flow.channels[i%channels]
		if next := p.conns[ch.index%len(p.conns)]; next != c {
			if err := p.write(c, waiting); err != nil {
				return err
			}
			c, waiting = next, 0
		}
		p.body = appendPayload(p.body[:0], at, i/channels+1, p.size.next())
		command := wire.Publish{Channel: ch.name, Data: p.body, QoS: p.qos}
		if p.qos == wire.ExactlyOnce {
			command.ID = p.nonce + "-" + strconv.FormatUint(i, 10)
		}
		id := uint64(0) // at QoS 0 nobody waits for an answer
		if p.qos != wire.AtMostOnce {
			id = i + maxJoinID + 1
		}
		p.text = p.loop.dialect.appendPublish(p.text[:0], id, &command)
		p.out = wsock.AppendMasked(p.out, p.loop.dialect.opcode(), p.text)
		waiting++
	}
	return p.write(c, waiting)
}

// write sends out, which holds so many messages.
func (p *publisher) write(c *conn, messages uint64) error {
	if messages == 0 {
		return nil
	}
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	if c.phase != joined {
		return fmt.Errorf("%w: %w", errPublisherGone, c.why)
	}
	p.sent.Add(messages) // before they can be answered
	err := c.send(p.out)
	p.out = p.out[:0]
	if err != nil {
		p.loop.end(c, err)
		return fmt.Errorf("%w: %w", errPublisherGone, err)
	}
	return nil
}

// awaitAnswers returns once every publish is answered, or none was for patience.
func (p *publisher) awaitAnswers(ctx context.Context, patience time.Duration) {
	if p.qos == wire.AtMostOnce {
		return
	}
	last, since := p.unanswered(), time.Now()
	for last > 0 && ctx.Err() == nil && time.Since(since) < patience {
		nap(5 * time.Millisecond)
		if n := p.unanswered(); n != last {
			last, since = n, time.Now()
		}
	}
}

// published is how many messages a channel was sent.
func (p *publisher) published(index int) uint64 {
	return (&published{Sent: p.sent.Load(), Channels: len(p.flow.channels)}).to(index)
}

// refusedByChannel is how many messages of each channel got an error reply.
func (p *publisher) refusedByChannel() map[int]uint64 {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	return maps.Clone(p.refusedIn)
}

func (p *publisher) refusals() uint64 {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	return p.errors
}

func (p *publisher) firstRefusal() string {
	p.loop.mu.Lock()
	defer p.loop.mu.Unlock()
	return p.first
}

func (p *publisher) unanswered() uint64 {
	if p.qos == wire.AtMostOnce {
		return 0
	}
	return p.sent.Load() - p.acked.Load() - p.refusals()
}

// acks is the publisher as the sink of its loop.
type acks publisher

var (
	_ sink    = (*acks)(nil)
	_ tallied = (*acks)(nil)
)

func (a *acks) tally(t *tally, _ *lately) {
	if a.qos == wire.AtMostOnce {
		t.published += a.sent.Load()
		return
	}
	t.published += a.acked.Load()
}

func (a *acks) message(*conn, *push, int64) {}

func (a *acks) gap(*conn) {}

func (a *acks) settled(*conn, int64) error { return nil }

func (a *acks) answer(_ *conn, x *answer, _ int64) {
	a.acked.Add(1)
	if a.positions != nil && x.id > maxJoinID {
		a.positions.note(x.id-maxJoinID-1, x.seq)
	}
}

func (a *acks) refused(_ *conn, id uint64, why *wire.Error) {
	if id <= maxJoinID {
		return
	}
	a.errors++
	a.refusedIn[int((id-maxJoinID-1)%uint64(len(a.flow.channels)))]++
	if a.first == "" {
		a.first = why.Error()
	}
}
