package client

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

const (
	renewPart  = 5               // a token is renewed when this part of its time is left …
	renewAhead = 5 * time.Minute // … but no longer before its end
	renewAgain = time.Second     // least time between two attempts
)

// renewer gives a connection a new token before the old one expires. Its fields are serve's.
type renewer struct {
	cn    *conn
	ctx   context.Context
	stop  context.CancelFunc
	work  sync.WaitGroup
	timer *time.Timer // when to renew
	busy  bool
	done  chan renewal // from the attempt under way
}

// renewal is how an attempt ended.
type renewal struct {
	token   string
	expires int64 // Unix milliseconds; 0: never
	err     error
}

func newRenewer(ctx context.Context, cn *conn) *renewer {
	r := &renewer{cn: cn, timer: time.NewTimer(time.Hour), done: make(chan renewal, 1)}
	r.ctx, r.stop = context.WithCancel(ctx)
	r.plan()
	return r
}

// close ends the attempt under way and waits for it.
func (r *renewer) close() {
	r.stop()
	r.timer.Stop()
	r.work.Wait()
}

// plan sets the time of the next renewal.
func (r *renewer) plan() {
	r.timer.Stop()
	if expires := r.cn.c.expires; !expires.IsZero() {
		left := time.Until(expires)
		ahead := min(left/renewPart, renewAhead)
		r.timer.Reset(max(left-ahead-rand.N(max(ahead/4, 1)), renewAgain)) // not all clients at the same time
	}
}

// begin renews, unless that is under way or there is nobody to ask.
func (r *renewer) begin() {
	if r.busy || r.cn.c.o.Token == nil {
		return
	}
	r.busy = true
	r.work.Go(func() { r.done <- r.once() })
}

// once asks for a token and sends it. Until the server has taken it, or refused it, the next connection may begin with it.
func (r *renewer) once() renewal {
	c := r.cn.c
	token, err := c.o.Token(r.ctx)
	if err != nil {
		return renewal{err: &tokenError{err}}
	}
	c.setSpare(token)
	n := renewal{token: token}
	encode := func(id uint64) []byte { return wire.AppendRenew(nil, id, &wire.Renew{Token: token}) }
	n.err = c.do(r.ctx, &request{op: wire.OpRenew}, encode, func(in *wire.Incoming) { n.expires = in.Renew.Expires })
	var refused *wire.Error
	if n.err == nil || errors.As(n.err, &refused) && refused.Code.Comeback() == wire.WithToken {
		c.setSpare("")
	}
	return n
}

// ended goes on where an attempt has ended.
func (r *renewer) ended(n renewal) {
	c := r.cn.c
	r.busy = false
	var refused *wire.Error
	switch {
	case n.err == nil:
		same := n.token == c.token // then another renewal would bring no more
		c.token, c.fresh, c.expires = n.token, false, time.Time{}
		if n.expires > 0 {
			c.expires = time.UnixMilli(n.expires)
		}
		r.cn.stay()
		if !same {
			r.plan()
		}
		c.log.Info("token renewed")
	case errors.As(n.err, &refused) && refused.Code == wire.PermissionDenied: // it is another user's
		r.cn.move(0, errNewToken)
	case errors.As(n.err, &refused) && refused.Code.Comeback() != wire.Later:
		// With a new token the connection is made anew; a server that cannot renew says when the token expires.
	default:
		wait := max(time.Until(c.expires)/3, renewAgain)
		c.log.Warn("the token is not renewed", "error", n.err, "retry_in", wait)
		r.timer.Reset(wait)
	}
}

// stay gives up a plan to leave for a new token.
func (cn *conn) stay() {
	cn.c.mu.Lock()
	defer cn.c.mu.Unlock()
	if errors.Is(cn.moveWhy, errNewToken) {
		cn.moveAt, cn.moveWhy = time.Time{}, nil
	}
}

// setSpare keeps a token for the next connection; empty: none.
func (c *Client) setSpare(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.spare = token
}

// takeSpare returns the token that was kept, and forgets it.
func (c *Client) takeSpare() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := c.spare
	c.spare = ""
	return token
}
