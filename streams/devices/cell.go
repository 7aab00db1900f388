package devices

import (
	"errors"
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

// advance begins the next read or write of a cell that has none on its way, if one is needed.
func (s *Store) advance(c *cell, behind bool) {
	switch {
	case c.take == nil && !c.dirty && len(c.waiters) == 0:
		s.rest(c)
	case !c.known:
		s.read(c, behind)
	default:
		s.write(c, behind)
	}
}

func (s *Store) begin(c *cell, behind bool) {
	c.busy = true
	s.inFlight++
	if behind {
		s.inBehind++
	}
}

func (s *Store) over(c *cell, behind bool) {
	c.busy = false
	s.inFlight--
	if behind {
		s.inBehind--
	}
}

func (s *Store) read(c *cell, behind bool) {
	s.begin(c, behind)
	s.bucket.get(c.key, c.tries > 0, func(e entry, err error) {
		s.post(func() {
			s.over(c, behind)
			s.onRead(c, e, err)
		})
	})
}

func (s *Store) onRead(c *cell, e entry, err error) {
	if err != nil {
		s.failed(c, err)
		return
	}
	s.count.reads.Add(1)
	var r record
	found := false
	if e.value != nil {
		if r, err = decode(e.value); err != nil {
			s.count.unreadable.Add(1)
			s.opts.Logger.Error("a record of a device cannot be read and will be replaced", "key", c.key, "revision", e.rev, "error", err)
		}
		found = err == nil
	}
	if found && (!c.has || r.mark.after(c.mark)) {
		s.lose(c)
		c.content, c.found, c.foreign, c.seen, c.mark, c.has, c.borrowed = r.positions, true, true, r.seen, r.mark, true, true
	} else if found && r.owner != c.mark.owner { // the bucket went back, and an older one wrote
		c.foreign = true
	} else if !found && c.take != nil && !c.has {
		c.content, c.found, c.has, c.borrowed = nil, false, true, true
	}
	c.rev, c.known = e.rev, true
	early := c.refused && c.rev == c.missed
	c.refused = false
	if early { // a server with replicas has a write of this record on its way, and refuses others until then
		s.later(c)
		return
	}
	s.rest(c)
}

// later looks at a cell again after a short while.
func (s *Store) later(c *cell) {
	c.busy = true // nothing else begins
	s.outside++
	time.AfterFunc(min(time.Duration(c.tries)*10*time.Millisecond, 200*time.Millisecond), func() {
		s.post(func() {
			s.outside--
			c.busy = false
			s.rest(c)
		})
	})
}

func (s *Store) write(c *cell, behind bool) {
	w := &write{mark: c.mark, take: c.take, dirty: c.dirty || len(c.waiters) > 0 || c.dev != nil, covered: c.waiters, behind: behind, rev: c.rev}
	now := time.Now()
	r := record{seen: now, positions: c.content}
	switch {
	case c.take != nil:
		w.mark = c.mark.next(c.take.owner, now)
	case c.dev != nil:
		c.dev.marked.Store(false)
		r.positions = c.dev.holder.Positions()
	}
	r.mark = w.mark
	c.waiters, c.dirty = nil, false
	value, err := r.encode()
	if err != nil {
		s.tooLarge(c, w, err)
		return
	}
	s.begin(c, behind)
	s.bucket.put(c.key, value, c.rev, func(rev uint64, err error) {
		s.post(func() {
			s.over(c, behind)
			s.onWritten(c, w, rev, err)
		})
	})
}

// tooLarge gives up what cannot be written: it is tried again with the next change.
func (s *Store) tooLarge(c *cell, w *write, err error) {
	s.count.failures.Add(1)
	s.opts.Logger.Error("a device cannot be stored", "key", c.key, "error", err)
	s.answerAll(w.covered, err)
	if t := c.take; t != nil {
		c.take = nil
		s.answer(&t.call, err)
	}
	s.rest(c)
}

func (s *Store) onWritten(c *cell, w *write, rev uint64, err error) {
	switch {
	case err == nil:
		s.count.writes.Add(1)
		s.backoff, s.pause = 0, time.Time{}
		s.stored(c, w, rev)
		return
	case errors.Is(err, ErrTooLarge):
		s.tooLarge(c, w, err)
		return
	}
	// What it would have stored is still to be stored, if it is still ours.
	if c.has {
		c.dirty = c.dirty || w.dirty
	} else {
		s.answerAll(w.covered, ErrTaken)
		w.covered = nil
	}
	if s.up && !errors.Is(err, errConflict) && !errors.Is(err, errNoBucket) {
		s.unanswered(c, w, err)
		return
	}
	c.waiters = append(w.covered, c.waiters...)
	if !errors.Is(err, errConflict) {
		s.failed(c, err)
		return
	}
	s.count.conflicts.Add(1)
	if c.borrowed {
		c.has = false
	}
	c.known, c.refused, c.missed = false, true, w.rev
	c.tries++
	if c.tries >= maxTries {
		c.tries = 1
		s.fail(c, fmt.Errorf("%w: others write the record all the time", ErrUnavailable))
		return
	}
	s.rest(c)
}

func (s *Store) stored(c *cell, w *write, rev uint64) {
	c.tries = 0
	if c.has {
		c.rev, c.known, c.mark, c.written = rev, true, w.mark, time.Now()
	}
	s.synced(w.covered)
	if c.foreign && c.has {
		c.foreign = false
		s.count.announced.Add(1)
		s.bucket.announce(c.key, c.mark)
	}
	if t := w.take; t != nil && t == c.take {
		s.took(c, t)
	}
	s.rest(c)
}

// synced answers calls whose write is stored, when it is synced as well.
func (s *Store) synced(ws []*call) {
	if len(ws) == 0 {
		return
	}
	if s.opts.Synced == nil {
		s.answerAll(ws, nil)
		return
	}
	s.outside++
	s.opts.Synced(func(err error) {
		s.post(func() {
			s.outside--
			if err != nil {
				err = fmt.Errorf("%w: stored, but not synced: %w", ErrUnavailable, err)
			}
			s.answerAll(ws, err)
		})
	})
}

// took makes the session of a Take the holder.
func (s *Store) took(c *cell, t *take) {
	was := Record{Found: c.found, Positions: c.content}
	if c.found {
		was.Seen = c.seen
	}
	d := &Device{store: s, cell: c, holder: t.holder}
	c.dev, c.take, c.content, c.borrowed = d, nil, nil, false
	s.count.takes.Add(1)
	s.count.held.Add(1)
	if !c.found {
		s.trim(t.user)
	}
	t.answered = true
	s.open--
	t.done(d, was, nil)
}

// failed is called when a read or write had no success for another reason than a conflict.
func (s *Store) failed(c *cell, err error) {
	s.count.failures.Add(1)
	if errors.Is(err, errNoBucket) && s.up {
		c.tries++
		if s.ready {
			s.ready, s.ensureAt = false, time.Time{}
		}
		if c.tries < maxTries {
			s.rest(c) // it is tried again when the bucket is there
			return
		}
		c.tries = 0
	}
	s.slower(time.Now())
	s.fail(c, wrapped(err))
}

// unanswered ends a write that had no success. Those who came after it get one of their own.
func (s *Store) unanswered(c *cell, w *write, err error) {
	s.count.failures.Add(1)
	s.slower(time.Now())
	s.answerAll(w.covered, wrapped(err))
	if t := c.take; t != nil && t == w.take {
		c.take = nil
		s.answer(&t.call, wrapped(err))
	}
	s.rest(c)
}

func wrapped(err error) error {
	if errors.Is(err, ErrUnavailable) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// fail answers all who wait for a cell.
func (s *Store) fail(c *cell, err error) {
	ws := c.waiters
	c.waiters = nil
	s.answerAll(ws, err)
	if len(ws) > 0 && c.has {
		c.dirty = true
	}
	if t := c.take; t != nil {
		c.take = nil
		s.answer(&t.call, err)
	}
	s.rest(c)
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
