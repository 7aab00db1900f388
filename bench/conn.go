package bench

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/poll"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// phase is how far a connection has come.
type phase uint8

const (
	dialing   phase = iota // TCP
	upgrading              // the HTTP request is sent
	joining                // connect and subscribe are sent, not all answered
	joined
	ended
)

// maxUnsent bounds what waits for one socket that the server does not read from.
const maxUnsent = 8 << 20

var errUnsent = errors.New("the server reads nothing: 8 MiB wait to be sent")

// conn is one socket of the load client. Everything in it is guarded by its loop's mu. While it idles it holds no buffer.
type conn struct {
	loop   *loop
	index  int // in loop.conns, and the token of its events
	fd     int
	phase  phase
	wanted int   // replies awaited while joining
	why    error // it ended
	began  int64 // when the connection was, or was meant to be, begun, for the time it took to join

	key  string // of the handshake; empty after it
	rest []byte // received, and not a whole frame yet
	part []byte // fragments of a message whose last one is missing
	out  []byte // unsent

	buffer int     // bytes that the kernel may hold for it; 0: as it likes
	deaf   bool    // it does not read
	as     *device // nil: the target's own token, and nothing durable
	tracks []track // one for each channel it listens to
	post   *post   // what it publishes, in scenario publish; nil for others
}

// begin opens the socket.
func (c *conn) begin() error {
	f := c.loop.fleet
	fd, err := openStream(c.gate().addr, f.source(), c.buffer)
	if err != nil {
		return err
	}
	c.fd, c.phase = fd, dialing
	if c.began == 0 {
		c.began = f.clock.now()
	}
	if err := c.loop.poller.Add(fd, uint64(c.index), poll.Writable); err != nil {
		abort(fd)
		c.phase = ended
		return err
	}
	return nil
}

// gate is the gateway that it connects to.
func (c *conn) gate() *Target {
	gates := c.loop.fleet.gates
	return gates[c.index%len(gates)]
}

// writable handles an event. What is unsent goes out; a socket that has just been connected asks for the upgrade.
func (c *conn) writable() error {
	if c.phase == dialing {
		if err := connected(c.fd); err != nil {
			return err
		}
		gate := c.gate()
		var request []byte
		request, c.key = wsock.ClientHandshake(gate.host, gate.path, c.loop.dialect.headers()...)
		c.phase = upgrading
		if err := c.watch(0); err != nil {
			return err
		}
		return c.send(request)
	}
	if err := c.flush(); err != nil || len(c.out) > 0 {
		return err
	}
	c.out = nil
	return c.watch(0)
}

// watch waits for what is wanted and, unless the socket is deaf, for what arrives.
func (c *conn) watch(want poll.Events) error {
	if !c.deaf {
		want |= poll.Readable
	}
	return c.loop.poller.Modify(c.fd, uint64(c.index), want)
}

// setDeaf stops reading, so that the kernel's buffers fill, or begins again.
func (c *conn) setDeaf(deaf bool) error {
	c.deaf = deaf
	if len(c.out) > 0 {
		return c.watch(poll.Writable)
	}
	return c.watch(0)
}

// beat tells the server that the client lives: a pong that nobody asked for (RFC 6455, 5.5.3).
func (c *conn) beat() error {
	c.loop.frame = wsock.AppendMasked(c.loop.frame[:0], ws.OpPong, nil)
	return c.send(c.loop.frame)
}

// send writes p, or keeps what does not fit for when it does.
func (c *conn) send(p []byte) error {
	waits := len(c.out) > 0
	if waits {
		if len(c.out)+len(p) > maxUnsent {
			return errUnsent
		}
		c.out = append(c.out, p...)
		return nil
	}
	n, err := writeStream(c.fd, p)
	switch {
	case err != nil && !errors.Is(err, errAgain):
		return err
	case n == len(p):
		return nil
	}
	c.out = append(c.out, p[n:]...)
	return c.watch(poll.Writable)
}

func (c *conn) flush() error {
	n, err := writeStream(c.fd, c.out)
	if errors.Is(err, errAgain) {
		return nil
	}
	c.out = c.out[:copy(c.out, c.out[n:])]
	return err
}

// readable reads once, at most what the loop's buffer holds, and handles every whole frame of it.
func (c *conn) readable() error {
	l := c.loop
	have := copy(l.buf, c.rest)
	n, err := readStream(c.fd, l.buf[have:])
	switch {
	case errors.Is(err, errAgain):
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	l.keep(c, nil)
	p := l.buf[:have+n]
	if c.phase == upgrading {
		if p, err = c.upgraded(p); err != nil || p == nil {
			return err
		}
	}
	now, need := l.fleet.clock.now(), 0
	for len(p) > 0 {
		var f frame
		if f, n, need, err = splitFrame(p); err != nil {
			return err
		}
		if n == 0 {
			break
		}
		p = p[n:]
		if err = c.frame(f, now); err != nil {
			return err
		}
	}
	if len(p) > 0 {
		l.keep(c, p)
		if need > len(l.buf) { // p is safe in c.rest now
			l.buf = make([]byte, need+need/4)
		}
	}
	return l.sink.settled(c, now)
}

// upgraded reads the response to the handshake and joins. It returns what follows the response, nil if it is incomplete.
func (c *conn) upgraded(p []byte) ([]byte, error) {
	n, _, err := wsock.ParseResponse(p, c.key)
	if errors.Is(err, wsock.ErrMore) {
		c.loop.keep(c, p)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.key, c.phase = "", joining
	return p[n:], c.loop.dialect.join(c)
}

// joinedOne counts an answer while joining.
func (c *conn) joinedOne(now int64) {
	if c.wanted--; c.wanted > 0 {
		return
	}
	c.phase = joined
	c.loop.opening--
	c.loop.fleet.joinedOne(c.began, now)
}

// say sends one message.
func (c *conn) say(message []byte) error {
	l := c.loop
	l.frame = wsock.AppendMasked(l.frame[:0], l.dialect.opcode(), message)
	return c.send(l.frame)
}

// frame handles one frame from the server.
func (c *conn) frame(f frame, now int64) error {
	d := c.loop.dialect
	switch f.op {
	case d.opcode():
		if f.fin {
			return d.receive(c, f.payload, now)
		}
		c.part = slices.Clone(f.payload)
		return nil
	case ws.OpContinuation:
		c.part = append(c.part, f.payload...)
		if !f.fin {
			return nil
		}
		whole := c.part
		c.part = nil
		return d.receive(c, whole, now)
	case ws.OpPing:
		c.loop.pings++
		c.loop.frame = wsock.AppendMasked(c.loop.frame[:0], ws.OpPong, f.payload)
		return c.send(c.loop.frame)
	case ws.OpPong:
		return nil
	case ws.OpClose:
		return closedBy(f.payload)
	}
	return fmt.Errorf("the server sent a frame with opcode %d", f.op)
}

func closedBy(payload []byte) error {
	if len(payload) < 2 {
		return errors.New("the server closed without a code")
	}
	code := wire.Code(uint16(payload[0])<<8 | uint16(payload[1]))
	return fmt.Errorf("the server closed: %d %v %s", uint16(code), code, payload[2:])
}
