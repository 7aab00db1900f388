package gateway

import (
	"sync/atomic"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/limit"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
	"github.com/jetwire/jetwire/streams/events"
)

// client is where a socket and a session meet: what the one receives goes to the other, and back.
type client struct {
	conn    *transport.Conn
	session session.Session
	rare    atomic.Pointer[rare] // nil: it needs none of it yet
}

// rare is what few clients need, or for a short while.
type rare struct {
	pages    pages
	commands atomic.Pointer[limit.Commands]    // nil: it has sent none lately, or they are not limited
	told     atomic.Pointer[events.Connection] // nil: no webhook is told of it
}

// gone is that of a client that has gone.
var gone = &rare{pages: pages{ended: true}}

// extra returns what the client has besides, from the first time that it needs something of it.
func (cl *client) extra() *rare {
	if r := cl.rare.Load(); r != nil {
		return r
	}
	cl.rare.CompareAndSwap(nil, new(rare))
	return cl.rare.Load()
}

// member is what stands between a socket and a session: a client, or one who translates for it.
type member interface {
	base() *client
	sink() hub.Sink // where the frames of its subscriptions go
}

var (
	_ transport.Receiver = (*client)(nil)
	_ session.Conn       = (*client)(nil)
	_ member             = (*client)(nil)
	_ hub.Sink           = (*transport.Conn)(nil)
)

// open makes what stands behind a new WebSocket.
func (g *Gateway) open(c *transport.Conn, path string) transport.Receiver {
	if token, ok := g.unified.accepts(path); ok {
		return g.unified.open(c, token)
	}
	cl := &client{conn: c}
	cl.session = session.New(&g.sessions, cl)
	return cl
}

func (cl *client) base() *client  { return cl }
func (cl *client) sink() hub.Sink { return cl.conn }

func (cl *client) Receive(_ *transport.Conn, text bool, payload []byte) {
	cl.session.Receive(text, payload)
}

func (cl *client) checkRevoked() { cl.session.CheckRevoked() }

func (cl *client) Beat(*transport.Conn) {
	cl.session.Beat()
	if r := cl.rare.Load(); r != nil {
		r.forget()
	}
}

func (cl *client) Drained(*transport.Conn) {
	cl.session.Drained()
	if r := cl.rare.Load(); r != nil {
		r.pages.goOn()
	}
}

func (cl *client) Closed(_ *transport.Conn, code wire.Code) {
	cl.session.Closed()
	if r := cl.rare.Swap(gone); r != nil {
		r.pages.end()
		r.leave(code)
	}
}

func (cl *client) Send(payload []byte)                 { cl.conn.Send(textFrame(payload)) }
func (cl *client) Close(code wire.Code, reason string) { cl.conn.Close(code, reason) }
func (cl *client) Establish()                          { cl.conn.Establish() }
func (cl *client) Serial() uint64                      { return cl.conn.Serial() }
func (cl *client) SetReading(on bool)                  { cl.conn.SetReading(on) }

// textFrame copies payload into a frame.
func textFrame(payload []byte) []byte {
	const header = 10 // at most, from a server
	frame := make([]byte, 0, len(payload)+header)
	return append(wsock.AppendHeader(frame, ws.OpText, len(payload)), payload...)
}

// tooSlow is hub.Options.TooSlow.
func tooSlow(s hub.Sink) { connOf(s).Close(wire.SlowConsumer, wire.SlowConsumer.String()) }

// connOf is the socket at the end of a sink.
func connOf(s hub.Sink) *transport.Conn {
	if c, ok := s.(*transport.Conn); ok {
		return c
	}
	return s.(member).base().conn
}

// flush is hub.Options.Flush.
func flush(sinks []hub.Sink) {
	conns := connLists.Get().(*[]*transport.Conn)
	for _, s := range sinks {
		*conns = append(*conns, connOf(s))
	}
	transport.Flush(*conns)
	clear(*conns)
	*conns = (*conns)[:0]
	connLists.Put(conns)
}
