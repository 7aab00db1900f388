package hub

import "strings"

// Cursor is one subscription: its position on a channel's log, and whether it stands at the head.
type Cursor struct {
	// Fixed after Subscribe.
	topic *topic
	sink  Sink
	lossy bool // QoS 0: a full socket skips

	// Guarded by the shard's mu.
	state    state
	newEpoch bool // the position belonged to another epoch: a gap is owed
	at       int32
	pos      uint64 // everything up to here was taken by the sink, or is not wanted
}

type state uint8

const (
	live    state = iota
	queued        // behind: waits for a worker, or has one
	stalled       // behind: waits for its socket
	gone
)

// Request says what to subscribe to.
type Request struct {
	Channel string
	Log     Log
	Sink    Sink
	Lossy   bool   // QoS 0: live only, and a full socket skips
	Resume  bool   // begin after Since, not at the head
	Since   uint64 // a sequence
	Epoch   string // that Since belongs to; empty: not known
}

// Subscribe puts a cursor in place. attached is called before any frame is offered, under a lock: it must not block nor
// call the Hub. Every message after head, or after Since with Resume, follows.
func (h *Hub) Subscribe(r Request, attached func(epoch string, head uint64)) *Cursor {
	sh := h.shard(r.Channel)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	t := sh.topics[r.Channel]
	if t == nil {
		t = &topic{name: r.Channel, log: r.Log, hub: h, shard: sh}
		sh.topics[r.Channel] = t
	}
	c := &Cursor{topic: t, sink: r.Sink, lossy: r.Lossy, at: int32(len(t.cursors))}
	t.cursors = append(t.cursors, c)
	epoch, head := t.log.Epoch(), t.log.Head()
	attached(epoch, head)
	c.pos = head
	if r.Resume && !r.Lossy {
		c.pos, c.state = r.Since, queued
		if r.Epoch != "" && r.Epoch != epoch {
			c.pos, c.newEpoch = 0, true
		}
		h.run.push(c)
	}
	return c
}

// Cancel removes c. No frame is offered afterwards.
func (c *Cursor) Cancel() {
	t := c.topic
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	if c.state == gone {
		return
	}
	c.state = gone
	last := len(t.cursors) - 1
	t.cursors[c.at] = t.cursors[last]
	t.cursors[c.at].at = c.at
	t.cursors[last] = nil
	t.cursors = t.cursors[:last]
	if last == 0 {
		delete(t.shard.topics, t.name)
	}
}

// Position is the sequence up to which c's sink has taken everything.
func (c *Cursor) Position() uint64 {
	c.topic.shard.mu.Lock()
	defer c.topic.shard.mu.Unlock()
	return c.pos
}

// Epoch is the epoch that Position belongs to.
func (c *Cursor) Epoch() string { return c.topic.log.Epoch() }

// Drained tells that c's sink has room again. A call too many does no harm.
func (c *Cursor) Drained() {
	c.topic.shard.mu.Lock()
	defer c.topic.shard.mu.Unlock()
	if c.state == stalled {
		c.state = queued
		c.topic.hub.run.push(c)
	}
}

// Reset tells that a namespace's stream was made anew: every cursor on it is told of the gap and begins at the front.
func (h *Hub) Reset(namespace string) {
	for i := range h.shards {
		sh := &h.shards[i]
		sh.mu.Lock()
		for name, t := range sh.topics {
			if ns, _, _ := strings.Cut(name, "."); ns == namespace {
				h.resetLocked(t)
			}
		}
		sh.mu.Unlock()
	}
}

func (h *Hub) resetLocked(t *topic) {
	t.last = 0
	for _, c := range t.cursors {
		c.pos = 0
		if c.lossy {
			continue
		}
		c.newEpoch = true
		if c.state == live {
			c.state = queued
			h.run.push(c)
		}
	}
}
