package devices

import (
	"fmt"
	"maps"
	"sync/atomic"
	"time"
)

// cell is what this process knows of one record: of a device that is held here, that is being taken, or whose last write is not finished.
// All of it is owned by Store.run.
type cell struct {
	key  string
	dev  *Device // who holds it; nil: nobody here, or not yet
	take *take   // who is about to; then dev is nil

	mark  mark   // of the record that content is of, or that dev has written
	rev   uint64 // the revision that the next write expects
	known bool   // rev is one; otherwise the record must be read
	// has says that this process's content is at least as new as the record of mark: dev's positions, or content if there is no dev.
	has      bool
	content  []Position
	borrowed bool      // content is only what was read for a Take: another write of it means that it must be read again
	found    bool      // there was a record when dev or take came
	foreign  bool      // another gateway may have a holder, and is told when the next write is done
	seen     time.Time // as it said

	busy    bool // a read or write is on its way
	queued  bool // it is in Store.urgent
	late    bool // it is in Store.dirty
	dirty   bool // what this process has is not in the record
	tries   int  // what went wrong since the last success
	refused bool // the last write met another revision than missed
	missed  uint64
	written time.Time
	waiters []*call // whom the next write answers
}

// take is one Take that has no answer.
type take struct {
	call
	user, owner string
	holder      Holder
	done        func(*Device, Record, error)
}

// Device is a device that a session holds. Its methods may be called from anywhere, the callbacks of the store included.
type Device struct {
	store  *Store
	cell   *cell
	holder Holder
	marked atomic.Bool // Changed was called since the positions were asked for
	taken  bool        // owned by run
}

// write is one write that is on its way.
type write struct {
	mark    mark
	take    *take
	dirty   bool    // it brings what was not in the record
	covered []*call // who gets its answer
	behind  bool
	rev     uint64
}

func (s *Store) onTake(key string, t *take) {
	t.call.done = func(err error) { t.done(nil, Record{}, err) }
	if s.closing {
		t.call.done(ErrClosed)
		return
	}
	if !s.up {
		t.call.done(away())
		return
	}
	if !s.wait(&t.call) {
		return
	}
	c := s.cells[key]
	if c == nil {
		c = &cell{key: key}
		s.add(c)
	}
	t.cell = c
	if old := c.take; old != nil {
		c.take = nil
		s.answer(&old.call, ErrTaken)
	}
	if old := c.dev; old != nil {
		c.content, c.found, c.seen = old.holder.Positions(), true, time.Now()
		c.dirty = c.dirty || old.marked.Load()
		s.count.takenHere.Add(1)
		s.end(c)
	}
	c.take, c.tries = t, 0
	s.schedule(c)
}

// end tells the holder of a cell that it is one no more.
func (s *Store) end(c *cell) {
	d := c.dev
	c.dev, d.taken = nil, true
	s.count.held.Add(-1)
	ws := c.waiters
	c.waiters = nil
	s.answerAll(ws, ErrTaken)
	d.holder.TakenOver()
}

// lose lets go of everything that this process has: a later record is in the bucket.
func (s *Store) lose(c *cell) {
	ws := c.waiters
	c.waiters, c.content, c.has, c.dirty, c.known, c.mark, c.found, c.borrowed = nil, nil, false, false, false, mark{}, false, false
	s.answerAll(ws, ErrTaken)
	if c.dev != nil {
		s.count.takenOver.Add(1)
		s.end(c)
	}
}

// onTakenMessage is called when another gateway says that it has taken a device.
func (s *Store) onTakenMessage(key string, m mark) {
	if !s.isHeld(key) {
		return
	}
	s.post(func() {
		c := s.cells[key]
		if c == nil || c.take != nil || !c.has || !m.after(c.mark) {
			return
		}
		s.lose(c)
		s.rest(c)
	})
}

func (s *Store) onChanged(d *Device) {
	if c := d.cell; c.dev == d {
		s.makeDirty(c, time.Now().Add(s.opts.Delay))
	}
}

func (s *Store) onStore(d *Device, w *call) {
	c := d.cell
	switch {
	case c.dev != d && d.taken:
		w.done(ErrTaken)
	case c.dev != d || s.closing:
		w.done(ErrClosed)
	case !s.up:
		s.makeDirty(c, time.Now())
		w.done(away())
	case len(c.waiters) >= maxWaiters:
		w.done(fmt.Errorf("%w: %d calls wait for the device", ErrUnavailable, maxWaiters))
	case s.wait(w):
		for len(c.waiters) > 0 && c.waiters[0].answered {
			c.waiters = c.waiters[1:]
		}
		c.waiters = append(c.waiters, w)
		s.schedule(c)
	}
}

func (s *Store) onRelease(d *Device) {
	c := d.cell
	if c.dev != d {
		return
	}
	now := time.Now()
	c.content, c.found, c.seen = d.holder.Positions(), true, now
	c.dev = nil
	s.count.held.Add(-1)
	if d.marked.Load() || len(c.waiters) > 0 || now.Sub(c.written) > seenWithin {
		c.dirty = true
	}
	if c.dirty && s.up { // nothing more will change: there is nothing to wait for
		s.schedule(c)
		return
	}
	s.rest(c)
}

// makeDirty lets a cell be written behind, about when it is due.
func (s *Store) makeDirty(c *cell, due time.Time) {
	c.dirty = true
	if !c.late && !c.queued && !c.busy {
		c.late = true
		s.dirty.push(late{c, due})
	}
}

// schedule lets a cell be looked at as soon as possible.
func (s *Store) schedule(c *cell) {
	if !c.busy && !c.queued {
		c.queued = true
		s.urgent.push(c)
	}
}

// rest decides what becomes of a cell that has nothing on its way.
func (s *Store) rest(c *cell) {
	switch {
	case c.busy || c.queued:
	case c.take != nil || len(c.waiters) > 0:
		s.schedule(c)
	case c.dirty && c.dev == nil:
		s.makeDirty(c, time.Now())
	case c.dirty:
		s.makeDirty(c, time.Now().Add(s.opts.Delay))
	case c.dev == nil:
		s.drop(c)
	}
}

func (s *Store) add(c *cell) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cells[c.key] = c
	s.most = max(s.most, len(s.cells))
}

// drop forgets a cell, and once most are forgotten the room that they had.
func (s *Store) drop(c *cell) {
	if s.cells[c.key] != c {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.cells, c.key)
	if s.most > 1024 && len(s.cells) < s.most/4 {
		left := make(map[string]*cell, 2*len(s.cells))
		maps.Copy(left, s.cells)
		s.cells, s.most = left, len(left)
	}
}
