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
	after, active, newEpoch := c.pos, c.state == queued, c.newEpoch
	t.shard.mu.Unlock()
	if !active {
		return
	}
	page, err := t.log.Page(h.ctx, streams.PageRequest{
		Channel: t.name, After: after, Limit: h.opt.PageMessages, MaxBytes: h.opt.PageBytes,
	})
	if err != nil && !errors.Is(err, streams.ErrWrongEpoch) {
		if h.ctx.Err() == nil {
			h.opt.Logger.Warn("cannot read the log; a subscriber waits", "channel", t.name, "after", after, "error", err)
			h.run.fail(c)
		}
		return
	}
	frames := make([][]byte, len(page.Messages))
	for i, m := range page.Messages {
		frames[i] = h.opt.Message(m)
	}
	f := flushings.Get().(*flushing)
	t.shard.mu.Lock()
	if c.state == queued {
		switch {
		case c.pos != after || c.newEpoch != newEpoch: // the stream was made anew meanwhile: this page is of the old one
			h.run.push(c)
		case err != nil:
			c.pos, c.newEpoch = 0, true
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
	gap := Gap{Channel: c.topic.name, Epoch: c.topic.log.Epoch(), From: page.LostFrom, To: page.LostTo, NewEpoch: c.newEpoch}
	// To is also where the position moves; a new epoch's cursor begins at its front, whatever that is.
	if c.newEpoch {
		gap.From, gap.To = 0, 0
	}
	if c.newEpoch || page.LostTo > c.pos {
		if !f.offer(c, h.opt.Gap(gap)) {
			return false
		}
		h.gaps.Add(1)
		c.newEpoch = false
		if len(frames) == 0 || page.LostTo < page.Messages[0].Seq {
			c.pos = max(c.pos, page.LostTo)
		}
	}
	for i, m := range page.Messages {
		if !f.offer(c, frames[i]) {
			return false
		}
		c.pos = m.Seq
		h.delivered.Add(1)
	}
	c.pos = max(c.pos, page.LostTo, page.Through)
	return true
}

// joinLocked puts c, which took the whole page, back on the live path if it stands at the head, or queues it again.
func (h *Hub) joinLocked(c *Cursor, page streams.Page) {
	if page.More || c.topic.last > c.pos {
		h.run.push(c)
		return
	}
	c.state = live
	h.caughtUp.Add(1)
}
