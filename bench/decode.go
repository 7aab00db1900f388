package bench

import (
	"errors"
	"fmt"

	"github.com/jetwire/jetwire/gateway/wire"
)

// joinID is the id of connect; those of subscribe follow it, and those of publishes follow maxJoinID.
const (
	joinID    = 1
	maxJoinID = 1 << 10
)

var errReconnect = errors.New("the server asked to connect anew")

// text handles one text message, in which several replies and pushes may stand.
func (c *conn) text(p []byte, now int64) error {
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
		return c.joinedOne(now)
	case wire.KindSubscribe:
		if i := in.ID - joinID - 1; i < uint64(len(c.tracks)) {
			c.tracks[i].seq = in.Subscribe.Seq
		}
		return c.joinedOne(now)
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

// joinedOne counts an answer while joining.
func (c *conn) joinedOne(now int64) error {
	l := c.loop
	c.wanted--
	if c.wanted > 0 {
		if l.fleet.load.OneByOne && c.wanted == c.asked() {
			l.text = c.appendSubscribes(l.text[:0])
			return c.sendText(l.text)
		}
		return nil
	}
	c.phase = joined
	l.opening--
	l.fleet.joinedOne(now - c.began)
	return nil
}
