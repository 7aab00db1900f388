package hub

import (
	"strings"
	"unique"

	"github.com/jetwire/jetwire/streams"
)

// Cursor is one subscription: its position on a channel's log, and whether it stands at the head.
type Cursor struct {
	// Fixed after Subscribe.
	topic  *topic
	sink   Sink
	lossy  bool // QoS 0: a full socket skips
	strict bool // a full socket is closed

	// Guarded by the shard's mu.
	state  state
	missed bool // QoS 0: the topic's newest message was skipped
	at     int32
	place
	acked  uint64  // up to here everything was acknowledged, or asked to be left out
	window *window // nil: nobody waits for acks
}

// place is where a cursor stands.
type place struct {
	epoch    unique.Handle[string] // one pointer, where the string itself takes two words in each cursor
	pos      uint64                // the client's: what the sink took last, be it a message or a gap, or where the cursor began
	seen     uint64                // at least pos: nothing that the sink has not taken lies up to here
	newEpoch bool                  // the client's is of another epoch: a gap is owed
}

type state uint8

const (
	live    state = iota
	queued        // behind: waits for a worker, or has one
	stalled       // behind: waits for its socket, or (held) for the first Drained
	unacked       // behind: waits for acks
	gone
)

// Request says what to subscribe to.
type Request struct {
	Channel string // or a pattern: it has a position of its own, on all channels that match
	Log     Log
	Sink    Sink
	Lossy   bool   // QoS 0: live only, and a full socket skips
	Strict  bool   // Options.TooSlow is called when the socket is full
	Acked   bool   // what is not acknowledged in time is sent again, and only so much is on its way
	Held    bool   // nothing is offered before the first Drained; not with Lossy
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
		t = h.addLocked(sh, r)
	}
	c := &Cursor{topic: t, sink: r.Sink, lossy: r.Lossy, strict: r.Strict, at: int32(len(t.cursors))}
	if r.Acked {
		c.window = &window{}
	}
	epoch, head := headOf(t.log)
	if len(t.cursors) == 0 { // later ones must not raise it: a pattern's next message would seem to follow one that others lack
		t.last = head
	}
	t.cursors = append(t.cursors, c)
	attached(epoch, head)
	c.epoch, c.pos = unique.Make(epoch), head
	if r.Resume && !r.Lossy {
		c.pos, c.state = r.Since, queued
		if r.Epoch != "" && r.Epoch != epoch {
			c.pos, c.newEpoch = 0, true
			c.leaveEpochLocked(r.Epoch, r.Since)
		}
	}
	c.seen, c.acked = c.pos, c.pos
	switch {
	case r.Held:
		c.state = stalled
	case c.state == queued:
		h.run.push(c)
	}
	return c
}

func (h *Hub) addLocked(sh *shard, r Request) *topic {
	t := &topic{name: r.Channel, wild: streams.IsPattern(r.Channel), log: r.Log, hub: h, shard: sh, epoch: r.Log.Epoch()}
	sh.topics[t.name] = t
	if t.wild { // before the head is read, so that nothing passes in between
		h.patterns.set(t.name, t)
	}
	return t
}

// headOf returns an epoch and the head of the same.
func headOf(l Log) (epoch string, head uint64) {
	for {
		epoch, head = l.Epoch(), l.Head()
		if l.Epoch() == epoch {
			return epoch, head
		}
	}
}

// Cancel removes c. No frame is offered afterwards.
func (c *Cursor) Cancel() {
	t := c.topic
	t.shard.mu.Lock()
	defer t.shard.mu.Unlock()
	if c.state == gone {
		return
	}
	c.caughtLocked()
	c.state = gone
	last := len(t.cursors) - 1
	t.cursors[c.at] = t.cursors[last]
	t.cursors[c.at].at = c.at
	t.cursors[last] = nil
	t.cursors = t.cursors[:last]
	if last == 0 {
		delete(t.shard.topics, t.name)
		if t.wild {
			t.hub.patterns.set(t.name, nil)
		}
	}
}

// Drained tells that c's sink has room again. A call too many does no harm.
func (c *Cursor) Drained() {
	c.topic.shard.mu.Lock()
	defer c.topic.shard.mu.Unlock()
	switch {
	case c.state == stalled:
		c.state = queued
		c.topic.hub.run.push(c)
	case c.missed:
		c.topic.hub.run.push(c)
	}
}

// renewLocked moves c to the front of the present epoch.
func (c *Cursor) renewLocked(epoch string) {
	if was := c.epoch.Value(); epoch != was {
		c.leaveEpochLocked(was, c.acked)
	}
	c.epoch, c.pos, c.seen, c.newEpoch = unique.Make(epoch), 0, 0, !c.lossy
	c.acked = 0
	if w := c.window; w != nil {
		w.sent, w.top = nil, 0
	}
}

// Reset tells that a namespace's stream was made anew: every cursor on it is told of the gap and begins at the front.
// It must come before the first Deliver of the new epoch.
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
	epoch, head := headOf(t.log)
	changed := epoch != t.epoch
	t.last, t.epoch = head, epoch
	for _, c := range t.cursors {
		if changed && c.epoch.Value() == epoch {
			continue // it came, or was moved, between the change and this call
		}
		c.renewLocked(epoch)
		if c.newEpoch && (c.state == live || c.state == unacked) {
			c.state = queued
			h.run.push(c)
		}
	}
}
