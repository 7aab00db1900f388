package streams

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	publishWindow  = 4096     // messages of one stream on their way; the server drops what exceeds 10,000 of all its publishers
	maxQueued      = 32 << 10 // messages that wait to be sent, over all streams
	maxQueuedBytes = 64 << 20
	sendRun        = 64  // messages that the sender takes at once
	ackRun         = 256 // acknowledgements before AckBatchEnd is called although more wait
	sweepEvery     = 100 * time.Millisecond
	bodyChunk      = 32 << 10
)

// publisher sends what sockets publish and answers each message by its own acknowledgement. Callers only enqueue: a
// connection that does not take bytes blocks the sender's goroutine and nobody else.
type publisher struct {
	log      *Log
	link     *link
	waiting  mux[pending]
	wake     chan struct{} // one token: there is something to send
	lost     chan struct{} // one token: the connection broke
	acks     *nats.Subscription
	ackCount int // acknowledgements since AckBatchEnd; owned by the callback of acks

	mu       sync.Mutex
	closed   bool
	sleeping bool
	ready    []*outbox // have something that their windows let pass
	boxes    []*outbox
	queued   int
	bytes    int
	chunk    []byte // bodies are copied into what is left of it
	live     outbox // QoS 0 has no window

	published, refused, unknown atomic.Uint64
}

// outbox is what one stream has to send. All of it is guarded by publisher.mu.
type outbox struct {
	queue    []outgoing
	next     int // queue[next:] is to be sent
	inFlight int
	window   int // 0: none
	ready    bool
}

type outgoing struct {
	pending
	subject  string
	from, id string
	dedup    bool
	body     []byte
	deadline int64
}

// pending is what waits for an acknowledgement.
type pending struct {
	stream *Stream
	done   func(Ack, error)
	head   uint64 // the stream's head when it was published: an answer that is not beyond it comes from a stream made anew
}

func newPublisher(l *Log) *publisher {
	p := &publisher{log: l, wake: make(chan struct{}, 1), lost: make(chan struct{}, 1)}
	p.boxes = []*outbox{&p.live}
	return p
}

// attach gives the publisher its connection.
func (p *publisher) attach(c *link) (err error) {
	p.link = c
	p.waiting.prefix = c.nc.NewInbox() + "."
	p.acks, err = c.subscribe(p.waiting.prefix+">", p.onAck)
	return err
}

func (p *publisher) addBox(b *outbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.window = publishWindow
	p.boxes = append(p.boxes, b)
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
	if !p.link.up.Load() {
		p.refused.Add(1)
		done(Ack{}, ErrUnavailable)
		return
	}
	o := outgoing{
		pending: pending{s, done, s.gen.Load().head.Load()},
		subject: m.Channel, from: m.From, id: m.ID, dedup: m.QoS == 2,
		deadline: time.Now().Add(p.log.opts.PublishTimeout).UnixNano(),
	}
	if err := p.enqueue(&s.out, o, m.Body); err != nil {
		p.refused.Add(1)
		done(Ack{}, err)
	}
}

// send enqueues a message that is not stored.
func (p *publisher) send(m *Message) error {
	if !p.link.up.Load() {
		return ErrUnavailable
	}
	deadline := time.Now().Add(p.log.opts.PublishTimeout).UnixNano()
	return p.enqueue(&p.live, outgoing{subject: livePrefix + m.Channel, from: m.From, id: m.ID, deadline: deadline}, m.Body)
}

func (p *publisher) enqueue(b *outbox, o outgoing, body []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return ErrClosed
	}
	if p.queued >= maxQueued || p.bytes+len(body) > maxQueuedBytes {
		return fmt.Errorf("%w: too many messages wait to be sent", ErrUnavailable)
	}
	o.body = p.copyLocked(body)
	p.queued++
	p.bytes += len(body)
	b.queue = append(b.queue, o)
	p.readyLocked(b)
	return nil
}

func (p *publisher) copyLocked(body []byte) []byte {
	if len(body) > bodyChunk/4 {
		return append([]byte(nil), body...)
	}
	if len(body) > cap(p.chunk)-len(p.chunk) {
		p.chunk = make([]byte, 0, bodyChunk)
	}
	n := len(p.chunk)
	p.chunk = append(p.chunk, body...)
	return p.chunk[n:len(p.chunk):len(p.chunk)]
}

// readyLocked lets the sender know of b if it has something that may be sent.
func (p *publisher) readyLocked(b *outbox) {
	if b.ready || b.next == len(b.queue) || b.window > 0 && b.inFlight >= b.window {
		return
	}
	b.ready = true
	p.ready = append(p.ready, b)
	if p.sleeping {
		p.sleeping = false
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// runSender sends what outboxes hold, in turn, until ctx ends.
func (p *publisher) runSender(ctx context.Context) {
	msg := &nats.Msg{Header: nats.Header{}}
	var from, id, key [1]string
	run := make([]outgoing, 0, sendRun)
	for {
		run = p.take(run[:0])
		if len(run) == 0 {
			select {
			case <-p.wake:
				continue
			case <-ctx.Done():
				return
			}
		}
		failed := false
		for i := range run {
			o := &run[i]
			clear(msg.Header)
			msg.Subject, msg.Data, msg.Reply = o.subject, o.body, ""
			if o.from != "" {
				from[0] = escape(o.from)
				msg.Header[headerFrom] = from[:]
			}
			if o.id != "" {
				id[0] = escape(o.id)
				msg.Header[headerID] = id[:]
			}
			if o.dedup {
				key[0] = dedupKey(o.from, o.subject, o.id)
				msg.Header[headerMsgID] = key[:]
			}
			failed = p.transmit(o, msg) || failed
		}
		if failed {
			p.batchEnd()
		}
		clear(run)
	}
}

// transmit hands one message to the connection and reports whether that failed.
func (p *publisher) transmit(o *outgoing, msg *nats.Msg) (failed bool) {
	if o.stream == nil {
		_ = p.link.nc.PublishMsg(msg) // QoS 0: at most once
		return false
	}
	if o.deadline < time.Now().UnixNano() {
		p.settle(o.pending, Ack{}, fmt.Errorf("%w: it could not be sent in time", ErrUnavailable))
		return true
	}
	msg.Reply = p.waiting.add(o.pending, o.deadline)
	err := p.link.nc.PublishMsg(msg)
	if err == nil {
		return false
	}
	if w, ok := p.waiting.abandon(msg.Reply); ok {
		if notSent(err) {
			err = sendError(err)
		} else { // some of the buffer may have left
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		p.settle(w, Ack{}, err)
	}
	return true
}

// notSent reports whether err means that nothing of the message has left.
func notSent(err error) bool {
	for _, e := range []error{nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionDraining,
		nats.ErrMaxPayload, nats.ErrHeadersNotSupported, nats.ErrBadSubject} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// take moves the next messages out of the outboxes.
func (p *publisher) take(run []outgoing) []outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ready) > 0 && len(run) < sendRun {
		b := p.ready[0]
		p.ready = p.ready[1:]
		b.ready = false
		n := min(len(b.queue)-b.next, sendRun-len(run))
		if b.window > 0 {
			n = min(n, b.window-b.inFlight)
		}
		for range n {
			run = append(run, p.popLocked(b))
		}
		b.inFlight += n
		p.readyLocked(b)
	}
	p.sleeping = len(run) == 0
	return run
}

func (p *publisher) popLocked(b *outbox) outgoing {
	o := b.queue[b.next]
	b.queue[b.next] = outgoing{}
	b.next++
	p.queued--
	p.bytes -= len(o.body)
	switch {
	case b.next < len(b.queue):
		if b.next >= 1024 && b.next >= len(b.queue)/2 {
			n := copy(b.queue, b.queue[b.next:])
			clear(b.queue[n:])
			b.queue, b.next = b.queue[:n], 0
		}
	case cap(b.queue) > 1024:
		b.queue, b.next = nil, 0
	default:
		b.queue, b.next = b.queue[:0], 0
	}
	return o
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

func (p *publisher) batchEnd() {
	if f := p.log.opts.AckBatchEnd; f != nil {
		f()
	}
}

// onAck takes JetStream's answers.
func (p *publisher) onAck(m *nats.Msg) {
	if w, ok := p.waiting.take(m.Subject); ok {
		p.acknowledge(w, m)
		p.ackCount++
	}
	if p.ackCount == 0 {
		return
	}
	if n, _, _ := p.acks.Pending(); n <= 1 || p.ackCount >= ackRun { // this one counts until the callback returns
		p.ackCount = 0
		p.batchEnd()
	}
}

func (p *publisher) acknowledge(w pending, m *nats.Msg) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		w.stream.suspect(nil)
		p.settle(w, Ack{}, fmt.Errorf("%w: no stream takes it", ErrUnavailable))
		return
	}
	a, err := parsePubAck(m.Data)
	if err != nil {
		p.settle(w, Ack{}, err)
		return
	}
	ack := func() Ack {
		return Ack{Seq: a.seq, Duplicate: a.duplicate, Epoch: w.stream.Epoch(), Durability: w.stream.Durability()}
	}
	if a.seq <= w.head && !a.duplicate {
		w.stream.suspect(func(ok bool) {
			if ok {
				p.settle(w, ack(), nil)
			} else {
				p.settle(w, Ack{}, fmt.Errorf("%w: the stream was made anew and cannot be reached", ErrTimeout))
			}
			p.batchEnd()
		})
		return
	}
	p.settle(w, ack(), nil)
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
	if len(ws) > 0 {
		p.batchEnd()
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
	if len(failed) > 0 {
		p.batchEnd()
	}
}

// finish answers everything that is left, when nothing runs any more.
func (p *publisher) finish() { p.failSent(p.waiting.abandonAll(), ErrClosed) }

func (p *publisher) counts() (inFlight, queued int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.waiting.len(), p.queued
}
