package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Check returns everything that is wrong with c, joined. It does not read files, nor ask the network.
func (c *Config) Check() error {
	errs := []error{c.checkAddresses(), c.checkToken(), c.checkLimits(), c.checkCommands(), c.checkAuthorizers(), c.checkWebhooks(), c.Unified.check(), c.Default.check("default", c)}
	if _, err := c.API.Known(); err != nil {
		errs = append(errs, fmt.Errorf("api.keys: %w", err))
	}
	for _, name := range slices.Sorted(maps.Keys(c.Namespaces)) {
		ns := c.Namespaces[name]
		if wire.ValidChannel(name+".x") != nil || strings.Contains(name, ".") {
			errs = append(errs, fmt.Errorf("namespaces.%s: a namespace has letters, digits, _ and -, does not begin with _, and is not jetwire", name))
		}
		errs = append(errs, ns.check("namespaces."+name, c))
	}
	if _, err := c.Log.level(); err != nil {
		errs = append(errs, err)
	}
	if !slices.Contains([]string{"auto", "text", "json"}, c.Log.Format) {
		errs = append(errs, fmt.Errorf("log.format: %q is none of auto, text, json", c.Log.Format))
	}
	return errors.Join(errs...)
}

func (l *Log) level() (slog.Level, error) {
	var v slog.Level
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, l.Level) || v.UnmarshalText([]byte(l.Level)) != nil {
		return 0, fmt.Errorf("log.level: %q is none of debug, info, warn, error", l.Level)
	}
	return v, nil
}

// SlogLevel returns the level of a checked Log.
func (l *Log) SlogLevel() slog.Level { v, _ := l.level(); return v }

func (c *Config) checkAddresses() error {
	var errs []error
	if _, _, err := net.SplitHostPort(c.Listen); err != nil {
		errs = append(errs, fmt.Errorf("listen: %q is not HOST:PORT", c.Listen))
	}
	if (c.TLS.Cert == "") != (c.TLS.Key == "") {
		errs = append(errs, errors.New("tls: cert and key belong together"))
	}
	if c.NATS.URL == "" {
		if c.Data == "" {
			errs = append(errs, ErrNoData)
		}
		if c.NATS.Creds != "" {
			errs = append(errs, errors.New("nats.creds: is for nats.url, which is not given"))
		}
		if c.NATS.Listen != "" {
			if _, _, err := net.SplitHostPort(c.NATS.Listen); err != nil {
				errs = append(errs, fmt.Errorf("nats.listen: %q is not HOST:PORT", c.NATS.Listen))
			}
		}
	} else if c.NATS.Listen != "" || c.NATS.MaxStore != 0 || c.NATS.MaxMemory != 0 {
		errs = append(errs, errors.New("nats: listen, max_store and max_memory are for the embedded server; url names another one"))
	}
	for i, s := range strings.Split(c.NATS.URL, ",") {
		// The error of url.Parse would show the URL, which may hold a password.
		if _, err := parseNATS(s); err != nil {
			errs = append(errs, fmt.Errorf("nats.url: number %d is no URL; in a password, %% and what is special in URLs need to be written as %%XX", i+1))
		}
	}
	for _, o := range c.Origins {
		u, err := url.Parse(o)
		if o != "*" && (err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" || u.RawQuery != "") {
			errs = append(errs, fmt.Errorf("origins: %q is not like https://app.example.com, nor *", o))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) checkLimits() error {
	l := &c.Limits
	var errs []error
	for _, f := range []struct {
		name      string
		value     int64
		least     int64
		unlimited bool // 0 is allowed
	}{
		{"limits.connections", int64(l.Connections), 1, true},
		{"limits.connections_per_address", int64(l.ConnectionsPerAddress), 1, true},
		{"limits.subscriptions", int64(l.Subscriptions), 1, false},
		{"limits.in_flight", int64(l.InFlight), 1, false},
		{"limits.message_bytes", int64(l.MessageBytes), 1 << 10, false},
		{"limits.body_bytes", int64(l.BodyBytes), 1, false},
		{"limits.queue_bytes", int64(l.QueueBytes), 4 << 10, false},
		{"limits.handshake_bytes", int64(l.HandshakeBytes), 512, false},
		{"limits.handshake_timeout", int64(l.HandshakeTimeout), 1e6, false},
		{"limits.ping_interval", int64(l.PingInterval), 1e6, false},
		{"limits.publish_timeout", int64(l.PublishTimeout), 1e6, false},
		{"limits.request_bytes", int64(l.RequestBytes), 1 << 10, true},
		{"limits.requests", int64(l.Requests), 1, false},
		{"limits.history_page", int64(l.HistoryPage), 1, false},
		{"limits.unlisted_namespaces", int64(l.UnlistedNamespaces), 1, false},
		{"limits.stall_timeout", int64(l.StallTimeout), 1e6, false},
		{"limits.ack_wait", int64(l.AckWait), 1e7, false},
		{"limits.unacked", int64(l.Unacked), 1, false},
		{"limits.devices_per_user", int64(l.DevicesPerUser), 1, false},
		{"limits.calls", int64(l.Calls), 1, false},
		{"limits.calls_per_namespace", int64(l.CallsPerNamespace), 1, false},
		{"limits.call_timeout", int64(l.CallTimeout), 1e6, false},
		{"limits.call_reply_bytes", int64(l.CallReplyBytes), 1, false},
		{"commands.max_bytes", int64(c.Commands.MaxBytes), 64 << 10, false},
		{"commands.dedup_window", int64(c.Commands.DedupWindow), 1e8, false},
		{"dead_letters.max_age", int64(c.DeadLetters.MaxAge), 1e9, false},
		{"dead_letters.max_bytes", int64(c.DeadLetters.MaxBytes), 64 << 10, false},
		{"devices.expiry", int64(c.Devices.Expiry), 1e9, false},
		{"memory.index_bytes", int64(c.Memory.IndexBytes), 1 << 16, false},
		{"memory.ring_bytes", int64(c.Memory.RingBytes), 1 << 10, false},
		{"drain_timeout", int64(c.DrainTimeout), 1e6, false},
		{"loops", int64(c.Loops), 1, true},
	} {
		if f.value < f.least && !(f.unlimited && f.value == 0) {
			errs = append(errs, fmt.Errorf("%s: too small", f.name))
		}
	}
	for _, f := range []struct {
		name      string
		rate      float64
		burstName string
		burst     int
	}{
		{"limits.commands_per_second", l.CommandsPerSecond, "limits.commands_burst", l.CommandsBurst},
		{"limits.user_messages_per_second", l.UserMessagesPerSecond, "limits.user_messages_burst", l.UserMessagesBurst},
		{"limits.connects_per_second_per_address", l.ConnectsPerSecondPerAddress, "limits.connects_burst_per_address", l.ConnectsBurstPerAddress},
	} {
		const most = 1_000_000_000
		if !(f.rate >= 0 && f.rate <= most) {
			errs = append(errs, fmt.Errorf("%s: want 0 to %d", f.name, most))
		}
		if f.burst < 0 || f.burst > most {
			errs = append(errs, fmt.Errorf("%s: want 0 to %d", f.burstName, most))
		} else if f.rate == 0 && f.burst > 0 {
			errs = append(errs, fmt.Errorf("%s: says nothing without %s", f.burstName, f.name))
		}
	}
	for _, f := range []struct {
		name  string
		value Size
	}{{"limits.message_bytes", l.MessageBytes}, {"limits.queue_bytes", l.QueueBytes}, {"limits.handshake_bytes", l.HandshakeBytes}} {
		if f.value > 1<<30 {
			errs = append(errs, fmt.Errorf("%s: more than 1GiB", f.name))
		}
	}
	if l.Unacked > 1<<16 {
		errs = append(errs, errors.New("limits.unacked: more than 65536"))
	}
	if s := c.Devices.Storage; s != "" && s != "file" && s != "memory" {
		errs = append(errs, fmt.Errorf("devices.storage: %q is neither file nor memory", s))
	}
	if r := c.Devices.Replicas; r < 0 || r > 5 {
		errs = append(errs, errors.New("devices.replicas: NATS keeps 1 to 5"))
	} else if r > 1 && c.NATS.URL == "" {
		errs = append(errs, errors.New("devices.replicas: the embedded NATS server is one; more need a cluster, which nats.url names"))
	}
	if l.BodyBytes >= l.MessageBytes {
		errs = append(errs, errors.New("limits.body_bytes: must be less than limits.message_bytes, which holds the whole command"))
	}
	return errors.Join(errs...)
}

func (n *Namespace) check(name string, c *Config) error {
	var errs []error
	add := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s.%s: %w", name, field, fmt.Errorf(format, args...)))
	}
	if n.Storage != "" && n.Storage != "file" && n.Storage != "memory" {
		add("storage", "%q is neither file nor memory", n.Storage)
	}
	if n.Slow != "" && n.Slow != "catch-up" && n.Slow != "disconnect" {
		add("slow", "%q is neither catch-up nor disconnect", n.Slow)
	}
	if _, ok := c.Authorizers[n.Authorizer]; n.Authorizer != "" && !ok {
		add("authorizer", "there is no authorizers.%s", n.Authorizer)
	}
	if n.Replicas < 0 || n.Replicas > 5 {
		add("replicas", "NATS keeps 1 to 5")
	}
	if n.Replicas > 1 && c.NATS.URL == "" {
		add("replicas", "the embedded NATS server is one; more need a cluster, which nats.url names")
	}
	switch {
	case n.Sync == SyncOn && c.NATS.URL != "":
		add("sync", "only the embedded store can be synced from here; if the external servers do it before they acknowledge (sync_interval: always), say sync: always")
	case n.Sync == SyncAlways && c.NATS.URL == "":
		add("sync", "always is said of external NATS servers, which nats.url names; the embedded store is synced with true")
	}
	if n.MaxPerChannel < 0 {
		add("max_per_channel", "is negative")
	}
	if n.MaxMessages < 0 {
		add("max_messages", "is negative")
	}
	if n.MaxMessageSize != 0 && n.MaxMessageSize >= c.Limits.MessageBytes {
		add("max_message_size", "must be less than limits.message_bytes, which holds the whole command")
	}
	if n.MaxAge != 0 && n.MaxAge < 1e8 {
		add("max_age", "NATS wants at least 100ms")
	}
	if n.DedupWindow != 0 && n.DedupWindow < 1e8 {
		add("dedup_window", "NATS wants at least 100ms")
	}
	for op, rule := range n.Rules() {
		if err := rule.Check(); err != nil {
			add(auth.Op(op).String(), "%w", err)
		}
	}
	return errors.Join(errs...)
}

// ErrUnsafe is wrapped by what CheckListen returns.
var ErrUnsafe = errors.New("refusing to listen")

// CheckListen refuses addresses that others can reach unless what protects them was chosen: a secret of the operator's
// own, and TLS or the word that something else encrypts. resolve finds the addresses of a host name.
func (c *Config) CheckListen(ctx context.Context, resolve func(context.Context, string) ([]net.IPAddr, error)) error {
	local, err := loopback(ctx, c.Listen, resolve)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if !local {
		var missing []string
		if !c.HasKeys() {
			missing = append(missing, "a token secret of your own: --token-secret-file FILE, or JETWIRE_TOKEN_SECRET (at least 32 bytes; `openssl rand -base64 32` makes one); or public keys: --token-public-keys, --token-jwks")
		}
		if c.TLS.Cert == "" && !c.InsecureNoTLS {
			missing = append(missing, "TLS: --tls-cert FILE --tls-key FILE; or --insecure-no-tls, if a proxy in front encrypts or the network is trusted")
		}
		if missing != nil {
			return fmt.Errorf("%w on %s, which other machines can reach, without\n  - %s", ErrUnsafe, c.Listen, strings.Join(missing, "\n  - "))
		}
	}
	if c.NATS.Listen == "" {
		return nil
	}
	if local, err = loopback(ctx, c.NATS.Listen, resolve); err != nil {
		return fmt.Errorf("nats.listen: %w", err)
	}
	if !local && !c.InsecureNoTLS {
		return fmt.Errorf("%w for NATS on %s, which other machines can reach: its connections are not encrypted; say --insecure-no-tls if the network is trusted", ErrUnsafe, c.NATS.Listen)
	}
	return nil
}

// loopback says whether only this machine can reach an address.
func loopback(ctx context.Context, addr string, resolve func(context.Context, string) ([]net.IPAddr, error)) (bool, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return false, err
	}
	if host == "" {
		return false, nil
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback(), nil
	}
	ips, err := resolve(ctx, host)
	if err != nil {
		return false, err
	}
	for _, ip := range ips {
		if !ip.IP.IsLoopback() {
			return false, nil
		}
	}
	return len(ips) > 0, nil
}
