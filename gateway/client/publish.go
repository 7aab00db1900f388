package client

import (
	"context"
	"fmt"

	"github.com/jetwire/jetwire/gateway/wire"
)

// QoS is a delivery guarantee, or Default.
type QoS uint8

// The guarantees, as PROTOCOL.md defines them. Default is AtLeastOnce, and ExactlyOnce for a publish with an id.
const (
	Default QoS = iota
	AtMostOnce
	AtLeastOnce
	ExactlyOnce
)

// QoSOf converts the protocol's number.
func QoSOf(q wire.QoS) QoS { return QoS(q) + AtMostOnce }

func (q QoS) wire(dflt wire.QoS) wire.QoS {
	if q == Default {
		return dflt
	}
	return wire.QoS(q - AtMostOnce)
}

func (q QoS) valid() error {
	if q > ExactlyOnce {
		return fmt.Errorf("client: no such QoS: %d", q)
	}
	return nil
}

// The protocol's own types.
type (
	Message      = wire.Message
	Gap          = wire.Gap
	PublishReply = wire.PublishReply
)

// PublishOptions says how to publish.
type PublishOptions struct {
	// ID names the message among those that this user sends to the channel. A publish with an id is sent again until its
	// outcome is known; at ExactlyOnce the server stores it once. ExactlyOnce without an ID gets one made here.
	ID  string
	QoS QoS
}

// Publish sends one message and waits for the server's answer. body is any bytes; JSON travels as it is.
//
// With an id it is sent again after a lost connection and after an error that says later, until it is answered, ctx ends, or the
// server's retry window since the first attempt is over. If then an attempt may have been stored, the error wraps
// ErrOutcomeUnknown; otherwise it is ctx's, or the server's last refusal, and nothing was stored.
//
// Without an id nothing is sent twice: ErrNotConnected says that it was not sent, ErrOutcomeUnknown that it was and that no answer
// came, and a *wire.Error what the server answered.
//
// Publishes of one goroutine are stored in their order, unless one of them had to be sent again.
func (c *Client) Publish(ctx context.Context, channel string, body []byte, o PublishOptions) (PublishReply, error) {
	r, encode, err := c.publication(channel, body, o)
	if err != nil {
		return PublishReply{}, err
	}
	var reply PublishReply
	if err := c.do(ctx, r, encode, func(in *wire.Incoming) { reply = in.Publish }); err != nil {
		return PublishReply{}, err
	}
	return reply, nil
}

// PublishAsync is Publish without the wait. An error says that the message was not accepted: the channel or the options are wrong, there is
// no connection and no id, or Options.MaxPending are pending (ErrTooManyPending). Otherwise done is called once, perhaps before PublishAsync
// returns, on a goroutine of the client, and must not block. At AtMostOnce done may be nil: then no reply is asked for.
// body may be used again as soon as PublishAsync returns.
func (c *Client) PublishAsync(channel string, body []byte, o PublishOptions, done func(PublishReply, error)) error {
	r, encode, err := c.publication(channel, body, o)
	if err != nil {
		return err
	}
	r.silent = done == nil && r.qos == wire.AtMostOnce
	r.done = func(in *wire.Incoming, err error) {
		switch {
		case done == nil:
		case err != nil:
			done(PublishReply{}, err)
		default:
			done(in.Publish, nil)
		}
	}
	select {
	case c.slots <- struct{}{}:
	default:
		return ErrTooManyPending
	}
	if err := c.submit(r, encode); err != nil {
		<-c.slots
		return err
	}
	return nil
}

// publication checks and prepares a publish.
func (c *Client) publication(channel string, body []byte, o PublishOptions) (*request, func(uint64) []byte, error) {
	if err := wire.ValidChannel(channel); err != nil {
		return nil, nil, fmt.Errorf("client: publish: %w", err)
	}
	if err := o.QoS.valid(); err != nil {
		return nil, nil, err
	}
	dflt := wire.AtLeastOnce
	if o.ID != "" {
		if err := wire.ValidID(o.ID); err != nil {
			return nil, nil, fmt.Errorf("client: publish: %w", err)
		}
		dflt = wire.ExactlyOnce
	}
	p := &wire.Publish{Channel: channel, ID: o.ID, QoS: o.QoS.wire(dflt)}
	if p.QoS == wire.ExactlyOnce && p.ID == "" {
		p.ID = c.newMessageID()
	}
	again := p.ID != "" && p.QoS != wire.AtMostOnce
	r := &request{op: wire.OpPublish, qos: p.QoS, keep: again, retry: again, slot: true}
	encode := func(id uint64) []byte {
		return wire.AppendPublishBody(make([]byte, 0, len(body)+len(channel)+len(p.ID)+72), id, p, body)
	}
	return r, encode, nil
}
