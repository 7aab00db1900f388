package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/config"
)

// setting is one value of the configuration that has a flag and an environment variable.
type setting struct {
	name  string // of the flag
	usage string
	field func(*config.Config) any // a pointer to where it goes
}

const configFlag, secretVariable = "config", "JETWIRE_TOKEN_SECRET"

// These say which data directory and which secret: client commands need them, too, in order to sign for themselves.
var dataSettings = []setting{
	{"data", "`DIR`ectory of the secret and the embedded store", func(c *config.Config) any { return &c.Data }},
	{"token-secret-file", "`FILE` with the secret that signs tokens; without one a secret is made in the data directory (in the environment also the secret itself: " + secretVariable + ")",
		func(c *config.Config) any { return &c.Token.SecretFile }},
}

var serverSettings = []setting{
	{"listen", "`HOST:PORT` for WebSockets and HTTP; port 0 takes a free one", func(c *config.Config) any { return &c.Listen }},
	{"tls-cert", "`FILE` with the certificate chain (PEM)", func(c *config.Config) any { return &c.TLS.Cert }},
	{"tls-key", "`FILE` with the certificate's key (PEM)", func(c *config.Config) any { return &c.TLS.Key }},
	{"api-key", "`KEY`s for operators and backends, which open the server API; better given in the environment, since other users can see flags; a configuration file can give each a name and scopes", func(c *config.Config) any { return &c.API.Keys }},
	{"unified", "serve unified sockets at /socket/, and their tokens and messages at /websocket/", func(c *config.Config) any { return &c.Unified.Enabled }},
	{"unified-prefix", "`PATH` before /websocket/token and /websocket/message", func(c *config.Config) any { return &c.Unified.Prefix }},
	{"unified-public-url", "`URL` at which clients reach unified sockets, such as wss://rt.example.com; needed behind a proxy", func(c *config.Config) any { return &c.Unified.PublicURL }},
	{"unified-client-to-client", "who may send to clients of the unified service: signed-in, granted, own (those of the same unique id) or server (no client)", func(c *config.Config) any { return &c.Unified.ClientToClient }},
	{"unified-token-life", "`TIME` in which the token of a unified socket has to be used", func(c *config.Config) any { return &c.Unified.TokenLife }},
	{"insecure-no-tls", "accept that other machines connect without TLS, because a proxy encrypts or the network is trusted", func(c *config.Config) any { return &c.InsecureNoTLS }},
	{"token-public-keys", "PEM `FILE`s with public keys of who else issues tokens (RSA, ECDSA, Ed25519)", func(c *config.Config) any { return &c.Token.PublicKeys }},
	{"token-jwks", "`URL` of a set of public keys (JWKS) of who else issues tokens", func(c *config.Config) any { return &c.Token.JWKS }},
	{"token-issuers", "what a token's `ISS` may be; without one anything", func(c *config.Config) any { return &c.Token.Issuers }},
	{"token-audiences", "what a token's `AUD` has to name one of; without one jetwire, if it is there", func(c *config.Config) any { return &c.Token.Audiences }},
	{"token-leeway", "`TIME` by which the clocks of those who issue tokens may differ", func(c *config.Config) any { return &c.Token.Leeway }},
	{"token-max-lifetime", "longest `TIME` from a token's iat to its exp, which both must be there then; 0: any", func(c *config.Config) any { return &c.Token.MaxLifetime }},
	{"origins", "`ORIGIN`s of web pages that may connect, besides the server's own, such as https://app.example.com; * for all", func(c *config.Config) any { return &c.Origins }},
	{"nats", "`URL` of an external NATS server with JetStream, instead of the embedded one", func(c *config.Config) any { return &c.NATS.URL }},
	{"nats-creds", "`FILE` with credentials for the external NATS server", func(c *config.Config) any { return &c.NATS.Creds }},
	{"nats-listen", "`HOST:PORT` at which other programs reach the embedded NATS server, as user jetwire with the password in DATA/nats-password", func(c *config.Config) any { return &c.NATS.Listen }},
	{"nats-max-store", "`SIZE` on disk that the embedded NATS server may use; 0: three quarters of what is free", func(c *config.Config) any { return &c.NATS.MaxStore }},
	{"nats-max-memory", "`SIZE` of memory streams; 0: three quarters of the machine's memory", func(c *config.Config) any { return &c.NATS.MaxMemory }},
	{"nats-sync-pause", "least `TIME` between two syncs of the embedded store while messages keep coming; each serves all who wait", func(c *config.Config) any { return &c.NATS.SyncPause }},
	{"sync", "sync the embedded store before anything is answered or delivered, so that it survives a power cut, where a namespace says nothing else (on Linux)", func(c *config.Config) any { return &c.Sync }},
	{"allow-shrink", "let a namespace's smaller limit delete stored messages", func(c *config.Config) any { return &c.AllowShrink }},
	{"max-connections", "connections in all; 0: as many as the descriptor limit allows", func(c *config.Config) any { return &c.Limits.Connections }},
	{"max-connections-per-address", "connections of one address, IPv6 by /64; 0: no limit", func(c *config.Config) any { return &c.Limits.ConnectionsPerAddress }},
	{"max-subscriptions", "subscriptions of one connection", func(c *config.Config) any { return &c.Limits.Subscriptions }},
	{"max-in-flight", "commands of one connection that wait for answers", func(c *config.Config) any { return &c.Limits.InFlight }},
	{"max-message", "`SIZE` of a WebSocket message from a client", func(c *config.Config) any { return &c.Limits.MessageBytes }},
	{"max-body", "`SIZE` of a message's body where its namespace names none", func(c *config.Config) any { return &c.Limits.BodyBytes }},
	{"queue-bytes", "`SIZE` that may wait for one socket before it leaves the live path and catches up", func(c *config.Config) any { return &c.Limits.QueueBytes }},
	{"handshake-bytes", "`SIZE` of an upgrade request", func(c *config.Config) any { return &c.Limits.HandshakeBytes }},
	{"handshake-timeout", "`TIME` from accept until connect is answered", func(c *config.Config) any { return &c.Limits.HandshakeTimeout }},
	{"ping-interval", "`TIME` of silence after which a connection is pinged; after two it is closed", func(c *config.Config) any { return &c.Limits.PingInterval }},
	{"stall-timeout", "`TIME` after which a socket that accepts nothing is closed, to come back", func(c *config.Config) any { return &c.Limits.StallTimeout }},
	{"ack-wait", "`TIME` without an ack after which a device's messages are sent again", func(c *config.Config) any { return &c.Limits.AckWait }},
	{"max-unacked", "messages of one subscription of a device that wait for acks", func(c *config.Config) any { return &c.Limits.Unacked }},
	{"max-devices-per-user", "devices of one user; past it the one used longest ago is forgotten", func(c *config.Config) any { return &c.Limits.DevicesPerUser }},
	{"commands-per-second", "`NUMBER` of commands of one connection, pings included; who goes on far beyond is closed; 0: no limit", func(c *config.Config) any { return &c.Limits.CommandsPerSecond }},
	{"commands-burst", "commands of one connection at once; 0: as many as in a second", func(c *config.Config) any { return &c.Limits.CommandsBurst }},
	{"user-messages-per-second", "`NUMBER` of messages that one user publishes, through all gateways together (approximately); 0: no limit", func(c *config.Config) any { return &c.Limits.UserMessagesPerSecond }},
	{"user-messages-burst", "messages of one user at once; 0: as many as in a second", func(c *config.Config) any { return &c.Limits.UserMessagesBurst }},
	{"connects-per-second-per-address", "`NUMBER` of connections that one address may make, IPv6 by /64; one with a bad token counts as five; 0: no limit (leave it so behind a proxy, which all come from)", func(c *config.Config) any { return &c.Limits.ConnectsPerSecondPerAddress }},
	{"connects-burst-per-address", "connections of one address at once; 0: as many as in a second", func(c *config.Config) any { return &c.Limits.ConnectsBurstPerAddress }},
	{"max-calls", "calls to backends under way", func(c *config.Config) any { return &c.Limits.Calls }},
	{"max-calls-per-namespace", "calls under way to destinations of one namespace", func(c *config.Config) any { return &c.Limits.CallsPerNamespace }},
	{"call-timeout", "`TIME` that a call may wait for its backend, at most", func(c *config.Config) any { return &c.Limits.CallTimeout }},
	{"call-reply-bytes", "`SIZE` of a backend's answer to a call; no more than --queue-bytes", func(c *config.Config) any { return &c.Limits.CallReplyBytes }},
	{"commands-max-age", "`TIME` after which a command that no backend has handled is dropped; 0: never", func(c *config.Config) any { return &c.Commands.MaxAge }},
	{"commands-max-bytes", "`SIZE` of the commands that wait for backends; past it more are refused", func(c *config.Config) any { return &c.Commands.MaxBytes }},
	{"dead-letters-max-age", "`TIME` for which is kept what could not be delivered", func(c *config.Config) any { return &c.DeadLetters.MaxAge }},
	{"dead-letters-max-bytes", "`SIZE` of what could not be delivered; past it the oldest go", func(c *config.Config) any { return &c.DeadLetters.MaxBytes }},
	{"device-expiry", "`TIME` after which a device that nobody uses is forgotten", func(c *config.Config) any { return &c.Devices.Expiry }},
	{"publish-timeout", "`TIME` that the log may take to acknowledge a message", func(c *config.Config) any { return &c.Limits.PublishTimeout }},
	{"max-request", "`SIZE` of one request to the server API; 0: 1 MiB, or twice max-message", func(c *config.Config) any { return &c.Limits.RequestBytes }},
	{"max-requests", "requests to the server API that are served at a time; more are refused for now", func(c *config.Config) any { return &c.Limits.Requests }},
	{"history-page", "messages of one page of history", func(c *config.Config) any { return &c.Limits.HistoryPage }},
	{"max-unlisted-namespaces", "namespaces that may come to be without being listed", func(c *config.Config) any { return &c.Limits.UnlistedNamespaces }},
	{"index-memory", "`SIZE` of the indexes of all streams", func(c *config.Config) any { return &c.Memory.IndexBytes }},
	{"ring-memory", "`SIZE` of the recent messages kept for each stream", func(c *config.Config) any { return &c.Memory.RingBytes }},
	{"portable", "use goroutines instead of epoll, as on systems without it", func(c *config.Config) any { return &c.Portable }},
	{"loops", "epoll loops; 0: one for each CPU", func(c *config.Config) any { return &c.Loops }},
	{"drain-timeout", "`TIME` that clients get to leave when the server ends", func(c *config.Config) any { return &c.DrainTimeout }},
	{"log-level", "debug, info, warn or error", func(c *config.Config) any { return &c.Log.Level }},
	{"log-format", "auto (text on a terminal, JSON otherwise), text or json", func(c *config.Config) any { return &c.Log.Format }},
}

func variable(flag string) string {
	return "JETWIRE_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func configFlagDef() cli.Flag {
	return &cli.StringFlag{Name: configFlag, Usage: "YAML `FILE` with the configuration", EnvVars: []string{variable(configFlag)}}
}

// settingFlags makes the flags of settings; what they hold without being set is not used.
func settingFlags(groups ...[]setting) []cli.Flag {
	defaults := config.Default()
	var flags []cli.Flag
	for _, g := range groups {
		for _, s := range g {
			env := []string{variable(s.name)}
			dflt := fmt.Sprint(deref(s.field(&defaults)))
			switch s.field(&defaults).(type) {
			case *bool:
				flags = append(flags, &cli.BoolFlag{Name: s.name, Usage: s.usage, EnvVars: env, DefaultText: dflt})
			case *float64:
				flags = append(flags, &cli.Float64Flag{Name: s.name, Usage: s.usage, EnvVars: env, DefaultText: dflt})
			case *int:
				flags = append(flags, &cli.IntFlag{Name: s.name, Usage: s.usage, EnvVars: env, DefaultText: dflt})
			case *[]string, *[]config.APIKey:
				flags = append(flags, &cli.StringSliceFlag{Name: s.name, Usage: s.usage, EnvVars: env})
			case *config.Size:
				flags = append(flags, &cli.GenericFlag{Name: s.name, Usage: s.usage, EnvVars: env, DefaultText: dflt, Value: new(config.Size)})
			case *config.Duration:
				flags = append(flags, &cli.GenericFlag{Name: s.name, Usage: s.usage, EnvVars: env, DefaultText: dflt, Value: new(config.Duration)})
			default:
				flags = append(flags, &cli.StringFlag{Name: s.name, Usage: s.usage, EnvVars: env, DefaultText: dflt})
			}
		}
	}
	return flags
}

func deref(p any) any {
	switch p := p.(type) {
	case *bool:
		return *p
	case *int:
		return *p
	case *float64:
		return *p
	case *string:
		return *p
	case *config.Size:
		return *p
	case *config.Duration:
		return *p
	}
	return ""
}

// apply lays the settings that the flags or the environment give over cfg.
func apply(c *cli.Context, cfg *config.Config, settings []setting) {
	for _, s := range settings {
		if !c.IsSet(s.name) || blank(c, s.name) {
			continue
		}
		switch p := s.field(cfg).(type) {
		case *bool:
			*p = c.Bool(s.name)
		case *int:
			*p = c.Int(s.name)
		case *float64:
			*p = c.Float64(s.name)
		case *string:
			*p = c.String(s.name)
		case *[]string:
			*p = nil
			for _, list := range c.StringSlice(s.name) {
				*p = append(*p, strings.Split(list, ",")...)
			}
		case *[]config.APIKey:
			*p = nil
			for _, list := range c.StringSlice(s.name) {
				*p = append(*p, config.APIKeys(strings.Split(list, ",")...)...)
			}
		case *config.Size:
			*p = *c.Generic(s.name).(*config.Size)
		case *config.Duration:
			*p = *c.Generic(s.name).(*config.Duration)
		}
	}
}

// blank says whether a setting comes from an environment variable that is empty, which means the same as none.
func blank(c *cli.Context, name string) bool {
	value, ok := os.LookupEnv(variable(name))
	return ok && value == "" && fmt.Sprint(c.Value(name)) == ""
}

// load returns the configuration: the defaults, over them the file, the environment and the flags.
func load(c *cli.Context, groups ...[]setting) (config.Config, error) {
	cfg := config.Default()
	if path := c.String(configFlag); path != "" {
		if err := cfg.ReadFile(path); err != nil {
			return cfg, &usageError{err}
		}
	}
	// Of the two ways to name a secret the later one counts, not both.
	if secret, ok := os.LookupEnv(secretVariable); ok && secret != "" {
		cfg.Token.Secret, cfg.Token.SecretFile = secret, ""
	}
	if c.IsSet("token-secret-file") {
		if os.Getenv(secretVariable) != "" && os.Getenv(variable("token-secret-file")) != "" {
			return cfg, usagef("%s and %s are both given", secretVariable, variable("token-secret-file"))
		}
		cfg.Token.Secret, cfg.Token.SecretFile = "", ""
	}
	for _, g := range groups {
		apply(c, &cfg, g)
	}
	if err := cfg.Check(); err != nil {
		return cfg, &usageError{err}
	}
	return cfg, nil
}
