package gateway

import (
	"context"

	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
)

// backends is what the server API asks the gateway for.
type backends struct{ g *Gateway }

var _ api.Log = backends{}

func newAPI(g *Gateway) *api.API {
	b := backends{g}
	return api.New(api.Options{Log: b, Cluster: g.everywhere, RequestBytes: g.opt.Limits.RequestBytes, Logger: g.opt.Logger})
}

func (b backends) Publish(p api.Publication, done func(wire.PublishReply, error)) {
	b.g.broker.Publish(session.Publication{Channel: p.Channel, ID: p.ID, From: p.From, QoS: p.QoS, Body: p.Body}, done)
}

func (b backends) History(ctx context.Context, h wire.History) (wire.HistoryReply, error) {
	type opened struct {
		stream *streams.Stream
		err    error
	}
	ready := make(chan opened, 1)
	b.g.log.With(h.Channel, func(s *streams.Stream, err error) { ready <- opened{s, err} })
	select {
	case got := <-ready:
		if got.err != nil {
			return wire.HistoryReply{}, wireError(got.err)
		}
		r, err := b.g.broker.readHistory(got.stream, h)
		if err != nil {
			return r, wireError(err)
		}
		return r, nil
	case <-ctx.Done():
		return wire.HistoryReply{}, ctx.Err()
	}
}
