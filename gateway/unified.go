package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/unified"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/access"
)

// Unified configures the unified service, which gateway/unified describes.
type Unified struct {
	Prefix         string        // of its HTTP paths; empty: none
	PublicURL      string        // what clients reach its sockets at, such as wss://rt.example.com; empty: the host of their request
	ClientToClient auth.Rule     // who may send to other clients; default: auth.Own
	TokenLife      time.Duration // of a token that nobody has used; default: DefaultUnifiedTokenLife
}

// DefaultUnifiedTokenLife is for how long a token of the unified service can be used.
const DefaultUnifiedTokenLife = 30 * time.Second

// unifiedService joins the unified service to the gateway. A nil one is switched off.
type unifiedService struct {
	gateway  *Gateway
	opt      Unified
	service  *unified.Service
	sessions session.Options
}

func newUnified(g *Gateway) *unifiedService {
	if g.opt.Unified == nil {
		return nil
	}
	u := &unifiedService{gateway: g, opt: *g.opt.Unified, sessions: g.sessions}
	if u.opt.TokenLife <= 0 {
		u.opt.TokenLife = DefaultUnifiedTokenLife
	}
	u.sessions.Broker = unifiedBroker{g.broker}
	o := unified.Options{ClientToClient: u.opt.ClientToClient, MaxUnacked: g.opt.Limits.Unacked, Refused: g.metrics.refused, Logger: g.opt.Logger}
	if l := u.sessions.Limiter; l != nil {
		u.sessions.Limiter = unifiedLimiter{l}
		o.Limit = func(c unified.Conn, user string) (refusal *wire.Error, over bool) {
			return l.Command(c.(*transport.Conn).Receiver().(*unifiedClient), user, wire.OpPing)
		}
	}
	u.service = unified.New(o)
	return u
}

// accepts says whether a path is a socket's, and of which token.
func (u *unifiedService) accepts(path string) (token string, ok bool) {
	if u == nil {
		return "", false
	}
	return strings.CutPrefix(path, unified.SocketPath)
}

func (u *unifiedService) register(mux *http.ServeMux) {
	l := u.gateway.opt.Limits
	u.service.Register(mux, unified.HTTPOptions{
		Prefix: u.opt.Prefix, PublicURL: u.opt.PublicURL, TLS: u.gateway.opt.TLS != nil,
		MaxMessage: l.MessageBytes, Timeout: unifiedTimeout, Origin: originAllowed(u.gateway.opt.Origins),
	}, u)
}

// unifiedTimeout bounds a request. Streams have shorter ones of their own.
const unifiedTimeout = 15 * time.Second

// unifiedBroker lets sessions that the service translates for do what it asks of them: it has checked who may.
type unifiedBroker struct{ *broker }

func (b unifiedBroker) Rules(channel string) (auth.Rules, error) {
	if wire.Namespace(channel) == unified.Namespace {
		return auth.Rules{}, nil
	}
	return b.broker.Rules(channel)
}

// unifiedLimiter counts what the client has asked for, and not what the service asks for in its place.
type unifiedLimiter struct{ session.Limiter }

func (l unifiedLimiter) Command(c session.Conn, user string, op wire.Op) (refusal *wire.Error, over bool) {
	if op == wire.OpAck || op == wire.OpSubscribe {
		return nil, false
	}
	return l.Limiter.Command(c, user, op)
}

// unifiedClient is a client who speaks unified messages.
type unifiedClient struct {
	client
	socket *unified.Socket
}

var (
	_ transport.Receiver     = (*unifiedClient)(nil)
	_ transport.PongReceiver = (*unifiedClient)(nil)
	_ session.Conn           = (*unifiedClient)(nil)
	_ hub.Sink               = (*unifiedClient)(nil)
	_ member                 = (*unifiedClient)(nil)
)

func (cl *unifiedClient) sink() hub.Sink                              { return cl }
func (cl *unifiedClient) Offer(frame []byte) (taken, flush bool)      { return cl.socket.Offer(frame) }
func (cl *unifiedClient) Send(payload []byte)                         { cl.socket.Send(payload) }
func (cl *unifiedClient) Pong(_ *transport.Conn, payload []byte)      { cl.socket.Pong(payload) }
func (cl *unifiedClient) Receive(_ *transport.Conn, t bool, p []byte) { cl.socket.Receive(t, p) }

func (cl *unifiedClient) Beat(c *transport.Conn) {
	cl.client.Beat(c)
	cl.socket.Beat()
}

// open makes the client of a new socket, whose token is still to be redeemed.
func (u *unifiedService) open(c *transport.Conn, token string) transport.Receiver {
	cl := &unifiedClient{client: client{conn: c}}
	cl.session = session.New(&u.sessions, cl)
	cl.socket = u.service.NewSocket(c, &cl.session)
	u.redeem(token, func(a unified.Admission, err error) {
		if err != nil {
			e := wireError(err)
			u.gateway.metrics.refused(e.Code)
			if l := u.sessions.Limiter; l != nil && e.Code == wire.BadToken {
				l.Distrust(cl)
			}
			c.Close(e.Code, e.Message)
			return
		}
		cl.socket.Begin(a)
	})
	return cl
}

// unifiedUse is what the tickets of sockets are for.
const unifiedUse = "unified"

// unifiedTicket is what a ticket stands for.
type unifiedTicket struct {
	Grant      json.RawMessage `json:"grant"` // as auth.EncodeGrant has it
	Type       string          `json:"type"`
	Tags       []string        `json:"tags,omitempty"`
	Businesses []string        `json:"businesses,omitempty"`
	Epoch      string          `json:"epoch"`
	Since      uint64          `json:"since"`
}

// Issue implements unified.Gateway.
func (u *unifiedService) Issue(ctx context.Context, a unified.Admission) (string, error) {
	claims, err := auth.EncodeGrant(*a.Grant)
	if err != nil {
		return "", wire.BadRequest.With(err.Error())
	}
	value, err := json.Marshal(unifiedTicket{claims, a.Client.Type, a.Client.Tags, a.Client.Businesses, a.Epoch, a.Since})
	if err != nil {
		return "", err
	}
	token, err := u.gateway.access.Issue(ctx, unifiedUse, value, u.opt.TokenLife)
	if err != nil {
		return "", wireError(err)
	}
	return token, nil
}

func (u *unifiedService) redeem(token string, done func(unified.Admission, error)) {
	u.gateway.access.Redeem(unifiedUse, token, func(value []byte, err error) {
		var a unified.Admission
		if err == nil {
			a, err = admission(value, u.sessions.Now())
		}
		switch {
		case errors.Is(err, access.ErrInvalid):
			err = wire.BadToken.With("the token was used, has ended, or is not this server's; ask for a new one")
		case errors.Is(err, auth.ErrExpired):
			err = wire.ExpiredToken.Err()
		}
		done(a, err)
	})
}

// admission reads what Issue wrote.
func admission(value []byte, now time.Time) (a unified.Admission, err error) {
	var t unifiedTicket
	if err := json.Unmarshal(value, &t); err != nil {
		return a, err
	}
	if a.Grant, err = auth.DecodeGrant(t.Grant, now); err != nil {
		return a, err
	}
	a.Client = unified.Client{ID: a.Grant.User, Type: t.Type, Tags: t.Tags, Businesses: t.Businesses}
	a.Epoch, a.Since = t.Epoch, t.Since
	return a, nil
}

// Caller implements unified.Gateway. What a client asks for counts as a message of its user's.
func (u *unifiedService) Caller(header string) (*auth.Grant, error) {
	name, err := u.gateway.opt.APIKeys.Authorize(header, auth.ScopeUnified)
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, auth.ErrScope):
		return nil, wire.PermissionDenied.With(name + ": " + err.Error())
	}
	const scheme = "Bearer "
	if len(header) <= len(scheme) || !strings.EqualFold(header[:len(scheme)], scheme) {
		return nil, wire.Unauthenticated.With("send the header Authorization: Bearer, with an API key of scope unified or the client's token")
	}
	grant, err := u.gateway.check(header[len(scheme):])
	switch {
	case errors.Is(err, auth.ErrExpired):
		return nil, wire.ExpiredToken.Err()
	case errors.Is(err, auth.ErrRevoked):
		return nil, wire.Revoked.Err()
	case errors.Is(err, auth.ErrUnavailable):
		return nil, wire.Unavailable.With("the token cannot be checked now; try again")
	case err != nil: // one-time tokens are for sockets
		return nil, wire.BadToken.With("neither an API key of this server nor a token for it")
	}
	if refusal := u.gateway.limits.message(grant.User); refusal != nil {
		return nil, refusal
	}
	return grant, nil
}

// End implements unified.Gateway.
func (u *unifiedService) End(ctx context.Context, channel string) (epoch string, seq uint64, err error) {
	stream, err := u.gateway.broker.stream(ctx, channel)
	if err != nil {
		return "", 0, err
	}
	for {
		epoch, seq = stream.Epoch(), stream.Head()
		if stream.Epoch() == epoch { // otherwise it was made anew meanwhile
			return epoch, seq, nil
		}
	}
}

// Store implements unified.Gateway.
func (u *unifiedService) Store(ctx context.Context, o unified.Outgoing) (unified.Stored, error) {
	if o.From != "" {
		q := session.Question{User: o.From, Op: o.Op, Channel: o.Channel, Data: o.Body}
		if refusal := u.gateway.authorizers.decide(ctx, q); refusal != nil {
			return unified.Stored{}, refusal
		}
	}
	return await(ctx, func(done func(unified.Stored, error)) {
		if o.Op == auth.Command {
			t := session.Task{Destination: o.Channel, ID: o.ID, From: o.From, Body: o.Body}
			u.sessions.Backends.Command(t, func(r wire.TaskReply, err error) {
				done(unified.Stored{Seq: r.Seq, Duplicate: r.Duplicate}, err)
			})
			return
		}
		p := session.Publication{Channel: o.Channel, ID: o.ID, From: o.From, QoS: wire.AtLeastOnce, Body: o.Body}
		if o.ID != "" {
			p.QoS = wire.ExactlyOnce
		}
		u.gateway.broker.Publish(p, func(r wire.PublishReply, err error) {
			done(unified.Stored{Seq: r.Seq, Duplicate: r.Duplicate}, err)
		})
	})
}
