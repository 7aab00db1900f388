package hub

import (
	"errors"
	"slices"
	"time"
)

// The errors of Cursor.Ack. A refused ack changes nothing.
var (
	ErrAckAhead   = errors.New("the ack is beyond what was sent")
	ErrAckBehind  = errors.New("the ack is behind the last one")
	ErrWrongEpoch = errors.New("the ack is of another epoch")
	ErrNoAcks     = errors.New("a subscription at QoS 0 has nothing to acknowledge")
)

// window is what a cursor with acknowledgements has on its way. It is guarded by the shard's mu; a nil window is never full.
type window struct {
	sent     []uint64 // sequences sent and not acknowledged, ascending; at most Options.MaxUnacked
	top      uint64   // the highest position ever reached in this epoch: acks may come up to here
	progress time.Time
	armed    bool // the cursor is in the shard's list of those that wait for acks

	// What was acknowledged in another epoch counts until something is in the present one: who is restored before that is told of the
	// gap again. An empty epoch: nothing was.
	before struct {
		epoch string
		seq   uint64
	}
}

func (c *Cursor) windowFull() bool {
	return c.window != nil && len(c.window.sent) >= c.topic.hub.opt.MaxUnacked
}

// movedLocked moves c to what the sink took.
func (c *Cursor) movedLocked(to uint64) {
	c.pos, c.seen = to, to
	if w := c.window; w != nil {
		w.top = max(w.top, to)
	}
}

// sentLocked moves c to a message that the sink took, and that may have to be acknowledged.
func (c *Cursor) sentLocked(seq uint64) {
	c.movedLocked(seq)
	w := c.window
	if w == nil {
		return
	}
	if len(w.sent) == 0 {
		w.progress = time.Now()
	}
	w.sent = append(w.sent, seq)
	if !w.armed {
		w.armed = true
		c.topic.shard.unacked = append(c.topic.shard.unacked, c)
	}
}

// Ack moves the acknowledged position: cumulative, forwards only, and not beyond what was sent. epoch may be empty: the
// present one.
func (c *Cursor) Ack(epoch string, seq uint64) error {
	if c.lossy {
		return ErrNoAcks
	}
	c.topic.shard.mu.Lock()
	defer c.topic.shard.mu.Unlock()
	top := c.pos
	if c.window != nil {
		top = max(top, c.window.top)
	}
	switch {
	case epoch != "" && epoch != c.epoch.Value():
		return ErrWrongEpoch
	case seq < c.acked:
		return ErrAckBehind
	case seq > top:
		return ErrAckAhead
	}
	if c.window != nil {
		c.window.before.epoch = ""
	}
	if seq > c.acked {
		c.acked = seq
		c.acknowledgedLocked()
	}
	return nil
}

// acknowledgedLocked lets those messages go that the acknowledged position has passed, and the next ones come.
func (c *Cursor) acknowledgedLocked() {
	w := c.window
	if w == nil {
		return
	}
	n, _ := slices.BinarySearch(w.sent, c.acked+1)
	w.sent, w.progress = slices.Delete(w.sent, 0, n), time.Now()
	if len(w.sent) == 0 {
		w.sent = nil // a cursor at rest holds nothing
	}
	if c.acked > c.pos { // it was sent before a cut or a rewind, and need not be sent again
		c.pos, c.seen = c.acked, max(c.seen, c.acked)
	}
	if c.state == unacked {
		c.state = queued
		c.topic.hub.run.push(c)
	}
}

// Acked returns the acknowledged position. It is of another epoch if the client has acknowledged nothing since that ended.
func (c *Cursor) Acked() (epoch string, seq uint64) {
	c.topic.shard.mu.Lock()
	defer c.topic.shard.mu.Unlock()
	if w := c.window; w != nil && w.before.epoch != "" {
		return w.before.epoch, w.before.seq
	}
	return c.epoch.Value(), c.acked
}

// leaveEpochLocked keeps what was acknowledged in an epoch that has ended.
func (c *Cursor) leaveEpochLocked(epoch string, seq uint64) {
	if w := c.window; w != nil && w.before.epoch == "" {
		w.before.epoch, w.before.seq = epoch, seq
	}
}

// rewindEvery is the part of AckWait after which overdue acks are looked for.
const rewindEvery = 8

// redeliver sends again, by the same catch-up as everything else, what was not acknowledged in time.
func (h *Hub) redeliver() {
	t := time.NewTicker(max(h.opt.AckWait/rewindEvery, time.Millisecond))
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case now := <-t.C:
			for i := range h.shards {
				h.shards[i].rewind(now.Add(-h.opt.AckWait))
			}
		}
	}
}

// rewind moves the cursors whose last progress lies before a time back to what was acknowledged.
func (sh *shard) rewind(before time.Time) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.unacked = slices.DeleteFunc(sh.unacked, func(c *Cursor) bool {
		w := c.window
		if c.state == gone || len(w.sent) == 0 {
			w.armed = false
			return true
		}
		switch {
		case w.progress.After(before):
		case c.state == live, c.state == unacked:
			c.pos, c.seen, w.sent = c.acked, c.acked, nil
			c.state, w.armed = queued, false
			c.topic.hub.redelivered.Add(1)
			c.topic.hub.run.push(c)
			return true
		default: // what it was sent still waits for its socket, or it is being read for
			w.progress = time.Now()
		}
		return false
	})
}
