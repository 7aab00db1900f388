package transport

import (
	"bytes"
	"errors"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// outcome is what becomes of a connection after input was handled.
type outcome uint8

const (
	goOn    outcome = iota
	toHTTP          // it is net/http's now, with c.early as the bytes that were read
	tearOff         // nothing more is to be read
)

// input handles bytes that arrived. It is called by the reading goroutine; p is valid until it returns.
func (c *Conn) input(p []byte, s *scratch) outcome {
	c.group.bytesIn.Add(uint64(len(p)))
	if !c.heard.Load() {
		c.heard.Store(true)
	}
	c.mu.Lock()
	st := c.state
	c.busy |= reading
	c.mu.Unlock()

	next := goOn
	switch st {
	case opening:
		next = c.handshake(p)
	case open, closing:
		c.feed(p)
	case closed:
		next = tearOff
	}

	c.mu.Lock()
	c.busy &^= reading
	c.dirty = false
	o := c.flushLocked(s)
	c.mu.Unlock()
	c.settle(o)
	return next
}

func (c *Conn) handshake(p []byte) outcome {
	seen := 0
	if c.early != nil {
		seen = len(*c.early)
		*c.early = append(*c.early, p...)
		p = *c.early
	}
	st, n, response, req, err := c.group.srv.handshake.Resume(p, seen)
	switch st {
	case wsock.More, wsock.NotUpgrade:
		if c.early == nil {
			p = bytes.Clone(p)
			c.early = &p
		}
		if st == wsock.NotUpgrade {
			return toHTTP
		}
		return goOn
	case wsock.Refused:
		c.group.srv.refusedHandshakes.Add(1)
		c.group.opt.Logger.Debug("handshake refused", "remote", c.RemoteAddr(), "error", err)
		if c.answer(response) {
			c.mu.Lock()
			if c.state == open {
				c.state = closing
				c.group.table.set(c, closeTimeout)
			}
			c.mu.Unlock()
		}
		return goOn
	}
	c.early = nil
	if !c.answer(response) {
		return goOn
	}
	c.recv = c.group.opt.Open(c, req.Path)
	if rest := p[n:]; len(rest) > 0 {
		c.feed(rest)
	}
	return goOn
}

// answer sends the response of a handshake, unless its time was up.
func (c *Conn) answer(response []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != opening {
		return false
	}
	c.state = open
	c.pushLocked(response)
	return true
}

func (c *Conn) feed(p []byte) {
	err := c.reader.Feed(&c.group.srv.limits, p, (*frames)(c))
	if err == nil {
		return
	}
	code, reason := wire.ProtocolError, "malformed frame"
	var ce *wsock.CloseError
	if errors.As(err, &ce) {
		code, reason = wire.Code(ce.Code), ce.Reason
	}
	c.mu.Lock()
	c.closeLocked(code, reason)
	c.mu.Unlock()
	c.reader.Release()
}

// frames is the Conn as its reader sees it.
type frames Conn

func (f *frames) Message(text bool, payload []byte) {
	c := (*Conn)(f)
	c.group.messagesIn.Add(1)
	if c.isOpen() {
		c.recv.Receive(c, text, payload)
	}
}

func (f *frames) Ping(payload []byte) {
	c := (*Conn)(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	// A peer that pings without reading pongs gets the one answer that waits already (RFC 6455, 5.5.3, allows it).
	if c.out == nil || c.out.bytes < c.group.opt.QueueBytes {
		c.pushLocked(wsock.AppendFrame(nil, ws.OpPong, payload))
	}
}

func (f *frames) Pong(payload []byte) {
	c := (*Conn)(f)
	if r, ok := c.recv.(PongReceiver); ok && c.isOpen() {
		r.Pong(c, payload)
	}
}

func (f *frames) Close(code uint16, reason []byte) {
	c := (*Conn)(f)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != open { // the answer to ours
		c.endLocked()
		return
	}
	c.closeLocked(wire.Code(code), string(reason))
}

func (c *Conn) isOpen() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == open
}

func (c *Conn) isSettled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.settled && c.state == open
}
