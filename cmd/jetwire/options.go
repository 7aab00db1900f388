package main

import (
	"cmp"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/config"
	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/callout"
	"github.com/jetwire/jetwire/gateway/console"
	"github.com/jetwire/jetwire/gateway/limit"
	"github.com/jetwire/jetwire/gateway/unified"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/access"
	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/cursor"
	"github.com/jetwire/jetwire/streams/dead"
	"github.com/jetwire/jetwire/streams/devices"
	"github.com/jetwire/jetwire/streams/events"
)

// userNamespace is there without being configured: its channels user.<id>… are the users' inboxes.
const userNamespace = "user"

type connect = func(name string, extra ...nats.Option) (*nats.Conn, error)

// gatewayOptions translates the configuration, all but the Verifier. This is the only place that knows both sides. signer signs what
// backends ask for; nil: nobody does.
// sync syncs the embedded store; nil: there is none, or it cannot be synced.
func gatewayOptions(cfg *config.Config, signer *auth.Signer, nc connect, sync func() error, log *slog.Logger) (gateway.Options, error) {
	keys, err := cfg.API.Known()
	if err != nil {
		return gateway.Options{}, err
	}
	o := gateway.Options{
		Streams:      streamOptions(cfg, nc, sync, log),
		APIKeys:      keys,
		Rules:        map[string]auth.Rules{},
		DefaultRules: rules(&cfg.Default.Namespace, auth.Rules{}),
		Version:      version(),
		Origins:      cfg.Origins,
		Portable:     cfg.Portable,
		Loops:        cfg.Loops,
		Page:         console.Handler(),
		Logger:       log,
		Limits: gateway.Limits{
			Connections:        cfg.Limits.Connections,
			ConnectionsPerAddr: cfg.Limits.ConnectionsPerAddress,
			HandshakeTimeout:   time.Duration(cfg.Limits.HandshakeTimeout),
			HandshakeBytes:     int(cfg.Limits.HandshakeBytes),
			MessageBytes:       int(cfg.Limits.MessageBytes),
			QueueBytes:         int(cfg.Limits.QueueBytes),
			Subscriptions:      cfg.Limits.Subscriptions,
			InFlight:           cfg.Limits.InFlight,
			HistoryPage:        cfg.Limits.HistoryPage,
			RequestBytes:       int(cfg.Limits.RequestBytes),
			Requests:           cfg.Limits.Requests,
			PingInterval:       time.Duration(cfg.Limits.PingInterval),
			StallTimeout:       time.Duration(cfg.Limits.StallTimeout),
			AckWait:            time.Duration(cfg.Limits.AckWait),
			Unacked:            cfg.Limits.Unacked,
			Commands:           limit.Rate{PerSecond: cfg.Limits.CommandsPerSecond, Burst: cfg.Limits.CommandsBurst},
			UserMessages:       limit.Rate{PerSecond: cfg.Limits.UserMessagesPerSecond, Burst: cfg.Limits.UserMessagesBurst},
			Connects:           limit.Rate{PerSecond: cfg.Limits.ConnectsPerSecondPerAddress, Burst: cfg.Limits.ConnectsBurstPerAddress},
		},
		Authorizers:       map[string]callout.Options{},
		Authorizer:        map[string]string{},
		DefaultAuthorizer: cfg.Default.Authorizer,

		CloseSlow:        map[string]bool{},
		CloseSlowDefault: closesSlow(&cfg.Default.Namespace),
		Devices: devices.Options{
			Expiry:   time.Duration(cfg.Devices.Expiry),
			PerUser:  cfg.Limits.DevicesPerUser,
			Replicas: cmp.Or(cfg.Devices.Replicas, cfg.Default.Replicas),
			Memory:   cfg.Devices.Storage == "memory",
			Logger:   log,
		},
	}
	o.Commands = commandOptions(cfg)
	if o.Webhooks, err = cfg.Endpoints(); err != nil {
		return gateway.Options{}, &usageError{err}
	}
	o.Events = events.Options{
		MaxAge: time.Duration(cfg.Events.MaxAge), MaxBytes: int64(cfg.Events.MaxBytes), Replicas: o.Devices.Replicas, Memory: o.Devices.Memory,
	}
	o.Cursors = cursor.Options{Replicas: o.Devices.Replicas, Memory: o.Devices.Memory}
	if signer != nil {
		o.Sign = signer.Sign
	}
	o.Access = access.Options{
		Keep:     time.Duration(cmp.Or(cfg.Token.KeepRevoked, cfg.Token.MaxLifetime)),
		Replicas: o.Devices.Replicas, Memory: o.Devices.Memory,
	}
	for name, a := range cfg.Authorizers {
		if o.Authorizers[name], err = a.Options(); err != nil {
			return gateway.Options{}, fmt.Errorf("authorizers.%s: %w", name, err)
		}
	}
	for name, ns := range cfg.Namespaces {
		o.Rules[name] = rules(&ns, builtinRules(name))
		o.CloseSlow[name] = closesSlow(&ns)
		o.Authorizer[name] = ns.Authorizer
	}
	if _, listed := cfg.Namespaces[userNamespace]; !listed {
		o.Rules[userNamespace] = auth.UserRules
	}
	if u := cfg.Unified; u.Enabled {
		o.Unified = &gateway.Unified{
			Prefix: u.Prefix, PublicURL: u.PublicURL, ClientToClient: auth.Rule(u.ClientToClient), TokenLife: time.Duration(u.TokenLife),
		}
	}
	if cfg.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(cfg.TLS.Cert, cfg.TLS.Key)
		if err != nil {
			return gateway.Options{}, &usageError{fmt.Errorf("tls: %w", err)}
		}
		o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	}
	return o, nil
}

// commandOptions says how commands are kept. What an embedded store that is small cannot set aside for them is not asked for: see fit.
func commandOptions(cfg *config.Config) commands.Options {
	replicas := cmp.Or(cfg.Commands.Replicas, cfg.Default.Replicas)
	memory := cfg.Commands.Storage == "memory"
	return commands.Options{
		Memory:         memory,
		Replicas:       replicas,
		MaxAge:         time.Duration(cfg.Commands.MaxAge),
		MaxBytes:       int64(cfg.Commands.MaxBytes),
		DedupWindow:    time.Duration(cfg.Commands.DedupWindow),
		Timeout:        time.Duration(cfg.Limits.PublishTimeout),
		Calls:          cfg.Limits.Calls,
		NamespaceCalls: cfg.Limits.CallsPerNamespace,
		MaxCallTimeout: time.Duration(cfg.Limits.CallTimeout),
		MaxReply:       int(min(cfg.Limits.CallReplyBytes, cfg.Limits.QueueBytes)), // which hold it while it waits for its socket
		ServerSyncs:    cfg.Default.Sync == config.SyncAlways,
		Dead: dead.Options{
			Memory: memory, Replicas: replicas, MaxAge: time.Duration(cfg.DeadLetters.MaxAge), MaxBytes: int64(cfg.DeadLetters.MaxBytes),
		},
	}
}

// fit lowers what the streams of commands, dead letters and events may hold where the embedded store is small: JetStream sets it aside.
func fit(o *gateway.Options, store int64) {
	const part = 8
	for _, most := range []*int64{&o.Commands.MaxBytes, &o.Commands.Dead.MaxBytes, &o.Events.MaxBytes} {
		*most = min(*most, max(store/part, 1))
	}
}

func closesSlow(ns *config.Namespace) bool { return ns.Slow == "disconnect" }

// builtinRules are what stands in for the rules that a listed namespace does not name: were the inboxes' rules lost
// because somebody sets their retention, everybody could read them.
func builtinRules(namespace string) auth.Rules {
	switch namespace {
	case userNamespace:
		return auth.UserRules
	case unified.Namespace:
		return unified.Rules
	}
	return auth.Rules{}
}

func rules(ns *config.Namespace, r auth.Rules) auth.Rules {
	for op, rule := range ns.Rules() {
		if rule != "" {
			r[op] = rule
		}
	}
	return r
}

func streamOptions(cfg *config.Config, nc connect, sync func() error, log *slog.Logger) streams.Options {
	o := streams.Options{
		Connect:        nc,
		MaxUnlisted:    cfg.Limits.UnlistedNamespaces,
		AllowShrink:    cfg.AllowShrink,
		Sync:           sync,
		SyncPause:      time.Duration(cfg.NATS.SyncPause),
		MaxMessageSize: int(cfg.Limits.BodyBytes),
		PublishTimeout: time.Duration(cfg.Limits.PublishTimeout),
		IndexBytes:     int64(cfg.Memory.IndexBytes),
		RingBytes:      int64(cfg.Memory.RingBytes),
		Logger:         log,
		Progress:       progress(log),
	}
	policy := func(name string, ns *config.Namespace) streams.Policy {
		p := policy(name, ns)
		p.Sync = ns.Sync == config.SyncOn || ns.Sync == config.SyncDefault && cfg.Sync && sync != nil
		return p
	}
	if !cfg.Default.Off {
		p := policy("", &cfg.Default.Namespace)
		o.Default = &p
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Namespaces)) {
		ns := cfg.Namespaces[name]
		o.Policies = append(o.Policies, policy(name, &ns))
	}
	if _, listed := cfg.Namespaces[userNamespace]; !listed {
		o.Policies = append(o.Policies, policy(userNamespace, &cfg.Default.Namespace))
	}
	if _, listed := cfg.Namespaces[unified.Namespace]; !listed && cfg.Unified.Enabled {
		p := policy(unified.Namespace, &cfg.Default.Namespace)
		if p.MaxAge == 0 { // nobody comes back for what is older
			p.MaxAge = time.Duration(cfg.Devices.Expiry)
		}
		o.Policies = append(o.Policies, p)
	}
	return o
}

func policy(name string, ns *config.Namespace) streams.Policy {
	p := streams.Policy{
		Namespace:      name,
		Replicas:       ns.Replicas,
		MaxAge:         time.Duration(ns.MaxAge),
		MaxPerChannel:  ns.MaxPerChannel,
		MaxBytes:       int64(ns.MaxBytes),
		MaxMessages:    ns.MaxMessages,
		MaxMessageSize: int(ns.MaxMessageSize),
		DedupWindow:    time.Duration(ns.DedupWindow),
		ServerSyncs:    ns.Sync == config.SyncAlways,
	}
	if ns.Storage == "memory" {
		p.Storage = streams.Memory
	}
	return p
}

// largestBody is the size of the largest body that any namespace accepts.
func largestBody(cfg *config.Config) int {
	most := max(cfg.Limits.BodyBytes, cfg.Default.MaxMessageSize)
	for _, ns := range cfg.Namespaces {
		most = max(most, ns.MaxMessageSize)
	}
	return int(most)
}
