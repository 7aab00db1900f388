// Package transport holds WebSockets: it accepts them, reads messages, queues and writes frames, sends heartbeats and
// closes. It knows bytes, sockets and time; it must not know commands, channels, users or NATS.
//
// On Linux a plain connection is a raw descriptor in one of a few epoll loops: no goroutine, no timer and no buffer
// belongs to an idle socket. Under TLS, and on other systems, the same Conn stands on a net.Conn with two goroutines.
//
// Ownership: a descriptor is closed only by the loop (or reading goroutine) that it belongs to; everybody else shuts it
// down and lets the reader find the end, so no one can write to a descriptor that has been given to another socket.
//
// Locks: group.mu and Conn.mu are leaves; neither is held while the other, or a Receiver, is called.
package transport

import (
	"context"
	"crypto/tls"
	"log/slog"
	"math"
	"net/http"
	"net/netip"
	"runtime"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Defaults of Options.
const (
	DefaultHandshakeTimeout = 10 * time.Second
	DefaultHandshakeBytes   = 8 << 10
	DefaultPingInterval     = 25 * time.Second
	DefaultStallTimeout     = time.Minute
	DefaultMaxMessage       = 128 << 10
	DefaultQueueBytes       = 64 << 10
)

// Options configures a Server. The zero value of each field means the default that stands beside it.
type Options struct {
	// Open is called on a reading goroutine when a WebSocket is established; what it returns receives everything that arrives. The path
	// is the request's, not unescaped.
	Open func(c *Conn, path string) Receiver
	// HTTP serves every request that is no WebSocket upgrade for Path. Default: 404.
	HTTP http.Handler
	// Path says at which paths WebSockets are accepted. Default: at any.
	Path func(path string) bool
	// Origin decides by the Origin and Host headers whether a browser may connect. Default: from the same origin only.
	Origin func(origin, host string) bool
	// Connect is asked of each socket before anything is read from it, and returns for how long its address is refused. Default: 0.
	Connect func(netip.Addr) time.Duration
	// Protocols are the WebSocket subprotocols to choose from, best first.
	Protocols []string
	// TLS makes every connection TLS. Default: plain.
	TLS *tls.Config
	// Portable keeps plain connections off epoll: each gets its goroutines, as on systems that have none.
	Portable bool

	Loops            int           // epoll loops; default GOMAXPROCS
	HandshakeTimeout time.Duration // from accept until Conn.Establish
	HandshakeBytes   int           // of the upgrade request
	PingInterval     time.Duration // a connection that was silent for one is pinged, for two it is closed as stale
	StallTimeout     time.Duration // a peer that takes nothing of what was sent for so long is ended; counted in whole ping intervals
	MaxMessage       int           // bytes of a message, fragments joined
	QueueBytes       int           // bytes that may wait for one socket before Offer refuses
	MaxConns         int           // sockets in all; 0: what the descriptor limit allows, less a reserve for the process
	MaxConnsPerAddr  int           // sockets of one remote address, IPv6 by /64; 0: no limit

	Logger *slog.Logger
}

// Receiver gets what arrives on one Conn. Receive and Closed come from one goroutine at a time, Drained and Beat from any.
type Receiver interface {
	// Receive is called with each message. The payload is valid until it returns, and it must not block.
	Receive(c *Conn, text bool, payload []byte)
	// Drained is called when the queue is empty again after Offer had refused a frame.
	Drained(c *Conn)
	// Beat is called about once in a PingInterval while the connection is established, by the Server's clock.
	Beat(c *Conn)
	// Closed is called once, last, with the code of the close frame that ended the connection, or 1006 if there was none.
	Closed(c *Conn, code wire.Code)
}

// PongReceiver is a Receiver that wants to know of pongs, with the payloads of the pings that they answer. It is called like Receive.
type PongReceiver interface {
	Pong(c *Conn, payload []byte)
}

// AbnormalClosure is what Receiver.Closed gets when a connection ended without a close frame (RFC 6455, 7.4.1).
const AbnormalClosure wire.Code = 1006

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.Loops, runtime.GOMAXPROCS(0))
	def(&o.HandshakeBytes, DefaultHandshakeBytes)
	def(&o.MaxMessage, DefaultMaxMessage)
	def(&o.QueueBytes, DefaultQueueBytes)
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = DefaultHandshakeTimeout
	}
	if o.PingInterval <= 0 {
		o.PingInterval = DefaultPingInterval
	}
	if o.StallTimeout <= 0 {
		o.StallTimeout = DefaultStallTimeout
	}
	if o.Path == nil {
		o.Path = func(string) bool { return true }
	}
	if o.HTTP == nil {
		o.HTTP = http.NotFoundHandler()
	}
	if o.Connect == nil {
		o.Connect = func(netip.Addr) time.Duration { return 0 }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// stallBeats is how many heartbeats in a row a peer may take nothing.
func (o *Options) stallBeats() uint8 {
	return uint8(min((o.StallTimeout+o.PingInterval-1)/o.PingInterval, math.MaxUint8))
}

// sleep waits unless ctx ends first.
func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
