package api

import (
	"context"
	"strings"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// SubscriptionsRequest asks for a user's connections on all gateways.
type SubscriptionsRequest struct {
	User string `json:"user"`
}

// SubscriptionsReply is a user's connections with what they are subscribed to.
type SubscriptionsReply struct {
	User        string       `json:"user"`
	Connections []Connection `json:"connections"`
	More        bool         `json:"more,omitzero"`       // there are more than an answer holds
	Unanswered  int          `json:"unanswered,omitzero"` // gateways whose connections are missing, because they did not answer in time
}

// Connection is one connection of a user.
type Connection struct {
	Session       string       `json:"session"` // its id, as the reply to connect named it
	Gateway       string       `json:"gateway"` // the id of the gateway that has it
	Device        string       `json:"device,omitzero"`
	Subscriptions []Subscribed `json:"subscriptions"`
}

// Subscribed is one subscription of a connection.
type Subscribed struct {
	Channel string   `json:"channel"` // or a pattern
	QoS     wire.QoS `json:"qos"`
}

func (q *SubscriptionsRequest) check() error { return checkUser(q.User) }

// checkUser checks the name of a user, who may be anonymous.
func checkUser(user string) error {
	if err := auth.CheckUser(strings.TrimPrefix(user, auth.AnonymousPrefix)); err != nil {
		return wire.BadRequest.With("user " + err.Error())
	}
	return nil
}

func (a *API) subscriptions(ctx context.Context, _ Caller, q *SubscriptionsRequest) (SubscriptionsReply, error) {
	return a.opt.Cluster.Connections(ctx, q.User)
}
