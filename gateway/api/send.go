package api

import (
	"context"
	"strings"

	"github.com/jetwire/jetwire/gateway/wire"
)

// SendRequest publishes one message to a user's inbox, the channel user.USER.
type SendRequest struct {
	User string `json:"user"`
	Message
}

func (q *SendRequest) check() error {
	_, err := inbox(q.User)
	return err
}

// inbox is the channel of a user's inbox, which a user whose name is no single token of a channel does not have.
func inbox(user string) (string, error) {
	channel := "user." + user
	if strings.Contains(user, ".") || wire.ValidChannel(channel) != nil {
		return "", wire.BadChannel.With("user: it has no inbox, since it is not one token of a channel name")
	}
	return channel, nil
}

func (a *API) send(ctx context.Context, _ Caller, q *SendRequest) func() (wire.PublishReply, error) {
	channel, err := inbox(q.User)
	if err != nil {
		return failed[wire.PublishReply](err)
	}
	return a.publishTo(ctx, channel, &q.Message)
}
