package api

import (
	"context"

	"github.com/jetwire/jetwire/gateway/wire"
)

// UnsubscribeRequest ends a user's subscriptions of a channel, or of a pattern, on all gateways. A client that may can subscribe again.
type UnsubscribeRequest struct {
	User    string `json:"user"`
	Channel string `json:"channel"`
}

// UnsubscribeReply says on how many connections a subscription was ended.
type UnsubscribeReply struct {
	Unsubscribed int `json:"unsubscribed"`
}

func (q *UnsubscribeRequest) check() error {
	if err := checkUser(q.User); err != nil {
		return err
	}
	return wire.ValidSubscription(q.Channel)
}

func (a *API) unsubscribe(ctx context.Context, c Caller, q *UnsubscribeRequest) (UnsubscribeReply, error) {
	met, unanswered, err := a.opt.Cluster.Unsubscribe(ctx, *q)
	a.opt.Logger.Info("unsubscribe", "key", c.Name, "user", q.User, "channel", q.Channel, "connections", met, "unanswered", unanswered)
	return UnsubscribeReply{met}, partly(met, unanswered, err)
}
