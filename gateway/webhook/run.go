package webhook

import (
	"context"
	"errors"
	"hash/maphash"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"
)

// laneQueue is how many events wait for one lane; past it Send waits.
const laneQueue = 64

// Run is a time in which a Sender sends, on lanes: the events of one key take the same lane, one at a time.
type Run struct {
	sender *Sender
	ctx    context.Context
	seed   maphash.Seed
	lanes  []chan Event
	work   sync.WaitGroup
}

// Start begins to send, until ctx ends. What has not been done then is forgotten, without its Done being called.
func (s *Sender) Start(ctx context.Context) *Run {
	r := &Run{sender: s, ctx: ctx, seed: maphash.MakeSeed()}
	for range s.endpoint.Parallel {
		lane := make(chan Event, laneQueue)
		r.lanes = append(r.lanes, lane)
		r.work.Go(func() { r.drive(lane) })
	}
	return r
}

// Send hands over an event. It waits while the event's lane is full.
func (r *Run) Send(e Event) {
	select {
	case r.lanes[maphash.String(r.seed, e.Key)%uint64(len(r.lanes))] <- e:
	case <-r.ctx.Done():
	}
}

// Wait waits until nothing runs any more, after ctx has ended.
func (r *Run) Wait() { r.work.Wait() }

func (r *Run) drive(lane <-chan Event) {
	for {
		select {
		case e := <-lane:
			if !r.sender.deliver(r.ctx, e) {
				return
			}
			e.Done()
		case <-r.ctx.Done():
			return
		}
	}
}

// deliver sends an event until the endpoint takes it, or makes it a dead letter. It reports false if ctx ended before.
func (s *Sender) deliver(ctx context.Context, e Event) bool {
	began, delivered := time.Now(), s.delivered.Load()
	refusals := 0
	for attempt := 1; ; attempt++ {
		err := s.post(ctx, e)
		if err == nil {
			s.delivered.Add(1)
			s.works(nil)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.failed.Add(1)
		s.works(err)
		others := s.delivered.Load()
		if !away(err) || others != delivered { // an endpoint that has taken others meanwhile is not away
			refusals++
		}
		delivered = others
		var r *refusal
		errors.As(err, &r)
		gone := r != nil && r.status == http.StatusGone
		if gone || refusals >= s.endpoint.MaxAttempts || time.Since(began) >= Patience {
			return s.bury(ctx, Letter{Endpoint: s.endpoint.Name, Event: e, Attempts: attempt, Reason: err.Error()})
		}
		wait := s.pause(attempt)
		if r != nil {
			wait = max(wait, r.retryAfter)
		}
		if !sleep(ctx, wait) {
			return false
		}
	}
}

// works logs when an endpoint begins to fail, and when it works again.
func (s *Sender) works(err error) {
	switch failed := err != nil; {
	case s.failing.Swap(failed) == failed:
	case failed:
		s.log.Warn("the endpoint fails; what it is to be told waits", "error", err)
	default:
		s.log.Info("the endpoint works")
	}
}

// bury stores a dead letter.
func (s *Sender) bury(ctx context.Context, l Letter) bool {
	for attempt := 1; ; attempt++ {
		err := s.dead(ctx, l)
		if err == nil {
			s.died.Add(1)
			s.log.Warn("an event could not be delivered: it is a dead letter now", "id", l.Event.ID, "attempts", l.Attempts, "reason", l.Reason)
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		s.log.Warn("a dead letter cannot be stored; trying again", "id", l.Event.ID, "error", err)
		if !sleep(ctx, s.pause(attempt)) {
			return false
		}
	}
}

// The pause after a failure, before jitter.
const (
	firstPause = time.Second
	lastPause  = time.Minute
)

// backoff returns the pause after the attempt: it doubles, up to lastPause, and chance takes up to half of it.
func backoff(attempt int) time.Duration {
	pause := lastPause
	if attempt < 7 { // the seventh would be longer than a minute
		pause = firstPause << (attempt - 1)
	}
	return pause - time.Duration(rand.Int64N(int64(pause)/2))
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
