package gateway

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/callout"
	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/limit"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/access"
	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/cursor"
	"github.com/jetwire/jetwire/streams/devices"
	"github.com/jetwire/jetwire/streams/events"
)

// Defaults of Limits that this package owns; the others are transport's.
const (
	DefaultSubscriptions = 128
	DefaultInFlight      = 1024
	DefaultHistoryPage   = 1000
)

// Path is where WebSockets are accepted.
const Path = "/ws"

// Options configures a Gateway. Streams.Connect and Verifier are required.
type Options struct {
	// Streams says how to reach NATS and which namespaces there are. Deliver and Reset are the Gateway's own.
	Streams streams.Options
	// Verifier checks the tokens of connect.
	Verifier *auth.Verifier
	// Sign makes the tokens that backends ask for; nil: this server cannot.
	Sign func(auth.Grant) (string, error)
	// APIKeys open what is for operators and backends, each for its scopes.
	APIKeys auth.Keys
	// Rules are those of the listed namespaces; others have DefaultRules. "user" is auth.UserRules unless it is listed. If any is
	// auth.Anyone, clients may connect without a token.
	Rules        map[string]auth.Rules
	DefaultRules auth.Rules
	// Authorizers are asked what tokens and rules cannot say, by name. Name, Logger and Request are the Gateway's own.
	Authorizers map[string]callout.Options
	// Authorizer names those of the namespaces that Rules lists, DefaultAuthorizer that of the others but "user" and "unified". Empty: none.
	Authorizer        map[string]string
	DefaultAuthorizer string
	// CloseSlow are the namespaces whose subscribers are disconnected when their sockets take no more, instead of catching up
	// later. CloseSlowDefault says so of those that Rules does not list.
	CloseSlow        map[string]bool
	CloseSlowDefault bool
	// Devices says how durable sessions are kept. Connect and Synced are the Gateway's own.
	Devices devices.Options
	// Access says how one-time tokens and revocations are kept. Connect, Synced and Revoked are the Gateway's own.
	Access access.Options

	// Commands says how commands are kept, and bounds calls. Connect, Synced, Fault, MaxMessageSize and AllowShrink are those of Streams.
	Commands commands.Options
	// Unified switches the unified service on; nil: it is off.
	Unified *Unified

	// Webhooks are told what happens; all gateways have the same. Events says how what becomes of connections is kept for them, Cursors
	// how it is remembered what they were told. The fields of both that are required, Open and Logger are the Gateway's own.
	Webhooks []Webhook
	Events   events.Options
	Cursors  cursor.Options

	Name    string // of this gateway, for operators; default: the host's
	Version string // of the program, for operators

	TLS *tls.Config // nil: plain
	// Origins are the values of the Origin header from which browsers may connect, such as "https://app.example.com";
	// "*" stands for all. The gateway's own page always may. Clients that are no browsers send none and are not asked.
	Origins  []string
	Portable bool // a goroutine pair for each connection instead of epoll, as on systems without it
	Loops    int  // epoll loops; 0: GOMAXPROCS

	Limits Limits
	// Page is served at /. Default: 404.
	Page http.Handler
	// Metrics is where the gateway registers its metrics, and what /metrics serves. Default: a registry of its own with
	// the process's and Go's metrics.
	Metrics *prometheus.Registry
	Logger  *slog.Logger // default: discard
}

// Limits bounds what clients can make grow. The zero value of each means its default.
type Limits struct {
	Connections        int           // in all; 0: what the descriptor limit allows, less a reserve for the process
	ConnectionsPerAddr int           // of one remote address, IPv6 by /64; 0: no limit
	HandshakeTimeout   time.Duration // from accept until connect is answered
	HandshakeBytes     int           // of the upgrade request
	MessageBytes       int           // of one WebSocket message from a client
	QueueBytes         int           // that wait for one socket; past it subscriptions leave the live path and catch up
	Subscriptions      int           // of one connection
	InFlight           int           // commands of one connection that wait for answers; past it nothing more is read
	HistoryPage        int           // messages of one page
	RequestBytes       int           // of one request to the server API; 0: 1 MiB, or twice MessageBytes
	Requests           int           // to the server API that are served at a time; more are refused for now
	PingInterval       time.Duration // a silent connection is pinged after one and closed after two
	StallTimeout       time.Duration // a socket that accepts nothing for so long is closed; rounded up to ping intervals
	AckWait            time.Duration // without an ack for so long, a durable subscription's messages are sent again
	Unacked            int           // messages of a durable subscription that wait for acks

	Commands     limit.Rate // of one connection, of any kind; one that does not heed refusals is closed
	UserMessages limit.Rate // what one user publishes through all gateways together, as far as limit.Users says
	Connects     limit.Rate // of one remote address, IPv6 by /64; one with a bad token counts as five
}

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	def(&o.Limits.Subscriptions, DefaultSubscriptions)
	def(&o.Limits.InFlight, DefaultInFlight)
	def(&o.Limits.HistoryPage, DefaultHistoryPage)
	def(&o.Limits.MessageBytes, transport.DefaultMaxMessage)
	def(&o.Limits.QueueBytes, transport.DefaultQueueBytes)
	def(&o.Limits.RequestBytes, max(api.DefaultRequestBytes, 2*o.Limits.MessageBytes))
	if o.Limits.PingInterval <= 0 {
		o.Limits.PingInterval = transport.DefaultPingInterval
	}
	def(&o.Limits.Unacked, hub.DefaultMaxUnacked)
	if o.Limits.AckWait <= 0 {
		o.Limits.AckWait = hub.DefaultAckWait
	}
	if o.Name == "" {
		o.Name, _ = os.Hostname()
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Streams.Logger == nil {
		o.Streams.Logger = o.Logger
	}
	if o.Access.Logger == nil {
		o.Access.Logger = o.Logger
	}
	if o.Commands.Logger == nil {
		o.Commands.Logger = o.Logger
	}
	if o.Devices.Logger == nil {
		o.Devices.Logger = o.Logger
	}
	return o
}

// strange reports whether a namespace is neither listed nor provided for, or is where authorizers are asked: a channel there would show
// clients the questions, and its stream would answer them.
func (o *Options) strange(namespace string) bool {
	if o.asksIn(namespace) {
		return true
	}
	_, ruled := o.Rules[namespace]
	return o.Streams.Default == nil && !ruled && !slices.ContainsFunc(o.Streams.Policies, func(p streams.Policy) bool { return p.Namespace == namespace })
}

// asksIn reports whether an authorizer is asked at a subject that would be a channel of the namespace.
func (o *Options) asksIn(namespace string) bool {
	for _, a := range o.Authorizers {
		if len(a.Subject) > len(namespace) && wire.Namespace(a.Subject) == namespace {
			return true
		}
	}
	return false
}

// anonymous reports whether there is anything that a connection without a token may do.
func (o *Options) anonymous() bool {
	open := func(r auth.Rules) bool { return slices.Contains(r[:], auth.Anyone) }
	for _, r := range o.Rules {
		if open(r) {
			return true
		}
	}
	return open(o.DefaultRules)
}

// closesSlow reports whether a namespace wants slow sockets closed.
func (o *Options) closesSlow(namespace string) bool {
	if strict, listed := o.CloseSlow[namespace]; listed {
		return strict
	}
	return o.CloseSlowDefault
}

// originAllowed is transport.Options.Origin for a list of origins.
func originAllowed(origins []string) func(origin, host string) bool {
	return func(origin, host string) bool {
		if slices.Contains(origins, "*") || slices.ContainsFunc(origins, func(o string) bool { return strings.EqualFold(o, origin) }) {
			return true
		}
		u, err := url.Parse(origin)
		return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
	}
}
