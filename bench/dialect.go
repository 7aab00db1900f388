package bench

import (
	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Protocol is what a server speaks over WebSocket.
type Protocol uint8

// The protocols of servers that can be measured. All but Jetwire have QoS 0 only, and know neither positions nor devices.
const (
	Jetwire  Protocol = iota // of servers, too, that speak a small part of it
	NATS                     // NATS's own, in binary messages: channels are subjects
	SocketIO                 // Socket.IO 5 in Engine.IO 4, with the events of bench/peers/socketio: channels are rooms
)

var dialects = [...]dialect{Jetwire: jetwire{}, NATS: natsDialect{}, SocketIO: socketIO{}}

// dialect is a protocol as the load client speaks it. It holds no state: what a connection has to remember is in its conn.
// join and receive run with the loop's mu held.
type dialect interface {
	opcode() ws.OpCode                          // of every message, in either direction
	headers() []string                          // lines of the handshake besides WebSocket's own
	join(c *conn) error                         // sends what comes first, and sets c.wanted to the calls of joinedOne that follow
	receive(c *conn, p []byte, now int64) error // handles one whole message
	appendPublish(dst []byte, id uint64, m *wire.Publish) []byte
}
