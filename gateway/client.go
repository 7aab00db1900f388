package gateway

import (
	"sync/atomic"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// client is where a socket and a session meet: what the one receives goes to the other, and back.
type client struct {
	conn    *transport.Conn
	session session.Session
	pages   atomic.Pointer[pages] // nil: it has not asked for any
}

var (
	_ transport.Receiver = (*client)(nil)
	_ session.Conn       = (*client)(nil)
	_ hub.Sink           = (*transport.Conn)(nil)
)

func (g *Gateway) open(c *transport.Conn, _ string) transport.Receiver {
	cl := &client{conn: c}
	cl.session = session.New(&g.sessions, cl)
	return cl
}

func (cl *client) Receive(_ *transport.Conn, text bool, payload []byte) {
	cl.session.Receive(text, payload)
}
func (cl *client) Beat(*transport.Conn) { cl.session.Beat() }

func (cl *client) Drained(*transport.Conn) {
	cl.session.Drained()
	if p := cl.pages.Load(); p != nil {
		p.goOn()
	}
}

func (cl *client) Closed(*transport.Conn, wire.Code) {
	cl.session.Closed()
	if p := cl.pages.Swap(noPages); p != nil {
		p.end()
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
func tooSlow(s hub.Sink) { s.(*transport.Conn).Close(wire.SlowConsumer, wire.SlowConsumer.String()) }

// flush is hub.Options.Flush.
func flush(sinks []hub.Sink) {
	conns := connLists.Get().(*[]*transport.Conn)
	for _, s := range sinks {
		*conns = append(*conns, s.(*transport.Conn))
	}
	transport.Flush(*conns)
	clear(*conns)
	*conns = (*conns)[:0]
	connLists.Put(conns)
}
