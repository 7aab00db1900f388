package gateway

import (
	"context"
	"errors"
	"slices"
	"time"

	"golang.org/x/time/rate"

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
	for _, open := range []func(context.Context) error{g.openLog, g.openStores, g.openServices, g.openDoors} {
		if err := open(ctx); err != nil {
			return nil, errors.Join(err, g.closeParts())
		}
	}
	o.Metrics.MustRegister(g.metrics)
	return g, nil
}

// closing has something closed that was opened.
func (g *Gateway) closing(f func() error) { g.closers = append(g.closers, f) }

// ending is closing for what cannot fail.
func (g *Gateway) ending(f func()) {
	g.closing(func() error { f(); return nil })
}

// closeParts closes what was opened, in reverse order, and tries each.
func (g *Gateway) closeParts() error {
	var errs []error
	for _, f := range slices.Backward(g.closers) {
		errs = append(errs, f())
	}
	return errors.Join(errs...)
}

// openLog opens the log, whose messages go to the hub.
func (g *Gateway) openLog(ctx context.Context) (err error) {
	g.hub = hub.New(hub.Options{
		Message: messageFrame, Gap: gapFrame, Flush: flush, TooSlow: tooSlow,
		PageBytes: min(hub.DefaultPageBytes, g.opt.Limits.QueueBytes*3/4), // a page is to fit an empty queue
		AckWait:   g.opt.Limits.AckWait, MaxUnacked: g.opt.Limits.Unacked, Logger: g.opt.Logger,
	})
	o := g.opt.Streams
	o.Deliver, o.Reset = g.deliver, g.hub.Reset
	if g.log, err = streams.Open(ctx, o); err != nil {
		g.hub.Close()
		return err
	}
	g.closing(g.log.Close)
	g.ending(g.hub.Close)
	return nil
}

// openStores opens what is kept in JetStream besides the log, and finds the other gateways.
func (g *Gateway) openStores(ctx context.Context) (err error) {
	connect := g.opt.Streams.Connect
	do := g.opt.Devices
	do.Connect, do.Synced = connect, g.log.Synced
	if g.devices, err = devices.Open(ctx, do); err != nil {
		return err
	}
	g.closing(g.devices.Close)
	if g.cluster, err = cluster.Open(ctx, cluster.Options{Connect: connect, Info: g.info, Logger: g.opt.Logger}); err != nil {
		return err
	}
	g.closing(g.cluster.Close)
	ao := g.opt.Access
	ao.Connect, ao.Synced, ao.Revoked = connect, g.log.Synced, g.sweeper.ring
	if g.access, err = access.Open(ctx, ao); err != nil {
		return err
	}
	g.closing(g.access.Close)
	if g.commands, err = commands.Open(ctx, g.commandOptions()); err != nil {
		return err
	}
	g.closing(g.commands.Close)
	return nil
}

// openServices makes what serves sessions and backends.
func (g *Gateway) openServices(ctx context.Context) (err error) {
	g.limits.share(g.cluster, g.opt.Logger)
	g.ending(g.limits.close)
	g.broker = newBroker(g)
	g.ending(g.broker.close)
	g.everywhere = newEverywhere(g)
	if g.authorizers, err = newAuthorizers(&g.opt); err != nil {
		return err
	}
	g.closing(g.authorizers.close)
	g.sessions = g.sessionOptions()
	g.api = newAPI(g)
	if g.webhooks, err = newWebhooks(ctx, g); err != nil {
		return err
	}
	if g.webhooks != nil {
		g.ending(g.webhooks.close)
		if g.webhooks.events != nil {
			g.sessions.Observer = g.webhooks
		}
	}
	g.unified = newUnified(g)
	return nil
}

// openDoors makes the sockets, and offers the server API over NATS.
func (g *Gateway) openDoors(context.Context) (err error) {
	if g.sockets, err = transport.New(g.transportOptions()); err != nil {
		return err
	}
	g.closing(g.sockets.Close)
	g.everywhere.serving.Store(true)
	g.service, err = service.Start(service.Options{
		Connect: g.opt.Streams.Connect, API: g.api, Gateway: g.cluster.ID(), Release: g.opt.Version, Logger: g.opt.Logger,
	})
	if err != nil {
		return err
	}
	g.ending(g.service.Close)
	g.sweeper.start(g.sockets.Each)
	g.ending(g.sweeper.close)
	return nil
}

func (g *Gateway) sessionOptions() session.Options {
	l := &g.opt.Limits
	return session.Options{
		Gateway:          g.cluster.ID(),
		Verify:           g.verify,
		Redeem:           g.redeem,
		Revoked:          g.revoked,
		Anonymous:        g.opt.anonymous(),
		Broker:           g.broker,
		Presence:         newGallery(g.broker.ctx, g.broker.work.Go, g.everywhere.presenceForClients).presence,
		Backends:         services{g.commands},
		Ping:             l.PingInterval,
		RetryWindow:      min(g.log.RetryWindow(), g.commands.DedupWindow()),
		MaxMessage:       l.MessageBytes,
		AckWait:          l.AckWait,
		MaxUnacked:       l.Unacked,
		MaxSubscriptions: l.Subscriptions,
		MaxInFlight:      l.InFlight,
		Limiter:          g.limits.limiter(),
		Authorizer:       g.authorizers.authorizer(),
		Logger:           g.opt.Logger,
		Refusals:         &rate.Sometimes{First: 20, Interval: time.Second},
		Refused:          g.metrics.refused,
		Now:              time.Now,
	}
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
