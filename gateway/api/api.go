// Package api is what backends may ask of Jetwire: publish, read history, see who is there, disconnect, make tokens. Each
// operation is one line of one table, which knows no transport; HTTP (this package) and NATS (package api/service) are adapters over it,
// and README.md shows both.
//
// What holds: a caller's scope is checked before its request is read, and its key before its body is; a request that is not
// understood to the last byte is refused with the name of the field; everything that a request can make grow is bounded.
//
// The package knows requests, replies and codes. It sees no NATS, no socket and no stream: the gateway does what operations ask for.
package api

import (
	"context"
	"log/slog"
	"strconv"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Log stores messages and reads them.
type Log interface {
	// Publish calls done once, from any goroutine, perhaps before it returns. What is published first to a channel stands first in it.
	Publish(p Publication, done func(wire.PublishReply, error))
	History(ctx context.Context, h wire.History) (wire.HistoryReply, error)
}

// Cluster knows every connection of every gateway. Its unanswered are gateways that did not answer in time.
type Cluster interface {
	// Presence tells of at most limit users.
	Presence(ctx context.Context, channel string, limit int) (wire.PresenceReply, error)
	Connections(ctx context.Context, user string) (SubscriptionsReply, error)
	// Disconnect and Unsubscribe return how many connections they met, and how many gateways did not answer.
	Disconnect(ctx context.Context, q DisconnectRequest) (met, unanswered int, err error)
	Unsubscribe(ctx context.Context, q UnsubscribeRequest) (met, unanswered int, err error)
	Info(ctx context.Context) (InfoReply, error)
}

// Tokens makes tokens and takes them back. Its errors wrap auth.ErrBadToken for what no token may say.
type Tokens interface {
	Sign(g auth.Grant) (string, error)
	// Ticket makes a token that can be used once, within ttl.
	Ticket(ctx context.Context, g auth.Grant, ttl time.Duration) (string, error)
	Revoke(ctx context.Context, r Revocation) error
}

// Publication is a message on its way in. The body is not changed after Publish was called.
type Publication struct {
	Channel, ID, From string // From: empty, the message has no sender
	QoS               wire.QoS
	Body              []byte
}

// Defaults of Options.
const (
	DefaultRequestBytes = 1 << 20
	DefaultConcurrent   = 256
	DefaultTimeout      = 30 * time.Second
)

// The most that one request may hold.
const (
	MaxChannels   = 1000   // of a broadcast
	MaxOperations = 1000   // of a batch
	MaxUsers      = 10_000 // in an answer about presence
)

// Options configures an API. The first three are required; the zero value of each of the others means its default.
type Options struct {
	Log     Log
	Cluster Cluster
	Tokens  Tokens

	RequestBytes int           // of a request
	Concurrent   int           // requests that are served at a time; more are refused as unavailable
	Timeout      time.Duration // of one request
	// Served is told of each request that was served, by HTTP or NATS, and of the code of its error; 0: it succeeded.
	Served func(operation string, code wire.Code)
	Logger *slog.Logger
}

// API serves operations.
type API struct {
	opt   Options
	table []operation
	slots chan struct{} // one for each request that is being served
}

// New makes an API.
func New(o Options) *API {
	o.RequestBytes = defaulted(o.RequestBytes, DefaultRequestBytes)
	o.Concurrent = defaulted(o.Concurrent, DefaultConcurrent)
	o.Timeout = defaulted(o.Timeout, DefaultTimeout)
	if o.Served == nil {
		o.Served = func(string, wire.Code) {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	a := &API{opt: o, slots: make(chan struct{}, o.Concurrent)}
	a.table = a.operations()
	return a
}

func defaulted[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Concurrent is how many requests are served at a time.
func (a *API) Concurrent() int { return cap(a.slots) }

// Caller is who asks.
type Caller struct {
	Name string                       // of its key, for the log
	May  func(scope auth.Scope) error // nil, or why not
}

// Call does one operation. The body is a JSON object, as is the reply.
func (a *API) Call(ctx context.Context, c Caller, name string, body []byte) (reply []byte, refused *wire.Error) {
	op := a.find(name)
	if op == nil {
		return nil, unknown(name)
	}
	if e := op.admit(c); e != nil {
		return nil, e
	}
	leave, e := a.enter()
	if e != nil {
		return nil, e
	}
	defer leave()
	return a.do(ctx, op, c, body)
}

// enter takes one of the slots.
func (a *API) enter() (leave func(), refused *wire.Error) {
	select {
	case a.slots <- struct{}{}:
		return func() { <-a.slots }, nil
	default:
		return nil, Busy()
	}
}

// Busy is the error of a request for which there is no place.
func Busy() *wire.Error {
	return wire.Unavailable.With("this gateway serves as many requests as it may at a time; nothing was done").After(1)
}

func (a *API) do(ctx context.Context, op *operation, c Caller, body []byte) ([]byte, *wire.Error) {
	reply, e := a.attempt(ctx, op, c, body)
	code := wire.Code(0)
	if e != nil {
		code = e.Code
	}
	a.opt.Served(op.Name, code)
	return reply, e
}

func (a *API) attempt(ctx context.Context, op *operation, c Caller, body []byte) ([]byte, *wire.Error) {
	if len(body) > a.opt.RequestBytes {
		return nil, a.tooBig()
	}
	ctx, cancel := context.WithTimeout(ctx, a.opt.Timeout)
	defer cancel()
	reply, err := op.begin(ctx, c, body)()
	if err != nil {
		return nil, a.refusal(op.Name, err)
	}
	return reply, nil
}

func (a *API) tooBig() *wire.Error {
	return wire.MessageTooBig.With("a request has at most " + strconv.Itoa(a.opt.RequestBytes) + " bytes")
}
