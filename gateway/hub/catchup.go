package hub

import (
	"errors"
	"runtime"
	"sync"
	"time"

	"github.com/jetwire/jetwire/streams"
)

// run is the queue of cursors that wait for a worker: first in, first out, one page a turn, so that each socket gets its
// share whatever the others ask for.
type run struct {
	mu     sync.Mutex
	ready  sync.Cond
	queue  []*Cursor
	failed []*Cursor // whose log could not be read; they wait for retry
	ended  bool
}

func (r *run) push(c *Cursor) {
	r.mu.Lock()
	r.queue = append(r.queue, c)
	r.mu.Unlock()
	r.ready.Signal()
}

// pop waits for a cursor; nil: the hub is closed.
func (r *run) pop() *Cursor {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) == 0 && !r.ended {
		r.ready.Wait()
	}
	if r.ended {
		return nil
	}
	c := r.queue[0]
	r.queue[0] = nil
	r.queue = r.queue[1:]
	return c
}

func (r *run) end() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.ready.Broadcast()
}

func (r *run) fail(c *Cursor) {
	r.mu.Lock()
	r.failed = append(r.failed, c)
	r.mu.Unlock()
}

func (r *run) retry() {
	r.mu.Lock()
	n := len(r.failed)
	r.queue = append(r.queue, r.failed...)
	clear(r.failed)
	r.failed = r.failed[:0]
	r.mu.Unlock()
	if n > 0 {
		r.ready.Broadcast()
	}
}

// retryEvery is how soon a log that could not be read is tried again.
const retryEvery = 250 * time.Millisecond

// retry gives the cursors whose log could not be read another turn.
func (h *Hub) retry() {
	t := time.NewTicker(retryEvery)
	defer t.Stop()
	for {
		select {
		case <-h.ctx.Done():
			return
		case <-t.C:
			h.run.retry()
		}
	}
}

// catchUp is a worker. It gives way after each turn: without that, workers that have enough to do keep a processor for 10 ms at
// a time, and whatever is live waits behind all of them at each step of its way.
func (h *Hub) catchUp() {
	for {
		c := h.run.pop()
		if c == nil {
			return
		}
		h.turn(c)
		runtime.Gosched()
	}
}

// turn reads one page for c and offers it.
func (h *Hub) turn(c *Cursor) {
	if c.lossy {
		h.newest(c)
		return
	}
	t := c.topic
	t.shard.mu.Lock()
	was, active, shared := c.place, c.state == queued, len(t.cursors) > 1
	t.shard.mu.Unlock()
	if !active {
		return
	}
	page, skip := h.page(t, was, shared)
	if page.err != nil && !errors.Is(page.err, streams.ErrWrongEpoch) {
		if h.ctx.Err() == nil {
			if !h.unreadable.Swap(true) { // thousands may wait for the same log
				h.opt.Logger.Warn("cannot read the log; subscribers that are behind wait", "channel", t.name, "after", was.seen, "error", page.err)
			}
			h.run.fail(c)
		}
		return
	}
	if h.unreadable.Load() {
		h.unreadable.Store(false)
	}
	var own []byte // the first message's frame, if between the client's position and the page there is nothing, and the page does not know
	if skip < len(page.Messages) && page.Messages[skip].Prev > was.pos {
		own = h.opt.Message(page.Messages[skip], was.pos, t.pattern())
	}
	f := flushings.Get().(*flushing)
	t.shard.mu.Lock()
	if c.state == queued {
		epoch := t.log.Epoch()
		switch {
		case c.place != was: // Reset or an ack moved it meanwhile
			h.run.push(c)
		case epoch != was.epoch.Value() || page.err != nil: // the page may be of another epoch, and Reset has not come yet
			c.renewLocked(epoch)
			h.run.push(c)
		default:
			if c.state = h.takePageLocked(c, page, skip, own, f); c.state == live {
				h.joinLocked(c, page)
			}
		}
	}
	t.shard.mu.Unlock()
	h.flush(f)
}

// takePageLocked offers a page to c's sink and moves c past what was taken. It returns live if all of it was, otherwise
// what c has to wait for.
func (h *Hub) takePageLocked(c *Cursor, page *sharedPage, skip int, own []byte, f *flushing) state {
	if c.newEpoch {
		if !h.tellGapLocked(c, Gap{NewEpoch: true}, f) {
			return c.refusedLocked(f)
		}
		c.newEpoch = false
	}
	for i, m := range page.Messages[skip:] {
		frame := page.frames[skip+i]
		if i == 0 && own != nil {
			frame = own
		}
		switch {
		case c.windowFull():
			return unacked
		case !h.tellLostLocked(c, page, m.Seq, f) || !f.offer(c, frame):
			return c.refusedLocked(f)
		}
		c.sentLocked(m.Seq)
		h.delivered.Add(1)
	}
	if !h.tellLostLocked(c, page, page.Through+1, f) {
		return c.refusedLocked(f)
	}
	c.seen = max(c.seen, page.Through)
	return live
}

// tellLostLocked tells of what is lost between c's position and a sequence. The page names one range, in which there may be messages,
// and which may reach beyond it; what clients are told of holds none, as PROTOCOL.md has it.
func (h *Hub) tellLostLocked(c *Cursor, page *sharedPage, before uint64, f *flushing) bool {
	from, to := max(page.LostFrom, c.seen+1), min(page.LostTo, before-1)
	if from > to {
		return true
	}
	if !h.tellGapLocked(c, Gap{From: from, To: to}, f) {
		return false
	}
	c.movedLocked(to)
	return true
}

func (h *Hub) tellGapLocked(c *Cursor, g Gap, f *flushing) bool {
	g.Channel, g.Epoch = c.topic.name, c.epoch.Value()
	if !f.offer(c, h.opt.Gap(g)) {
		return false
	}
	h.gaps.Add(1)
	return true
}

// joinLocked puts c, which took the whole page, on the live path if it stands at the head, or queues it again.
func (h *Hub) joinLocked(c *Cursor, page *sharedPage) {
	t := c.topic
	passed := t.last > c.seen && t.epoch == c.epoch.Value() // before Reset nothing of a new epoch has passed
	if page.More || passed {
		c.state = queued
		h.run.push(c)
		return
	}
	h.caughtUp.Add(1)
}

// newest gives a cursor at QoS 0, whose socket was full and has room again, the last message that it missed.
func (h *Hub) newest(c *Cursor) {
	t := c.topic
	f := flushings.Get().(*flushing)
	t.shard.mu.Lock()
	if c.missed && f.offer(c, t.newest) {
		c.caughtLocked()
		h.delivered.Add(1)
	}
	t.shard.mu.Unlock()
	h.flush(f)
}
