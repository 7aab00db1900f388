package bench

import (
	"errors"
	"fmt"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// joinID is the id of connect; those of subscribe follow it, and those of publishes follow maxJoinID.
const (
	joinID    = 1
	maxJoinID = 1 << 10
)

var errReconnect = errors.New("the server asked to connect anew")

// jetwire is the protocol of gateway/wire/PROTOCOL.md.
type jetwire struct{}

var _ dialect = jetwire{}

func (jetwire) opcode() ws.OpCode { return ws.OpText }

func (jetwire) headers() []string { return []string{"Sec-WebSocket-Protocol: " + wire.Subprotocol} }

// join sends connect, and subscribe for each channel: all in one frame, or the second half once connect is answered.
func (jetwire) join(c *conn) error {
	f := c.loop.fleet
	c.wanted = 1 + c.asked()
	who := wire.Connect{Token: f.target.Token, Client: "jetbench"}
	if c.as != nil {
		who.Token, who.Device = c.as.token, c.as.id
	}
	text := wire.AppendConnect(c.loop.text[:0], joinID, &who)
	if !f.load.OneByOne {
		text = c.appendSubscribes(text)
	}
	c.loop.text = text
	return c.say(text)
}

func (c *conn) appendSubscribes(text []byte) []byte {
	for i := range c.tracks {
		if c.tracks[i].restored {
			continue
		}
		text = wire.AppendSubscribe(text, joinID+1+uint64(i), &wire.Subscribe{
			Channel: c.tracks[i].ch.name, QoS: c.loop.fleet.qos,
		})
	}
	return text
}

func (jetwire) appendPublish(dst []byte, id uint64, m *wire.Publish) []byte {
	return wire.AppendPublish(dst, id, m)
}

// receive handles one text message, in which several replies and pushes may stand.
func (jetwire) receive(c *conn, p []byte, now int64) error {
	l := c.loop
	if m := l.memo.scan(p); m != nil {
		l.sink.message(c, m, now)
		return nil
	}
	for len(p) > 0 {
		rest, ok := scanPush(p, &l.push)
		if ok {
			l.sink.message(c, &l.push, now)
		} else if rest, ok = scanAnswer(p, &l.reply); ok {
			l.sink.answer(c, &l.reply, now)
		} else {
			return c.decode(p, now)
		}
		p = rest
	}
	return nil
}

// decode handles what the quick scan does not understand.
func (c *conn) decode(p []byte, now int64) error {
	return c.loop.decoder.Decode(p, func(in *wire.Incoming) error {
		return c.incoming(in, now)
	})
}

func (c *conn) incoming(in *wire.Incoming, now int64) error {
	sink := c.loop.sink
	switch in.Kind {
	case wire.KindConnect:
		if d, ok := sink.(durableSink); ok {
			if err := d.connected(c, &in.Connect); err != nil {
				return err
			}
		}
		if c.loop.fleet.load.OneByOne && c.asked() > 0 {
			c.loop.text = c.appendSubscribes(c.loop.text[:0])
			if err := c.say(c.loop.text); err != nil {
				return err
			}
		}
		c.joinedOne(now)
	case wire.KindSubscribe:
		if s, ok := sink.(changer); ok && c.phase == joined {
			s.subscribed(c, &in.Subscribe, now)
			return nil
		}
		if i := in.ID - joinID - 1; i < uint64(len(c.tracks)) {
			c.tracks[i].seq, c.tracks[i].since = in.Subscribe.Seq, in.Subscribe.Seq
		}
		c.joinedOne(now)
	case wire.KindUnsubscribe:
		if s, ok := sink.(changer); ok {
			s.unsubscribed(c, in.Unsubscribe.Channel)
		}
	case wire.KindPublish:
		a := answer{id: in.ID, seq: in.Publish.Seq, duplicate: in.Publish.Duplicate}
		copy(a.class[:], in.Publish.Durability)
		sink.answer(c, &a, now)
	case wire.KindMessage:
		m := push{
			channel: []byte(in.Message.Channel), stored: in.Message.Seq != 0, seq: in.Message.Seq, prev: in.Message.Prev,
		}
		m.sent, m.n, _, _ = scanPayload(in.Message.Body)
		sink.message(c, &m, now)
	case wire.KindError:
		if c.phase < joined || in.ID == 0 {
			return fmt.Errorf("the server refused: %w", &in.Error)
		}
		sink.refused(c, in.ID, &in.Error)
	case wire.KindHistory:
		if p, ok := sink.(pager); ok {
			p.page(c, in.ID, &in.History, now)
		}
	case wire.KindAck:
		if d, ok := sink.(durableSink); ok {
			d.acked(c, &in.Ack, now)
		}
	case wire.KindUnsubscribed:
		return fmt.Errorf("the server ended the subscription to %s: %w", in.Unsubscribed.Channel, &in.Unsubscribed.Error)
	case wire.KindGap:
		sink.gap(c)
	case wire.KindReconnect:
		return errReconnect
	}
	return nil
}
