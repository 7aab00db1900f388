package client

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// request is one command from the call that made it until its end. While it is in Client.pending it is alive; whoever
// removes it from there, under mu, calls done afterwards, without mu. So done is called exactly once. What done is given is
// valid until it returns.
type request struct {
	// Fixed once it is pending.
	id       uint64
	op       wire.Op
	qos      wire.QoS
	frame    []byte        // the encoded command
	channel  string        // of an unsubscribe
	keep     bool          // survives its connection: sent again on the next one
	retry    bool          // sent again after an error that says later
	slot     bool          // holds one of Client.slots
	patience time.Duration // how long the server itself may wait before it answers
	silent   bool          // no reply is wanted: over once it is written
	done     func(*wire.Incoming, error)

	// Guarded by Client.mu.
	stage    stage
	attempts int
	tokens   int       // refusals that asked for a new token
	first    time.Time // of the first attempt; zero: never sent
	sent     time.Time // of the last attempt
	due      time.Time // when a parked request is queued again
	unsure   bool      // an attempt ended without a definite answer
	last     error     // how the last attempt ended
}

type stage uint8

const (
	queued   stage = iota // in Client.out
	inFlight              // written, or being written
	parked                // refused for now; keepTime queues it again
)

func byID(a, b *request) int { return cmp.Compare(a.id, b.id) }

// failure turns the reason why a request ended without an answer into what its caller is told.
func (r *request) failure(cause error) error {
	matters := r.op == wire.OpPublish && r.qos != wire.AtMostOnce || r.op == wire.OpCommand || r.op == wire.OpCall
	if matters && (r.unsure || r.stage == inFlight) {
		return unknown(cause)
	}
	return cause
}

// submit makes r pending and queues it. encode is given the id to put in. It fails only if r was not accepted.
func (c *Client) submit(r *request, encode func(id uint64) []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.submitLocked(r, encode)
}

// submitLocked is submit; the caller must hold mu.
func (c *Client) submitLocked(r *request, encode func(id uint64) []byte) error {
	if c.err != nil {
		return c.err
	}
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	if c.conn == nil && !r.keep {
		return c.notConnectedLocked()
	}
	c.nextID++
	r.id = c.nextID
	if r.silent {
		r.frame = encode(0)
	} else {
		r.frame = encode(r.id)
	}
	c.pending[r.id] = r
	c.out = append(c.out, r)
	c.wakeWriterLocked()
	return nil
}

func (c *Client) notConnectedLocked() error {
	if c.lastErr != nil {
		return errors.Join(ErrNotConnected, c.lastErr)
	}
	return ErrNotConnected
}

func (c *Client) wakeWriterLocked() {
	if c.conn != nil {
		c.conn.wakeWriter()
	}
}

// removeLocked takes r out of pending and frees its slot. It reports whether r was alive: then the caller owes a call of done.
func (c *Client) removeLocked(r *request) bool {
	if c.pending[r.id] != r {
		return false
	}
	delete(c.pending, r.id)
	if r.slot {
		<-c.slots // never blocks: r put an element there
	}
	if r.stage == inFlight && c.conn != nil {
		c.conn.answeredLocked()
	}
	return true
}

// finish ends r with err, if it is still alive.
func (c *Client) finish(r *request, err error) {
	c.mu.Lock()
	alive := c.removeLocked(r)
	if alive {
		err = r.failure(err)
	}
	c.mu.Unlock()
	if alive {
		r.done(nil, err)
	}
}

// await sets r.done so that the end of r comes through the channel. take, if not nil, copies what is wanted of the reply.
func (r *request) await(take func(*wire.Incoming)) <-chan error {
	ended := make(chan error, 1)
	r.done = func(in *wire.Incoming, err error) {
		if err == nil && take != nil {
			take(in)
		}
		ended <- err
	}
	return ended
}

// wait waits for the end of r. If ctx ends first, r is given up.
func (c *Client) wait(ctx context.Context, r *request, ended <-chan error) error {
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		c.finish(r, context.Cause(ctx))
		return <-ended // by finish, or by whoever was faster
	}
}

// do submits r and waits for its end.
func (c *Client) do(ctx context.Context, r *request, encode func(id uint64) []byte, take func(*wire.Incoming)) error {
	ended := r.await(take)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if r.slot {
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-c.ctx.Done():
			return context.Cause(c.ctx)
		}
	}
	if err := c.submit(r, encode); err != nil {
		if r.slot {
			<-c.slots
		}
		return err
	}
	return c.wait(ctx, r, ended)
}

// answered takes a reply from the reader.
func (c *Client) answered(in *wire.Incoming) {
	c.mu.Lock()
	r := c.pending[in.ID]
	if r == nil { // given up, or answered twice
		c.mu.Unlock()
		return
	}
	var err error
	if in.Kind == wire.KindError {
		refusal := in.Error
		err = &refusal
		if !definite(refusal.Code) {
			r.unsure = true
		}
		if c.tryAgainLocked(r, &refusal) {
			c.mu.Unlock()
			c.ring()
			return
		}
		// It was answered: what is still unsure is said by unsure, not by the stage.
		if r.stage == inFlight && c.conn != nil {
			c.conn.answeredLocked()
		}
		r.stage = parked
		err = r.failure(err)
	}
	c.removeLocked(r)
	c.mu.Unlock()
	if err != nil {
		r.done(nil, err)
		return
	}
	r.done(in, nil)
}

// definite reports whether a refusal says that nothing was done. Of an error that says later, only these do.
func definite(code wire.Code) bool {
	switch code {
	case wire.Unavailable, wire.StoreFull, wire.RateLimited, wire.NoService:
		return true
	}
	return code.Comeback() != wire.Later
}

// tryAgainLocked parks r if the refusal and r allow another attempt.
func (c *Client) tryAgainLocked(r *request, e *wire.Error) bool {
	var wait time.Duration
	switch e.Code.Comeback() {
	case wire.Later:
		if !r.retry {
			return false
		}
		wait = retryWait(r.attempts-1, seconds(e.RetryAfter))
	case wire.WithToken:
		if c.conn != nil {
			c.conn.moveLocked(0, errNewToken)
		}
		r.tokens++
		if !r.keep || r.tokens > 1 || c.o.Token == nil {
			return false
		}
		wait = time.Second // the next connection comes before that, or not: then it is refused once more
	default:
		return false
	}
	if r.stage == inFlight && c.conn != nil {
		c.conn.answeredLocked()
	}
	r.stage, r.last, r.due = parked, e, time.Now().Add(wait)
	return true
}

// delayLocked holds a request back that was just submitted.
func (c *Client) delayLocked(r *request, wait time.Duration) {
	r.stage, r.due = parked, time.Now().Add(wait)
	c.ring()
}

// requeueLocked queues a request that was sent before.
func (c *Client) requeueLocked(r *request) {
	r.stage = queued
	c.out = append(c.out, r)
	c.count.retries.Add(1)
}

// windowOverLocked reports whether sending r again could store it twice.
func (c *Client) windowOverLocked(r *request, now time.Time) bool {
	stored := r.op == wire.OpPublish || r.op == wire.OpCommand
	return stored && !r.first.IsZero() && now.Sub(r.first) >= c.window
}

// detachLocked is told that the connection is gone: what it had in flight is queued again if it may be.
// It returns the requests that ended; the caller owes their done.
func (c *Client) detachLocked(cause error) (over []*request) {
	c.conn = nil
	now := time.Now()
	c.out = c.out[:0]
	for _, r := range c.pending {
		if r.stage == inFlight {
			r.unsure, r.last = true, cause
		}
		if !r.keep || r.stage == inFlight && c.windowOverLocked(r, now) {
			over = append(over, r)
			continue
		}
		if r.stage != queued {
			c.count.retries.Add(1)
		}
		r.stage = queued
		c.out = append(c.out, r)
	}
	slices.SortFunc(c.out, byID)
	slices.SortFunc(over, byID)
	for _, r := range over {
		c.removeLocked(r)
	}
	return over
}

// ring makes keepTime look again.
func (c *Client) ring() {
	select {
	case c.alarm <- struct{}{}:
	default:
	}
}

// keepTime queues parked requests when they are due, and ends those whose time is over.
func (c *Client) keepTime() {
	const sweep = time.Second
	timer := time.NewTimer(sweep)
	defer timer.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-c.alarm:
		case <-timer.C:
		}
		timer.Reset(c.tick(time.Now(), sweep))
	}
}

// tick does what is due at now and returns the time until it should be called again, at most longest.
func (c *Client) tick(now time.Time, longest time.Duration) time.Duration {
	var over []*request
	var why []error
	c.mu.Lock()
	next := longest
	woken := false
	for _, r := range c.pending {
		late := r.stage == inFlight && now.Sub(r.sent) >= c.o.ReplyTimeout+r.patience
		if late {
			r.unsure, r.last = true, errNoReply
		}
		switch {
		case r.stage != inFlight && c.windowOverLocked(r, now), late && (!r.keep || c.windowOverLocked(r, now)):
			over = append(over, r)
			cause := cmp.Or(r.last, errNoReply)
			why = append(why, r.failure(cause))
		case late, r.stage == parked && !now.Before(r.due):
			if r.stage == inFlight && c.conn != nil {
				c.conn.answeredLocked()
			}
			c.requeueLocked(r)
			woken = true
		case r.stage == parked:
			next = min(next, r.due.Sub(now))
		}
	}
	for _, r := range over {
		c.removeLocked(r)
	}
	if woken {
		c.wakeWriterLocked()
	}
	next = c.ackTickLocked(now, next)
	c.mu.Unlock()
	for i, r := range over {
		r.done(nil, why[i])
	}
	return next
}
