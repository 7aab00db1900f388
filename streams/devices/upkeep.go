package devices

import (
	"context"
	"fmt"
	"time"
)

// keep looks after the bucket, and after records that would expire.
func (s *Store) keep(now time.Time) {
	if s.up && !s.ensuring && !now.Before(s.ensureAt) {
		s.ensureBucket()
	}
	if !now.Before(s.sweepAt) {
		s.sweepAt = now.Add(s.sweepEvery())
		for _, c := range s.cells {
			if c.dev != nil && !c.dirty && now.Sub(c.written) >= s.opts.Expiry/refreshPart {
				s.makeDirty(c, now)
			}
		}
	}
}

func (s *Store) sweepEvery() time.Duration { return s.opts.Expiry / refreshPart / 4 }

// ensureBucket looks whether the bucket is there, and makes it if not.
func (s *Store) ensureBucket() {
	s.ensuring = true
	s.work.Go(func() {
		ctx, cancel := context.WithTimeout(s.ctx, timeout)
		defer cancel()
		made, err := s.bucket.ensure(ctx)
		s.post(func() { s.onEnsured(made, err) })
	})
}

func (s *Store) onEnsured(made time.Time, err error) {
	now := time.Now()
	s.ensuring = false
	if err != nil {
		s.opts.Logger.Warn("the bucket of devices is out of reach", "error", err)
		s.ensureAt = now.Add(s.slower(now))
		if !s.ready {
			s.failUrgent(fmt.Errorf("%w: %w", ErrUnavailable, err))
		}
		return
	}
	s.ensureAt, s.ready = now.Add(checkEvery), true
	if made.Equal(s.made) {
		return
	}
	s.made = made
	s.count.remade.Add(1)
	s.opts.Logger.Warn("the bucket of devices was made anew; the devices that are held here are written again")
	for _, c := range s.cells {
		if c.has && !c.borrowed {
			c.rev, c.known = 0, true
			s.count.rewritten.Add(1)
			s.makeDirty(c, now)
		}
	}
}

// slower makes the store wait longer before it tries again by itself.
func (s *Store) slower(now time.Time) time.Duration {
	if !now.Before(s.pause) {
		s.backoff = min(max(2*s.backoff, minBackoff), maxBackoff)
		s.pause = now.Add(s.backoff)
	}
	return s.pause.Sub(now)
}

// onConnection is called when the connection breaks or stands again.
func (s *Store) onConnection(up bool) {
	s.post(func() {
		s.up, s.ready = up, false
		if up {
			s.backoff, s.pause, s.ensureAt = 0, time.Time{}, time.Time{}
		} else {
			s.failUrgent(away())
		}
	})
}

func away() error { return fmt.Errorf("%w: the connection to NATS is down", ErrUnavailable) }

// failUrgent answers all who wait and have nothing on its way.
func (s *Store) failUrgent(err error) {
	for n := s.urgent.len(); n > 0; n-- {
		c := s.urgent.pop()
		c.queued = false
		s.fail(c, err)
	}
}

// runTrims keeps the numbers of devices of users within their bound, one user at a time.
func (s *Store) runTrims() {
	for {
		select {
		case <-s.ctx.Done():
			return
		case user := <-s.trims:
			ctx, cancel := context.WithTimeout(s.ctx, timeout)
			n, err := s.bucket.trim(ctx, user, s.opts.PerUser, s.isHeld)
			cancel()
			s.count.evicted.Add(uint64(n))
			if err != nil && s.ctx.Err() == nil {
				s.count.failures.Add(1)
				s.opts.Logger.Debug("cannot count a user's devices; it is done with the next new one", "error", err)
			}
		}
	}
}

// trim lets a user's devices be counted. When very many wait for that it is left to the user's next new device.
func (s *Store) trim(user string) {
	select {
	case s.trims <- user:
	default:
	}
}

func (s *Store) isHeld(key string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cells[key] != nil
}
