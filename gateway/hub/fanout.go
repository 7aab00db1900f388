package hub

import (
	"sync"

	"github.com/jetwire/jetwire/streams"
)

// flushing collects the sinks that a fan-out has queued frames for, and those that were too slow for their namespace.
type flushing struct {
	sinks, slow []Sink
	patterns    []*topic // scratch
}

var flushings = sync.Pool{New: func() any { return new(flushing) }}

func (f *flushing) offer(c *Cursor, frame []byte) (taken bool) {
	taken, flush := c.sink.Offer(frame)
	if flush {
		f.sinks = append(f.sinks, c.sink)
	}
	return taken
}

func (h *Hub) flush(f *flushing) {
	if len(f.sinks) > 0 {
		h.opt.Flush(f.sinks)
		clear(f.sinks)
		f.sinks = f.sinks[:0]
	}
	for _, s := range f.slow {
		h.opt.TooSlow(s)
	}
	clear(f.slow)
	clear(f.patterns[:cap(f.patterns)])
	f.slow, f.patterns = f.slow[:0], f.patterns[:0]
	flushings.Put(f)
}

// Deliver hands messages to the cursors at the head of their channels, and of the patterns that these match. Calls for one stream
// must be serial and in order; messages with Seq 0 (not stored) may come from anywhere.
func (h *Hub) Deliver(batch []*streams.Message) {
	f := flushings.Get().(*flushing)
	for _, m := range batch {
		sh := h.shard(m.Channel)
		sh.mu.Lock()
		if t := sh.topics[m.Channel]; t != nil {
			h.fanOutLocked(t, m, f)
		}
		sh.mu.Unlock()
		f.patterns = h.patterns.match(f.patterns[:0], m.Channel)
		for _, t := range f.patterns {
			t.shard.mu.Lock()
			h.fanOutLocked(t, m, f)
			t.shard.mu.Unlock()
		}
	}
	h.flush(f)
}

func (h *Hub) fanOutLocked(t *topic, m *streams.Message, f *flushing) {
	prev := m.Prev
	if t.wild && m.Seq != 0 {
		prev = max(prev, t.last) // the one before in the pattern; if the tail has lost some, it is seen by m's own
	}
	frame, n := h.opt.Message(m, prev, t.pattern()), uint64(0)
	if m.Seq == 0 { // it is for those who stand at the head
		for _, c := range t.cursors {
			if h.offerOrSkipLocked(c, frame, f) {
				n++
			}
		}
		h.delivered.Add(n)
		return
	}
	t.last = max(t.last, m.Seq)
	for _, c := range t.cursors {
		switch {
		case m.Seq <= c.seen: // it came in between: what others miss now is not for it
			c.caughtLocked()
		case c.state != live:
		case c.lossy:
			if h.offerOrSkipLocked(c, frame, f) {
				n++
			}
			c.movedLocked(m.Seq)
		case prev > c.pos:
			h.holes.Add(1)
			c.state = queued
			h.run.push(c)
		case c.windowFull():
			c.state = unacked
		case f.offer(c, frame):
			c.sentLocked(m.Seq)
			n++
		default:
			h.fellBehind.Add(1)
			c.state = c.refusedLocked(f)
		}
	}
	h.delivered.Add(n)
}

// refusedLocked is what becomes of a cursor whose socket takes no more: it waits, unless its namespace has slow ones closed.
func (c *Cursor) refusedLocked(f *flushing) state {
	if c.strict {
		f.slow = append(f.slow, c.sink)
	}
	return stalled
}

// offerOrSkipLocked offers what is only for those who stand at the head and whose sockets have room. Whoever misses it is counted; at
// QoS 0 the newest message missed comes once there is room.
func (h *Hub) offerOrSkipLocked(c *Cursor, frame []byte, f *flushing) (taken bool) {
	if c.state == live && f.offer(c, frame) {
		c.caughtLocked()
		return true
	}
	h.skipped.Add(1)
	if !c.lossy {
		return false
	}
	t := c.topic
	t.newest = frame
	if !c.missed {
		c.missed = true
		t.missing++
	}
	return false
}

// caughtLocked notes that c's sink has taken the newest message.
func (c *Cursor) caughtLocked() {
	if !c.missed {
		return
	}
	c.missed = false
	if t := c.topic; t.missing > 1 {
		t.missing--
	} else {
		t.missing, t.newest = 0, nil
	}
}
