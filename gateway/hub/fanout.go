package hub

import (
	"sync"

	"github.com/jetwire/jetwire/streams"
)

// flushing collects the sinks that a fan-out has queued frames for.
type flushing struct{ sinks []Sink }

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
	flushings.Put(f)
}

// Deliver hands messages to the cursors at the head of their channels. Calls for one stream must be serial and in order;
// messages with Seq 0 (not stored) may come from anywhere.
func (h *Hub) Deliver(batch []*streams.Message) {
	f := flushings.Get().(*flushing)
	for _, m := range batch {
		sh := h.shard(m.Channel)
		sh.mu.Lock()
		if t := sh.topics[m.Channel]; t != nil {
			h.fanOutLocked(t, m, f)
		}
		sh.mu.Unlock()
	}
	h.flush(f)
}

func (h *Hub) fanOutLocked(t *topic, m *streams.Message, f *flushing) {
	frame, n := h.opt.Message(m), uint64(0)
	if m.Seq == 0 { // it is for those who stand at the head
		for _, c := range t.cursors {
			if c.state == live && f.offer(c, frame) {
				n++
			} else {
				h.skipped.Add(1)
			}
		}
		h.delivered.Add(n)
		return
	}
	t.last = m.Seq
	for _, c := range t.cursors {
		switch {
		case c.state != live || m.Seq <= c.seen:
		case c.lossy:
			if f.offer(c, frame) {
				n++
			} else {
				h.skipped.Add(1)
			}
			c.pos, c.seen = m.Seq, m.Seq
		case m.Prev > c.pos:
			h.holes.Add(1)
			c.state = queued
			h.run.push(c)
		case f.offer(c, frame):
			c.pos, c.seen = m.Seq, m.Seq
			n++
		default:
			h.fellBehind.Add(1)
			c.state = stalled
		}
	}
	h.delivered.Add(n)
}
