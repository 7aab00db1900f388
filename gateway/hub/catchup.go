package hub

import (
	"errors"
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

// catchUp is a worker.
func (h *Hub) catchUp() {
	for {
		c := h.run.pop()
		if c == nil {
			return
		}
		h.turn(c)
	}
}

// turn reads one page for c and offers it.
func (h *Hub) turn(c *Cursor) {
	t := c.topic
	t.shard.mu.Lock()
	was, active := c.place, c.state == queued
	t.shard.mu.Unlock()
	if !active {
		return
	}
	page, err := t.log.Page(h.ctx, streams.PageRequest{
		Channel: t.name, After: was.seen, Limit: h.opt.PageMessages, MaxBytes: h.opt.PageBytes,
	})
	if err != nil && !errors.Is(err, streams.ErrWrongEpoch) {
		if h.ctx.Err() == nil {
			if !h.unreadable.Swap(true) { // thousands may wait for the same log
				h.opt.Logger.Warn("cannot read the log; subscribers that are behind wait", "channel", t.name, "after", was.seen, "error", err)
			}
			h.run.fail(c)
		}
		return
	}
	if h.unreadable.Load() {
		h.unreadable.Store(false)
	}
	frames := make([][]byte, len(page.Messages))
	for i, m := range page.Messages {
		if i == 0 && m.Prev > was.pos { // between the client's position and the page there is nothing
			own := *m
			own.Prev = was.pos
			m = &own
		}
		frames[i] = h.opt.Message(m)
	}
	f := flushings.Get().(*flushing)
	t.shard.mu.Lock()
	if c.state == queued {
		epoch := t.log.Epoch()
		switch {
		case c.place != was: // Reset moved it meanwhile
			h.run.push(c)
		case epoch != was.epoch || err != nil: // the page may be of another epoch, and Reset has not come yet
			c.renewLocked(epoch)
			h.run.push(c)
		case h.takePageLocked(c, page, frames, f):
			h.joinLocked(c, page)
		default:
			c.state = stalled
		}
	}
	t.shard.mu.Unlock()
	h.flush(f)
}

// takePageLocked offers a page to c's sink and moves c past what was taken. It reports whether all of it was.
func (h *Hub) takePageLocked(c *Cursor, page streams.Page, frames [][]byte, f *flushing) bool {
	if c.newEpoch {
		if !h.tellGapLocked(c, Gap{NewEpoch: true}, f) {
			return false
		}
		c.newEpoch = false
	}
	for i, m := range page.Messages {
		if !h.tellLostLocked(c, page, m.Seq, f) || !f.offer(c, frames[i]) {
			return false
		}
		c.pos, c.seen = m.Seq, m.Seq
		h.delivered.Add(1)
	}
	if !h.tellLostLocked(c, page, page.Through+1, f) {
		return false
	}
	c.seen = max(c.seen, page.Through)
	return true
}

// tellLostLocked tells of what is lost between c's position and a sequence. The page names one range, in which there may be messages,
// and which may reach beyond it; what clients are told of holds none, as PROTOCOL.md has it.
func (h *Hub) tellLostLocked(c *Cursor, page streams.Page, before uint64, f *flushing) bool {
	from, to := max(page.LostFrom, c.seen+1), min(page.LostTo, before-1)
	if from > to {
		return true
	}
	if !h.tellGapLocked(c, Gap{From: from, To: to}, f) {
		return false
	}
	c.pos, c.seen = to, to
	return true
}

func (h *Hub) tellGapLocked(c *Cursor, g Gap, f *flushing) bool {
	g.Channel, g.Epoch = c.topic.name, c.epoch
	if !f.offer(c, h.opt.Gap(g)) {
		return false
	}
	h.gaps.Add(1)
	return true
}

// joinLocked puts c, which took the whole page, back on the live path if it stands at the head, or queues it again.
func (h *Hub) joinLocked(c *Cursor, page streams.Page) {
	t := c.topic
	passed := t.last > c.seen && t.epoch == c.epoch // before Reset nothing of a new epoch has passed
	if page.More || passed {
		h.run.push(c)
		return
	}
	c.state = live
	h.caughtUp.Add(1)
}
