package api

import (
	"context"
	"fmt"

	"github.com/jetwire/jetwire/gateway/wire"
)

// defaultUsers is how many users an answer about presence names where the request does not say.
const defaultUsers = 1000

// PresenceRequest asks who is subscribed to a channel now, over all gateways.
type PresenceRequest struct {
	Channel string `json:"channel"`
	Limit   *int   `json:"limit,omitzero"` // users, 0 to MaxUsers; absent: 1000
}

func (q *PresenceRequest) check() error {
	if q.Limit != nil && (*q.Limit < 0 || *q.Limit > MaxUsers) {
		return wire.BadRequest.With(fmt.Sprintf("limit must be an integer from 0 to %d", MaxUsers))
	}
	return wire.ValidChannel(q.Channel)
}

func (a *API) presence(ctx context.Context, _ Caller, q *PresenceRequest) (wire.PresenceReply, error) {
	limit := defaultUsers
	if q.Limit != nil {
		limit = *q.Limit
	}
	return a.opt.Cluster.Presence(ctx, q.Channel, limit)
}
