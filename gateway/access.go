package gateway

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/access"
)

// ticketUse is what the tickets of this file are for: to connect, in the place of a JSON web token.
const ticketUse = "connect"

// Ticket makes a token that signs in once, on any gateway, within ttl (1 second to access.MaxTTL). The grant is what the connection
// then has. It fails with auth's errors for what no token may say, and with access's.
func (g *Gateway) Ticket(ctx context.Context, grant auth.Grant, ttl time.Duration) (string, error) {
	claims, err := auth.EncodeGrant(grant)
	if err != nil {
		return "", err
	}
	return g.access.Issue(ctx, ticketUse, claims, ttl)
}

// Revoke takes tokens back, on every gateway: they are refused from now on, and the connections that were made with them end within
// a second. It returns when that is stored. Its errors are access's.
func (g *Gateway) Revoke(ctx context.Context, r access.Revocation) error {
	return g.access.Revoke(ctx, r)
}

// errBadTicket says what is wrong with a ticket, and not which.
var errBadTicket = fmt.Errorf("%w: it is no one-time token of this server's, has ended, or was used before", auth.ErrBadToken)

// verify is session.Options.Verify. What nobody has signed is refused without a message to anybody.
func (g *Gateway) verify(token string, now time.Time) (*auth.Grant, error) {
	if access.IsTicket(token) {
		if g.access.Check(ticketUse, token) != nil {
			return nil, errBadTicket
		}
		return nil, auth.ErrLater
	}
	return g.unrevoked(g.opt.Verifier.Verify(token, now))
}

// redeem is session.Options.Redeem.
func (g *Gateway) redeem(token string, done func(*auth.Grant, error)) {
	if !access.IsTicket(token) {
		g.opt.Verifier.Fetch(token, func(grant *auth.Grant, err error) { done(g.unrevoked(grant, err)) })
		return
	}
	g.access.Redeem(ticketUse, token, func(claims []byte, err error) {
		switch {
		case errors.Is(err, access.ErrInvalid):
			done(nil, errBadTicket)
		case err != nil:
			g.opt.Logger.Warn("a one-time token cannot be checked now", "error", err)
			done(nil, wire.Unavailable.Err())
		default:
			done(g.unrevoked(auth.DecodeGrant(claims, time.Now())))
		}
	})
}

// check is verify for who can wait, and has no use for tickets.
func (g *Gateway) check(token string) (*auth.Grant, error) {
	grant, err := g.verify(token, time.Now())
	if !errors.Is(err, auth.ErrLater) || access.IsTicket(token) {
		return grant, err
	}
	done := make(chan struct{})
	g.redeem(token, func(later *auth.Grant, failure error) {
		grant, err = later, failure
		close(done)
	})
	<-done
	return grant, err
}

func (g *Gateway) unrevoked(grant *auth.Grant, err error) (*auth.Grant, error) {
	if err == nil && g.revoked(grant) {
		return nil, auth.ErrRevoked
	}
	return grant, err
}

// revoked is session.Options.Revoked.
func (g *Gateway) revoked(grant *auth.Grant) bool {
	return g.access.Revoked(grant.User, grant.TokenID, grant.Issued)
}
