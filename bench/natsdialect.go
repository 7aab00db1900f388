package bench

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// natsDialect is NATS's client protocol. Servers put whole operations in a message, as many as wait.
type natsDialect struct{}

var _ dialect = natsDialect{}

var errOperation = errors.New("no NATS operation that the load knows")

func (natsDialect) opcode() ws.OpCode { return ws.OpBinary }

func (natsDialect) headers() []string { return nil }

// join subscribes without waiting for INFO. The server's PONG shows that it has done everything before it.
func (natsDialect) join(c *conn) error {
	c.wanted = 1
	p := append(c.loop.text[:0], `CONNECT {"verbose":false,"pedantic":false,"echo":true,"protocol":1,"lang":"go","version":"0","name":"jetbench"}`+"\r\n"...)
	for i := range c.tracks {
		p = append(append(append(p, "SUB "...), c.tracks[i].ch.name...), ' ')
		p = append(strconv.AppendInt(p, int64(i+1), 10), "\r\n"...)
	}
	p = append(p, "PING\r\n"...)
	c.loop.text = p
	return c.say(p)
}

func (natsDialect) appendPublish(dst []byte, _ uint64, m *wire.Publish) []byte {
	dst = append(append(append(dst, "PUB "...), m.Channel...), ' ')
	dst = append(strconv.AppendInt(dst, int64(len(m.Data)), 10), "\r\n"...)
	return append(append(dst, m.Data...), "\r\n"...)
}

func (natsDialect) receive(c *conn, p []byte, now int64) error {
	l := c.loop
	for len(p) > 0 {
		op, rest, ok := scanOperation(p, &l.push)
		if !ok {
			return fmt.Errorf("%w: %.60q", errOperation, p)
		}
		p = rest
		switch op {
		case natsMessage:
			l.sink.message(c, &l.push, now)
		case natsPong:
			if c.phase == joining {
				c.joinedOne(now)
			}
		case natsPing:
			l.pings++
			if err := c.say([]byte("PONG\r\n")); err != nil {
				return err
			}
		case natsError:
			return fmt.Errorf("the server refused: %s", l.push.channel)
		}
	}
	return nil
}

// operation is one that servers send.
type operation uint8

const (
	natsInfo operation = iota // INFO, and +OK
	natsMessage
	natsPing
	natsPong
	natsError // push.channel says why
)

// scanOperation takes one operation off p, and tells of a MSG what is in it. It refuses what is not whole.
func scanOperation(p []byte, m *push) (op operation, rest []byte, ok bool) {
	line, rest, ok := bytes.Cut(p, []byte("\r\n"))
	if !ok {
		return 0, nil, false
	}
	*m = push{}
	switch name, arguments, _ := bytes.Cut(line, []byte(" ")); string(name) {
	case "MSG":
		rest, ok = scanMSG(arguments, rest, m)
		return natsMessage, rest, ok
	case "PING":
		return natsPing, rest, true
	case "PONG":
		return natsPong, rest, true
	case "-ERR":
		m.channel = arguments
		return natsError, rest, true
	case "INFO", "+OK":
		return natsInfo, rest, true
	}
	return 0, nil, false
}

// scanMSG reads "subject sid bytes" and the payload behind it. There is no reply subject: the load asks nothing.
func scanMSG(arguments, p []byte, m *push) (rest []byte, ok bool) {
	subject, arguments, _ := bytes.Cut(arguments, []byte(" "))
	sid, size, _ := bytes.Cut(arguments, []byte(" "))
	n, size, ok := digits(size)
	if !ok || len(size) > 0 || len(subject) == 0 || len(sid) == 0 || n > maxFrame || len(p) < int(n)+2 {
		return nil, false
	}
	m.channel = subject
	var behind []byte
	if m.sent, m.n, behind, ok = scanPayload(p[:n]); !ok || len(behind) > 0 {
		m.sent, m.n = 0, 0
	}
	return after(p[n:], "\r\n")
}
