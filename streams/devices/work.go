package devices

import (
	"errors"
	"fmt"
	"time"
)

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
