package streams

import (
	"fmt"
	"time"
)

const (
	publishWindow  = 4096     // messages of one stream on their way; the server drops what exceeds 10,000 of all its publishers
	maxQueued      = 32 << 10 // messages that wait to be sent, over all streams
	maxQueuedBytes = 64 << 20
	bodyChunk      = 32 << 10
)

// outbox is what one stream has to send. All of it is guarded by publisher.mu.
type outbox struct {
	queue    []outgoing
	next     int // queue[next:] is to be sent
	inFlight int
	window   int // 0: none
	ready    bool
	held     bool // what it has is gathered
}

type outgoing struct {
	pending
	subject  string
	from, id string
	dedup    bool
	body     []byte
	deadline int64
	reply    string // set by the sender
	group    *group // it belongs to; nil: none
	alone    bool   // not to be sent in a group: one with it was refused
}

func (p *publisher) addBox(b *outbox) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.window = publishWindow
	p.boxes = append(p.boxes, b)
}

func (p *publisher) enqueue(b *outbox, o outgoing, body []byte, now time.Time) error {
	first, err := p.put(b, o, body, now)
	if first {
		p.log.syncer.hold()
	}
	return err
}

// put adds a message to the queue; first: it is the first that is gathered.
func (p *publisher) put(b *outbox, o outgoing, body []byte, now time.Time) (first bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.refuseLocked(len(body)); err != nil {
		return false, err
	}
	o.body = p.copyLocked(body)
	p.queued++
	p.bytes += len(body)
	b.queue = append(b.queue, o)
	if !p.gathersLocked(b) {
		p.readyLocked(b)
		return false, nil
	}
	p.gathered = now
	if !b.held {
		b.held = true
		p.held = append(p.held, b)
		first = len(p.held) == 1
	}
	return first, nil
}

// refuseLocked says why a body of so many bytes cannot be queued, if that is so.
func (p *publisher) refuseLocked(body int) error {
	if p.closed {
		return ErrClosed
	}
	if p.queued >= maxQueued || p.bytes+body > maxQueuedBytes {
		return fmt.Errorf("%w: too many messages wait to be sent", ErrUnavailable)
	}
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
	if b.ready || b.next == len(b.queue) || b.window > 0 && b.inFlight >= b.window || b.inFlight > 0 && b.together() {
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

// gathersLocked reports whether what b has shall wait for more: it is going to wait for the next sync anyway, and costs less when it is
// sent and stored together. A lot leaves at once, and so does what comes while the sender has b.
func (p *publisher) gathersLocked(b *outbox) bool {
	s := b.queue[b.next].stream
	return s != nil && !b.ready && len(b.queue)-b.next < sendRun && s.policy.Load().synced() && p.log.syncer.gathers.Load()
}

// release lets go what was gathered, and returns when the last of it came.
func (p *publisher) release() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, b := range p.held {
		b.held, p.held[i] = false, nil
		p.readyLocked(b)
	}
	p.held = p.held[:0]
	return p.gathered
}

// pick moves the next messages out of the outboxes.
func (p *publisher) pick(run []outgoing) []outgoing {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.ready) > 0 && len(run) < sendRun {
		b := p.ready[0]
		if b.next < len(b.queue) && b.together() {
			if len(run) > 0 {
				break // a group leaves by itself
			}
			p.ready = p.ready[1:]
			b.ready = false
			run = p.takeGroupLocked(b, run)
			break
		}
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
