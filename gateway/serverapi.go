package gateway

import (
	"context"
	"errors"
	"time"

	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/access"
)

// backends is what the server API asks the gateway for.
type backends struct{ g *Gateway }

var (
	_ api.Log    = backends{}
	_ api.Tokens = backends{}
)

func newAPI(g *Gateway) *api.API {
	b := backends{g}
	return api.New(api.Options{Log: b, Cluster: g.everywhere, Tokens: b, Logger: g.opt.Logger, Served: g.metrics.served,
		RequestBytes: g.opt.Limits.RequestBytes, Concurrent: g.opt.Limits.Requests,
	})
}

func (b backends) Publish(p api.Publication, done func(wire.PublishReply, error)) {
	b.g.broker.Publish(session.Publication{Channel: p.Channel, ID: p.ID, From: p.From, QoS: p.QoS, Body: p.Body}, done)
}

func (b backends) History(ctx context.Context, h wire.History) (wire.HistoryReply, error) {
	s, err := b.g.broker.stream(ctx, h.Channel)
	if err != nil {
		return wire.HistoryReply{}, err
	}
	r, err := b.g.broker.readHistory(s, h)
	if err != nil {
		return r, wireError(err)
	}
	return r, nil
}

func (b backends) Sign(g auth.Grant) (string, error) {
	if b.g.opt.Sign == nil {
		return "", wire.NotFound.With("this server has no secret to sign tokens with: ask for one_time, or sign them where the key is")
	}
	return b.g.opt.Sign(g)
}

func (b backends) Ticket(ctx context.Context, g auth.Grant, ttl time.Duration) (string, error) {
	ticket, err := b.g.Ticket(ctx, g, ttl)
	if err != nil && !errors.Is(err, auth.ErrBadToken) {
		err = wireError(err)
	}
	return ticket, err
}

func (b backends) Revoke(ctx context.Context, r api.Revocation) error {
	if err := b.g.Revoke(ctx, access.Revocation(r)); err != nil {
		return wireError(err)
	}
	return nil
}
