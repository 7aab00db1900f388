package api

import (
	"context"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Message is what a request says of a message besides where it goes. All but From is as in the WebSocket protocol.
type Message struct {
	Data     jsontext.Value `json:"data"`
	Encoding string         `json:"encoding,omitzero"` // text or base64
	ID       *string        `json:"id,omitzero"`
	QoS      *uint8         `json:"qos,omitzero"`  // absent: 2 with an id, 1 without
	From     *string        `json:"from,omitzero"` // the user in whose name it is published; absent: it has no sender
}

// PublishRequest publishes one message.
type PublishRequest struct {
	Channel string `json:"channel"`
	Message
}

func (q *PublishRequest) check() error { return wire.ValidChannel(q.Channel) }

func (a *API) publish(ctx context.Context, _ Caller, q *PublishRequest) func() (wire.PublishReply, error) {
	return a.publishTo(ctx, q.Channel, &q.Message)
}

// publishTo hands a message to the log.
func (a *API) publishTo(ctx context.Context, channel string, m *Message) func() (wire.PublishReply, error) {
	p, err := m.publication()
	if err != nil {
		return failed[wire.PublishReply](err)
	}
	p.Channel = channel
	type answer struct {
		reply wire.PublishReply
		err   error
	}
	answered := make(chan answer, 1)
	a.opt.Log.Publish(p, func(r wire.PublishReply, err error) { answered <- answer{r, err} })
	return func() (wire.PublishReply, error) {
		select {
		case got := <-answered:
			return got.reply, got.err
		case <-ctx.Done():
			return wire.PublishReply{}, ctx.Err()
		}
	}
}

// publication checks a message.
func (m *Message) publication() (p Publication, err error) {
	encoding, known := wire.EncodingNamed(m.Encoding)
	switch {
	case m.Encoding == "" && wire.EncodingOf(m.Data) != wire.JSON:
		return p, wire.BadRequest.With("data is nested deeper than " + strconv.Itoa(wire.MaxDepth) + " levels")
	case m.Encoding != "" && !known:
		return p, wire.BadRequest.With(`encoding must be "text" or "base64"`)
	}
	if p.Body, err = wire.DecodeBody(m.Data, encoding); err != nil {
		return p, err
	}
	if m.ID != nil {
		p.ID = *m.ID
		if err := wire.ValidID(p.ID); err != nil {
			return p, err
		}
	}
	if m.From != nil {
		p.From = *m.From
		if err := auth.CheckUser(p.From); err != nil {
			return p, wire.BadRequest.With("from " + err.Error())
		}
	}
	switch {
	case m.QoS == nil && m.ID != nil:
		p.QoS = wire.ExactlyOnce
	case m.QoS == nil:
		p.QoS = wire.AtLeastOnce
	case *m.QoS > uint8(wire.ExactlyOnce):
		return p, wire.BadRequest.With("qos must be 0, 1 or 2")
	case *m.QoS == uint8(wire.ExactlyOnce) && m.ID == nil:
		return p, wire.BadRequest.With("qos 2 needs an id")
	default:
		p.QoS = wire.QoS(*m.QoS)
	}
	return p, nil
}
