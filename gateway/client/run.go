package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// run makes connections until the client ends. It alone changes the state.
func (c *Client) run() {
	for {
		c.setState(Connecting, nil)
		cn, reply, err := c.open(c.ctx)
		if err == nil {
			err = c.use(cn, reply)
		}
		if c.ctx.Err() != nil {
			c.end(context.Cause(c.ctx))
			return
		}
		wait, fatal := c.next(err)
		if fatal {
			c.log.Warn("the connection has ended for good", "error", err)
			c.end(err)
			return
		}
		c.log.Info("not connected", "error", err, "retry_in", wait)
		c.setState(BackingOff, err)
		if !c.sleep(wait) {
			c.end(context.Cause(c.ctx))
			return
		}
	}
}

// use runs one connection from connect's reply to its end.
func (c *Client) use(cn *conn, reply *wire.ConnectReply) error {
	cn.ping, cn.maxMessage = seconds(reply.Ping), reply.MaxMessage
	c.refused = 0
	if reply.Expires > 0 {
		c.expires = time.UnixMilli(reply.Expires)
	}
	began := time.Now()
	if d := reply.Durable; d != nil {
		cn.durable, cn.maxUnacked = true, d.MaxUnacked
	}
	c.attach(cn, reply)
	c.count.connects.Add(1)
	if c.o.OnSession != nil {
		c.o.OnSession(c.Session())
	}
	c.setState(Connected, nil)
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
	c.log.Info("connected", "session", reply.Session, "user", reply.User)
	err := cn.serve(c.ctx)
	if time.Since(began) >= c.o.StableAfter {
		c.backoff.reset()
	}
	c.detach(cn, err)
	// The server said when to come back, and closed before that.
	if at, _ := cn.moving(); !at.IsZero() && !planned(err) {
		return &movedError{err, max(0, time.Until(at))}
	}
	return err
}

// planned reports whether the client has ended the connection itself, to make another one.
func planned(err error) bool {
	return errors.Is(err, errMoved) || errors.Is(err, errNewToken) || errors.Is(err, errResend)
}

// movedError is the end of a connection whose server had asked to come back later.
type movedError struct {
	error
	wait time.Duration
}

func (e *movedError) Unwrap() error { return e.error }

// attach makes cn the client's connection: every subscription goes on or is asked for again, then what was in flight is sent again. Unsubscribes
// come first, so that they do not end what was subscribed to after them.
func (c *Client) attach(cn *conn, reply *wire.ConnectReply) {
	select { // a plan of the connection before
	case <-c.moved:
	default:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = cn
	// The last tenth is left out: a retry sent in time must also arrive in time.
	c.window = seconds(reply.RetryWindow) * 9 / 10
	c.session = sessionOf(reply)
	var first, waiting []*request
	for _, r := range c.out {
		if r.op == wire.OpUnsubscribe {
			first = append(first, r)
		} else {
			waiting = append(waiting, r)
		}
	}
	c.out = slices.Clone(first)
	c.restoreLocked(c.session.Restored, first)
	c.out = append(c.out, waiting...)
	cn.wakeWriter()
}

// detach is told that cn has ended with cause.
func (c *Client) detach(_ *conn, cause error) {
	c.mu.Lock()
	c.lastErr = cause
	for _, s := range c.subs {
		s.lostLocked()
	}
	over := c.detachLocked(cause)
	why := make([]error, len(over))
	for i, r := range over {
		why[i] = r.failure(fmt.Errorf("%w: %w", ErrNotConnected, cause))
	}
	c.mu.Unlock()
	for i, r := range over {
		r.done(nil, why[i])
	}
}

// next decides what follows the end of a connection, or of an attempt to make one: a wait, or the end of the client.
func (c *Client) next(err error) (wait time.Duration, fatal bool) {
	everConnected := false
	select {
	case <-c.ready:
		everConnected = true
	default:
		if c.o.FailFast {
			return 0, true
		}
	}
	var moved *movedError
	var refused *wire.Error
	var status ws.StatusError
	var token *tokenError
	switch {
	case errors.Is(err, errNewToken):
		c.fresh = true
		return c.plannedWait(), false
	case planned(err):
		return c.plannedWait(), false
	case errors.As(err, &refused): // also a CloseError
		switch refused.Code.Comeback() {
		case wire.Never:
			return 0, true
		case wire.WithToken:
			if c.o.Token == nil || c.refused == refused.Code {
				return 0, true
			}
			c.refused, c.fresh = refused.Code, true
		}
		wait = seconds(refused.RetryAfter)
	case errors.As(err, &token) && !everConnected:
		return 0, true
	case errors.As(err, &status) && !everConnected:
		// A server that never was there is a wrong URL or a refused origin; one that vanished is perhaps being replaced.
		if status >= 400 && status < 500 && status != 408 && status != 425 && status != 429 {
			return 0, true
		}
	}
	if errors.As(err, &moved) {
		wait = max(wait, moved.wait)
	}
	var later *refusedError
	if errors.As(err, &later) {
		wait = max(wait, later.wait)
	}
	return wait + c.backoff.next(), false
}

// plannedWait is the wait before a connection that the server has asked for: none, unless it asks again and again.
func (c *Client) plannedWait() time.Duration {
	if c.backoff.attempt == 0 {
		c.backoff.attempt++
		return 0
	}
	return c.backoff.next()
}

// sleep waits. It returns false if the client ends meanwhile.
func (c *Client) sleep(d time.Duration) bool {
	if d <= 0 {
		return c.ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.ctx.Done():
		return false
	}
}

// setState makes a transition and tells of it. It is run's.
func (c *Client) setState(s State, why error) {
	c.mu.Lock()
	c.state = s
	if why != nil {
		c.lastErr = why
	}
	c.mu.Unlock()
	if c.o.OnState != nil {
		c.o.OnState(s)
	}
}
