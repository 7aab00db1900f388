package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// socketIO is Socket.IO 5 in Engine.IO 4, a packet in each message. Its events are ["subscribe", channel], which is
// acknowledged, ["publish", channel, body] and ["message", channel, body].
type socketIO struct{}

var _ dialect = socketIO{}

var errPacket = errors.New("no Socket.IO packet that the load knows")

func (socketIO) opcode() ws.OpCode { return ws.OpText }

func (socketIO) headers() []string { return nil }

// join says nothing yet: the server speaks first, then wants the namespace to be connected, and then takes events.
func (socketIO) join(c *conn) error {
	c.wanted = 1 + len(c.tracks)
	return nil
}

func (socketIO) appendPublish(dst []byte, _ uint64, m *wire.Publish) []byte {
	dst = strconv.AppendQuote(append(dst, `42["publish",`...), m.Channel)
	return append(append(append(dst, ','), m.Data...), ']')
}

func (socketIO) receive(c *conn, p []byte, now int64) error {
	l := c.loop
	switch scanPacket(p, &l.push) {
	case packetMessage:
		l.sink.message(c, &l.push, now)
	case packetPing:
		l.pings++
		return c.say([]byte("3"))
	case packetOpen:
		return c.say([]byte("40"))
	case packetConnected:
		for i := range c.tracks {
			l.text = append(strconv.AppendInt(append(l.text[:0], "42"...), int64(i), 10), `["subscribe",`...)
			l.text = append(strconv.AppendQuote(l.text, c.tracks[i].ch.name), ']')
			if err := c.say(l.text); err != nil {
				return err
			}
		}
		c.joinedOne(now)
	case packetAck:
		if c.phase == joining {
			c.joinedOne(now)
		}
	case packetUnknown:
		return fmt.Errorf("%w: %.60q", errPacket, p)
	}
	return nil
}

// packet is one that servers send.
type packet uint8

const (
	packetUnknown packet = iota
	packetOpen
	packetConnected
	packetAck
	packetPing
	packetMessage
)

// scanPacket tells what a packet is, and of a message what is in it.
func scanPacket(p []byte, m *push) packet {
	*m = push{}
	switch {
	case len(p) == 1 && p[0] == '2':
		return packetPing
	case bytes.HasPrefix(p, []byte(`0{`)):
		return packetOpen
	case bytes.HasPrefix(p, []byte(`40{`)):
		return packetConnected
	case bytes.HasPrefix(p, []byte(`43`)):
		return packetAck
	}
	p, ok := after(p, `42["message","`)
	if !ok {
		return packetUnknown
	}
	if m.channel, p, ok = quoted(p); !ok {
		return packetUnknown
	}
	if p, ok = after(p, `,`); !ok {
		return packetUnknown
	}
	if m.sent, m.n, p, ok = scanPayload(p); !ok || string(p) != `]` {
		m.sent, m.n = 0, 0
	}
	return packetMessage
}
