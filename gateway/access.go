package gateway

import (
	"context"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
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
// about a second. It returns when that is stored. Its errors are access's.
func (g *Gateway) Revoke(ctx context.Context, r access.Revocation) error {
	return g.access.Revoke(ctx, r)
}
