// Package gateway joins the parts: sockets (transport) carry commands to sessions, sessions ask for subscriptions,
// publishes and history, the hub moves cursors, and the log (streams) holds what may not be lost.
//
// A Gateway holds no state that matters: what it has in memory is derived from the log, or belongs to a socket.
package gateway

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/api/service"
	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/access"
	"github.com/jetwire/jetwire/streams/cluster"
	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/devices"
)

// ErrClosed is what Serve returns once the gateway was drained or closed.
var ErrClosed = transport.ErrClosed

// Gateway is one running gateway.
type Gateway struct {
	opt      Options
	log      *streams.Log
	devices  *devices.Store
	cluster  *cluster.Cluster
	access   *access.Store
	commands *commands.Queue
	sweeper  *sweeper
	hub      *hub.Hub
	sessions session.Options
	sockets  *transport.Server
	broker   *broker
	limits   *limits
	unified  *unifiedService // nil: it is switched off
	metrics  *metrics
	webhooks *webhooks // nil: there are none

	authorizers *authorizers
	everywhere  *everywhere
	api         *api.API
	service     *service.Service

	address  atomic.Pointer[string] // nil: it does not listen yet
	draining chan struct{}          // closed when Drain begins: /readyz says no
	once     sync.Once
	closers  []func() error // of what New opened, in that order
}

// speaksWebSocket says at which paths there are WebSockets.
func (g *Gateway) speaksWebSocket(path string) bool {
	_, ok := g.unified.accepts(path)
	return path == Path || ok
}

// Listen binds "host:port" and returns what was bound; port 0 takes a free one.
func (g *Gateway) Listen(addr string) (net.Addr, error) {
	bound, err := g.sockets.Listen(addr)
	if err == nil {
		text := bound.String()
		g.address.Store(&text)
	}
	return bound, err
}

// info is what other gateways are told of this one.
func (g *Gateway) info() cluster.Info {
	i := cluster.Info{Name: g.opt.Name, Version: g.opt.Version}
	if address := g.address.Load(); address != nil {
		i.Address, i.Connections = *address, g.sockets.Stats().Connections
	}
	return i
}

// Serve accepts connections until Drain or Close, and then returns ErrClosed.
func (g *Gateway) Serve() error { return g.sockets.Serve() }

// drainSpread is the time over which a draining gateway's clients are sent away, so that they do not all arrive
// elsewhere at once, and drainSteps in how many steps.
const (
	drainSpread = 2 * time.Second
	drainSteps  = 20
)

// Drain stops accepting and asks every client to go elsewhere, spread over a short time or what ctx leaves. Messages
// that wait for their sockets still leave.
func (g *Gateway) Drain(ctx context.Context) error {
	g.once.Do(func() { close(g.draining) })
	err := g.sockets.StopAccepting()
	t := time.NewTicker(drainSpread / drainSteps)
	defer t.Stop()
	for st := g.sockets.Stats(); st.Connections > st.HTTP; st = g.sockets.Stats() {
		clients := g.clients() // who was still connecting is among them in a later round
		for some := range slices.Chunk(clients, len(clients)/drainSteps+1) {
			for i, cl := range some {
				cl.session.Drain(time.Duration(i) * time.Millisecond)
			}
			select {
			case <-t.C:
			case <-ctx.Done():
			}
		}
		select {
		case <-t.C:
		case <-ctx.Done():
			return errors.Join(err, context.Cause(ctx))
		}
		g.sockets.EndOpening()
	}
	return err
}

// clients are those that have connected and are not being closed.
func (g *Gateway) clients() (clients []*client) {
	g.sockets.Each(func(c *transport.Conn) {
		if m, ok := c.Receiver().(member); ok {
			clients = append(clients, m.base())
		}
	})
	return clients
}

// Close ends every connection and closes what New opened, in reverse order.
func (g *Gateway) Close() error {
	g.once.Do(func() { close(g.draining) })
	return g.closeParts()
}

func (g *Gateway) deliver(batch []*streams.Message) {
	stored := batch[0].Time
	g.hub.Deliver(batch)
	g.metrics.latency.Observe(max(0, time.Duration(time.Now().UnixNano()-stored).Seconds()))
}

// handler serves every request that is no WebSocket upgrade.
func (g *Gateway) handler() http.Handler { return newHTTP(g) }
