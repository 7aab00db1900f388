package streams

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/link"
	"github.com/jetwire/jetwire/streams/origin"
	"github.com/jetwire/jetwire/streams/puback"
	"github.com/jetwire/jetwire/streams/tap"
)

const (
	sendRun    = 64 // messages that the sender takes at once
	sweepEvery = 100 * time.Millisecond
)

// publisher sends what sockets publish and answers each message by its own acknowledgement. Callers only enqueue: a
// connection that does not take bytes blocks the sender's goroutine and nobody else.
type publisher struct {
	log     *Log
	link    *conn
	waiting mux[pending]
	wake    chan struct{} // one token: there is something to send
	lost    chan struct{} // one token: the connection broke

	mu       sync.Mutex
	closed   bool
	sleeping bool
	ready    []*outbox // have something that their windows let pass
	boxes    []*outbox
	queued   int
	bytes    int
	chunk    []byte // bodies are copied into what is left of it
	live     outbox // QoS 0 has no window
	held     []*outbox
	gathered time.Time // when the last message came that is, or was, gathered
	groups   uint64    // made so far
	nonce    string    // begins their ids; fixed

	header [3][1]string // the sender's

	published, refused, unknown atomic.Uint64
}

// pending is what waits for an acknowledgement.
type pending struct {
	stream *Stream
	done   func(Ack, error)
	group  *group // that this message ends; nil: it was sent by itself, or within one
	head   uint64 // the stream's head when it was published: an answer that is not beyond it comes from a stream made anew
}

func newPublisher(l *Log) *publisher {
	p := &publisher{log: l, nonce: rand.Text() + "-", wake: make(chan struct{}, 1), lost: make(chan struct{}, 1)}
	p.boxes = []*outbox{&p.live}
	return p
}

// attach gives the publisher its connection.
func (p *publisher) attach(c *conn) (err error) {
	p.link = c
	p.waiting.prefix = c.NewInbox() + "."
	_, err = c.listen(p.waiting.prefix, "", p)
	return err
}

// check refuses what no server needs to see.
func check(p *Publication, pol *Policy) error {
	switch {
	case p.QoS > 2:
		return fmt.Errorf("%w: QoS %d", ErrBadPublication, p.QoS)
	case p.QoS == 2 && p.ID == "":
		return fmt.Errorf("%w: QoS 2 needs an id", ErrBadPublication)
	case len(p.ID) > maxIdentity || len(p.From) > maxIdentity:
		return fmt.Errorf("%w: id and sender may have %d bytes", ErrBadPublication, maxIdentity)
	case len(p.Body) > pol.MaxMessageSize:
		return fmt.Errorf("%w: %d bytes, the namespace takes %d", ErrTooLarge, len(p.Body), pol.MaxMessageSize)
	}
	return nil
}

// publish enqueues a message that has been checked.
func (p *publisher) publish(s *Stream, m *Publication, done func(Ack, error)) {
	if !p.link.Up() {
		p.refused.Add(1)
		done(Ack{}, p.log.away())
		return
	}
	if f := p.log.opts.Fault; f != nil {
		if err := f(s.name); err != nil {
			p.refused.Add(1)
			done(Ack{}, fmt.Errorf("%w: %w", ErrStoreFull, err))
			return
		}
	}
	now := time.Now()
	o := outgoing{
		pending: pending{stream: s, done: done, head: s.gen.Load().head.Load()},
		subject: m.Channel, from: m.From, id: m.ID, dedup: m.QoS == 2,
		deadline: now.Add(p.log.opts.PublishTimeout).UnixNano(),
	}
	if err := p.enqueue(&s.out, o, m.Body, now); err != nil {
		p.refused.Add(1)
		done(Ack{}, err)
	}
}

// send enqueues a message that is not stored.
func (p *publisher) send(m *Message) error {
	if !p.link.Up() {
		return p.log.away()
	}
	now := time.Now()
	deadline := now.Add(p.log.opts.PublishTimeout).UnixNano()
	return p.enqueue(&p.live, outgoing{subject: livePrefix + m.Channel, from: m.From, id: m.ID, deadline: deadline}, m.Body, now)
}

// runSender sends what outboxes hold, in turn, until ctx ends.
func (p *publisher) runSender(ctx context.Context) {
	msg := &nats.Msg{Header: nats.Header{}}
	run := make([]outgoing, 0, sendRun)
	for {
		run = p.pick(run[:0])
		if len(run) == 0 {
			select {
			case <-p.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		// All of them are registered before the first one is sent, which may hang: then the sweeper answers for the others too.
		for i := range run {
			if o := &run[i]; o.stream != nil {
				if i == len(run)-1 {
					o.pending.group = o.group
				}
				o.reply = p.waiting.add(o.pending, o.deadline)
			}
		}
		if run[0].group != nil {
			p.sendGroup(run, msg)
			clear(run)
			continue
		}
		for i := range run {
			p.compose(&run[i], msg)
			p.transmit(&run[i], msg)
		}
		clear(run)
	}
}

// compose makes msg what is sent for o.
func (p *publisher) compose(o *outgoing, msg *nats.Msg) {
	clear(msg.Header)
	msg.Subject, msg.Data, msg.Reply = o.subject, o.body, o.reply
	if o.from != "" {
		msg.Header[origin.From] = header(&p.header[0], origin.Escape(o.from))
	}
	if o.id != "" {
		msg.Header[origin.ID] = header(&p.header[1], origin.Escape(o.id))
	}
	if o.dedup {
		msg.Header[origin.MsgID] = header(&p.header[2], origin.Key(o.from, o.subject, o.id))
	}
}

// header puts a value where a header needs no allocation for it.
func header(at *[1]string, value string) []string {
	at[0] = value
	return at[:]
}

// transmit hands one message to the connection.
func (p *publisher) transmit(o *outgoing, msg *nats.Msg) {
	if o.stream == nil {
		_ = p.link.PublishMsg(msg) // QoS 0: at most once
		return
	}
	if o.deadline < time.Now().UnixNano() {
		p.unsent(o, fmt.Errorf("%w: it could not be sent in time", ErrUnavailable))
		return
	}
	switch err := p.link.PublishMsg(msg); {
	case err == nil:
	case link.NotSent(err):
		p.unsent(o, sendError(err))
	default: // some of the buffer may have left
		p.unsent(o, fmt.Errorf("%w: %w", ErrTimeout, err))
	}
}

// unsent answers a registered message, unless the sweeper has.
func (p *publisher) unsent(o *outgoing, err error) {
	if w, ok := p.waiting.abandon(o.reply); ok {
		p.settle(w, Ack{}, err)
	}
}

// settle answers one message and lets the next one of its stream pass.
func (p *publisher) settle(w pending, a Ack, err error) {
	p.mu.Lock()
	w.stream.out.inFlight--
	p.readyLocked(&w.stream.out)
	p.mu.Unlock()
	p.answer(w, a, err)
}

func (p *publisher) answer(w pending, a Ack, err error) {
	switch {
	case err == nil:
		p.published.Add(1)
	case errors.Is(err, ErrTimeout):
		p.unknown.Add(1)
	default:
		p.refused.Add(1)
	}
	w.done(a, err)
}

// take takes JetStream's answers.
func (p *publisher) take(m *tap.Message) {
	switch w, ok := p.waiting.take(m.Subject); {
	case !ok:
	case w.group != nil:
		p.onGroup(w, m)
	default:
		p.acknowledge(w, m)
	}
}

func (p *publisher) rest() {}

func (p *publisher) acknowledge(w pending, m *tap.Message) {
	if status, _ := m.Header.Status(); len(m.Body) == 0 && string(status) == "503" {
		w.stream.suspect(nil)
		p.settle(w, Ack{}, fmt.Errorf("%w: no stream takes it", ErrUnavailable))
		return
	}
	a, err := parseAck(m.Body)
	if err != nil {
		p.settle(w, Ack{}, err)
		return
	}
	p.accept(w, a)
}

// accept takes what JetStream says of a message that it has stored.
func (p *publisher) accept(w pending, a puback.Ack) {
	if a.Seq <= w.head && !a.Duplicate {
		w.stream.suspect(func(ok bool) {
			if ok {
				p.stored(w, a)
			} else {
				p.settle(w, Ack{}, fmt.Errorf("%w: the stream was made anew and cannot be reached", ErrTimeout))
			}
		})
		return
	}
	p.stored(w, a)
}

// stored answers a message that JetStream has acknowledged, in synced streams when it has been synced as well.
func (p *publisher) stored(w pending, a puback.Ack) {
	s, g := w.stream, w.stream.gen.Load()
	ack := Ack{Seq: a.Seq, Duplicate: a.Duplicate, Epoch: g.epoch, Durability: s.Durability()}
	answer := func(err error) {
		if err != nil {
			p.settle(w, Ack{}, fmt.Errorf("%w: %w", ErrTimeout, err))
			return
		}
		raise(&g.acked, ack.Seq)
		p.settle(w, ack, nil)
	}
	if s.policy.Load().synced() {
		p.log.syncer.after(g, a.Seq, answer)
	} else {
		answer(nil)
	}
}

// runSweeper answers what was not acknowledged in time, or cannot be any more, until ctx ends.
func (p *publisher) runSweeper(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			p.failSent(p.waiting.expire(now), ErrTimeout)
			p.failQueued(func(o *outgoing) bool { return o.deadline <= now.UnixNano() }, ErrUnavailable)
		case <-p.lost:
			p.failSent(p.waiting.abandonAll(), fmt.Errorf("%w: the connection to NATS broke", ErrTimeout))
			p.failQueued(func(*outgoing) bool { return true }, ErrUnavailable)
		case <-ctx.Done():
			p.mu.Lock()
			p.closed = true
			p.mu.Unlock()
			p.failQueued(func(*outgoing) bool { return true }, ErrClosed)
			return
		}
	}
}

// disconnected is called when the connection breaks: answers to what was sent on it will not come.
func (p *publisher) disconnected() {
	select {
	case p.lost <- struct{}{}:
	default:
	}
}

func (p *publisher) failSent(ws []pending, err error) {
	for _, w := range ws {
		p.settle(w, Ack{}, err)
	}
}

// failQueued answers the messages at the heads of the queues for which cond holds.
func (p *publisher) failQueued(cond func(*outgoing) bool, err error) {
	var failed []outgoing
	p.mu.Lock()
	for _, b := range p.boxes {
		for b.next < len(b.queue) && cond(&b.queue[b.next]) {
			if o := p.popLocked(b); o.stream != nil {
				failed = append(failed, o)
			}
		}
	}
	p.mu.Unlock()
	for _, o := range failed {
		p.answer(o.pending, Ack{}, err)
	}
}

// finish answers everything that is left, when nothing runs any more.
func (p *publisher) finish() { p.failSent(p.waiting.abandonAll(), ErrClosed) }

func (p *publisher) counts() (inFlight, queued int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting.len(), p.queued
}
