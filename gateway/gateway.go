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
	"github.com/jetwire/jetwire/gateway/wire"
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
}

// New opens the log and makes a Gateway; ctx bounds how long that may take. Close must be called.
func New(ctx context.Context, o Options) (*Gateway, error) {
	if o.Verifier == nil || o.Streams.Connect == nil {
		return nil, errors.New("gateway: Options needs Verifier and Streams.Connect")
	}
	o = o.withDefaults()
	if o.Metrics == nil {
		o.Metrics = newRegistry()
	}
	g := &Gateway{opt: o, limits: newLimits(&o.Limits), sweeper: newSweeper(), draining: make(chan struct{})}
	g.metrics = newMetrics(g)
	g.hub = hub.New(hub.Options{
		Message: messageFrame, Gap: gapFrame, Flush: flush, TooSlow: tooSlow,
		PageBytes: min(hub.DefaultPageBytes, o.Limits.QueueBytes*3/4), // a page is to fit an empty queue
		AckWait:   o.Limits.AckWait, MaxUnacked: o.Limits.Unacked, Logger: o.Logger,
	})
	so := o.Streams
	so.Deliver, so.Reset = g.deliver, g.hub.Reset
	log, err := streams.Open(ctx, so)
	if err != nil {
		g.hub.Close()
		return nil, err
	}
	g.log = log
	do := o.Devices
	do.Connect, do.Synced = so.Connect, log.Synced
	if g.devices, err = devices.Open(ctx, do); err != nil {
		g.hub.Close()
		return nil, errors.Join(err, log.Close())
	}
	g.cluster, err = cluster.Open(ctx, cluster.Options{Connect: so.Connect, Info: g.info, Logger: o.Logger})
	if err != nil {
		g.hub.Close()
		return nil, errors.Join(err, g.devices.Close(), log.Close())
	}
	ao := o.Access
	ao.Connect, ao.Synced, ao.Revoked = so.Connect, log.Synced, g.sweeper.ring
	if g.access, err = access.Open(ctx, ao); err != nil {
		g.hub.Close()
		return nil, errors.Join(err, g.cluster.Close(), g.devices.Close(), log.Close())
	}
	if g.commands, err = commands.Open(ctx, g.commandOptions()); err != nil {
		g.hub.Close()
		return nil, errors.Join(err, g.access.Close(), g.cluster.Close(), g.devices.Close(), log.Close())
	}
	g.broker = newBroker(g)
	g.limits.share(g.cluster, o.Logger)
	g.everywhere = newEverywhere(g)
	if g.authorizers, err = newAuthorizers(&o); err != nil {
		return nil, errors.Join(err, g.closeParts())
	}
	g.sessions = session.Options{
		Gateway:          g.cluster.ID(),
		Verify:           g.verify,
		Redeem:           g.redeem,
		Revoked:          g.revoked,
		Anonymous:        o.anonymous(),
		Broker:           g.broker,
		Presence:         newGallery(g.broker.ctx, g.broker.work.Go, g.everywhere.presenceForClients).presence,
		Backends:         services{g.commands},
		Ping:             o.Limits.PingInterval,
		RetryWindow:      min(log.RetryWindow(), g.commands.DedupWindow()),
		MaxMessage:       o.Limits.MessageBytes,
		AckWait:          o.Limits.AckWait,
		MaxUnacked:       o.Limits.Unacked,
		MaxSubscriptions: o.Limits.Subscriptions,
		MaxInFlight:      o.Limits.InFlight,
		Limiter:          g.limits.limiter(),
		Authorizer:       g.authorizers.authorizer(),
		Logger:           o.Logger,
		Refused:          g.metrics.refused,
		Now:              time.Now,
	}
	g.api = newAPI(g)
	if g.webhooks, err = newWebhooks(ctx, g); err != nil {
		return nil, errors.Join(err, g.closeParts())
	}
	if g.webhooks != nil && g.webhooks.events != nil {
		g.sessions.Observer = g.webhooks
	}
	g.unified = newUnified(g)
	g.sockets, err = transport.New(g.transportOptions())
	if err != nil {
		return nil, errors.Join(err, g.closeParts())
	}
	g.everywhere.serving.Store(true)
	g.sweeper.start(g.sockets.Each)
	g.service, err = service.Start(service.Options{
		Connect: so.Connect, API: g.api, Gateway: g.cluster.ID(), Release: o.Version, Logger: o.Logger,
	})
	if err != nil {
		return nil, errors.Join(err, g.closeParts())
	}
	o.Metrics.MustRegister(g.metrics)
	return g, nil
}

func (g *Gateway) transportOptions() transport.Options {
	l := g.opt.Limits
	return transport.Options{
		Open:             g.open,
		HTTP:             g.handler(),
		Path:             g.speaksWebSocket,
		Origin:           originAllowed(g.opt.Origins),
		Connect:          g.limits.connect(),
		Protocols:        []string{wire.Subprotocol},
		TLS:              g.opt.TLS,
		Portable:         g.opt.Portable,
		Loops:            g.opt.Loops,
		HandshakeTimeout: l.HandshakeTimeout,
		HandshakeBytes:   l.HandshakeBytes,
		PingInterval:     l.PingInterval,
		StallTimeout:     l.StallTimeout,
		MaxMessage:       l.MessageBytes,
		QueueBytes:       l.QueueBytes,
		MaxConns:         l.Connections,
		MaxConnsPerAddr:  l.ConnectionsPerAddr,
		Logger:           g.opt.Logger,
	}
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

func (g *Gateway) closeParts() error {
	var errs []error
	g.sweeper.close()
	if g.service != nil {
		g.service.Close()
	}
	if g.sockets != nil {
		errs = append(errs, g.sockets.Close())
	}
	if g.authorizers != nil {
		errs = append(errs, g.authorizers.close())
	}
	if g.webhooks != nil {
		g.webhooks.close()
	}
	g.broker.close()
	g.limits.close()
	g.hub.Close()
	errs = append(errs, g.commands.Close(), g.access.Close(), g.cluster.Close(), g.devices.Close(), g.log.Close())
	return errors.Join(errs...)
}

func (g *Gateway) deliver(batch []*streams.Message) {
	stored := batch[0].Time
	g.hub.Deliver(batch)
	g.metrics.latency.Observe(max(0, time.Duration(time.Now().UnixNano()-stored).Seconds()))
}

// handler serves every request that is no WebSocket upgrade.
func (g *Gateway) handler() http.Handler { return newHTTP(g) }
