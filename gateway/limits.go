package gateway

import (
	"context"
	"log/slog"
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/gateway/limit"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/cluster"
)

// limits counts what clients ask for against the rates of Limits.
type limits struct {
	commands  limit.Rate
	users     *limit.Users     // nil: no limit
	addresses *limit.Addresses // nil: no limit

	refusedConnects, refusedCommands, refusedMessages atomic.Uint64

	stop    context.CancelFunc
	sharing sync.WaitGroup
}

var _ session.Limiter = (*limits)(nil)

func newLimits(l *Limits) *limits {
	all := &limits{commands: l.Commands, stop: func() {}}
	if l.UserMessages.On() {
		all.users = limit.NewUsers(l.UserMessages)
	}
	if l.Connects.On() {
		all.addresses = limit.NewAddresses(l.Connects)
	}
	return all
}

// usageOp is what gateways tell each other of users under.
const usageOp = "usage"

// share tells the other gateways what users use here, and heeds what they tell, until close.
func (l *limits) share(c *cluster.Cluster, log *slog.Logger) {
	if l.users == nil {
		return
	}
	c.Handle(usageOp, func(body []byte) []byte {
		if err := l.users.Shared(c.ID(), body, time.Now()); err != nil {
			log.Warn("what another gateway tells of users", "error", err)
		}
		return nil
	})
	var ctx context.Context
	ctx, l.stop = context.WithCancel(context.Background())
	l.sharing.Go(func() {
		l.users.Share(ctx, c.ID(), func() int { return len(c.Nodes()) }, func(body []byte) { c.Tell(usageOp, body) })
	})
}

func (l *limits) close() {
	l.stop()
	l.sharing.Wait()
}

// limiter is session.Options.Limiter.
func (l *limits) limiter() session.Limiter {
	if !l.commands.On() && l.users == nil && l.addresses == nil {
		return nil
	}
	return l
}

// Command implements session.Limiter.
func (l *limits) Command(c session.Conn, user string, op wire.Op) (refusal *wire.Error, over bool) {
	if l.commands.On() {
		wait, over := c.(member).base().take(l.commands)
		if wait > 0 {
			l.refusedCommands.Add(1)
			return rateLimited("this connection sends too many commands", wait), over
		}
	}
	if op == wire.OpPublish || op == wire.OpCommand || op == wire.OpCall {
		return l.message(user), false
	}
	return nil, false
}

// message counts a message of a user's.
func (l *limits) message(user string) *wire.Error {
	if l.users == nil {
		return nil
	}
	if wait := l.users.Take(user, time.Now()); wait > 0 {
		l.refusedMessages.Add(1)
		return rateLimited("this user sends too many messages", wait)
	}
	return nil
}

// Distrust implements session.Limiter.
func (l *limits) Distrust(c session.Conn) {
	if l.addresses != nil {
		l.addresses.Distrust(c.(member).base().conn.RemoteAddr(), time.Now())
	}
}

// connect is transport.Options.Connect.
func (l *limits) connect() func(netip.Addr) time.Duration {
	if l.addresses == nil {
		return nil
	}
	return func(addr netip.Addr) time.Duration {
		wait := l.addresses.Take(addr, time.Now())
		if wait > 0 {
			l.refusedConnects.Add(1)
		}
		return wait
	}
}

// refused counts by what was refused.
func (l *limits) refused() map[string]uint64 {
	return map[string]uint64{
		"connects": l.refusedConnects.Load(), "commands": l.refusedCommands.Load(), "messages": l.refusedMessages.Load(),
	}
}

func rateLimited(why string, wait time.Duration) *wire.Error {
	return wire.RateLimited.With(why).After(math.Ceil(wait.Seconds()*1000) / 1000)
}

// take counts a command of the client's.
func (cl *client) take(r limit.Rate) (wait time.Duration, over bool) {
	extra := cl.extra()
	if extra == gone {
		return 0, false
	}
	c := extra.commands.Load()
	if c == nil {
		c = limit.NewCommands(r)
		extra.commands.Store(c)
	}
	return c.Take(time.Now())
}

// forget drops the count of a client that has been quiet.
func (r *rare) forget() {
	if c := r.commands.Load(); c != nil && c.Idle(time.Now()) {
		r.commands.CompareAndSwap(c, nil)
	}
}
