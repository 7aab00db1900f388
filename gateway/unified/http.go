package unified

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// SocketPath is what the path of a socket begins with; the token follows.
const SocketPath = "/socket/"

// Outgoing is a message on its way to the log.
type Outgoing struct {
	Op      auth.Op // auth.Publish or auth.Command
	Channel string  // or destination
	From    string  // the client; empty: a backend
	ID      string  // empty: it is not looked for duplicates
	Body    []byte
}

// Gateway is what the service's HTTP side asks of the gateway.
type Gateway interface {
	// Caller checks an Authorization header. A nil grant and no error is a backend with a key of scope unified.
	Caller(header string) (*auth.Grant, error)
	// Issue makes a one-time token for a socket.
	Issue(ctx context.Context, a Admission) (token string, err error)
	// End is the present end of the log that a channel is in.
	End(ctx context.Context, channel string) (epoch string, seq uint64, err error)
	// Store stores a message, and returns once it is.
	Store(ctx context.Context, o Outgoing) (Stored, error)
}

// Stored is what becomes of a message: its place in the log.
type Stored struct {
	Seq       uint64 `json:"seq"`
	Duplicate bool   `json:"duplicate"` // it was stored before, under the same messageId
}

// HTTPOptions configures the handler.
type HTTPOptions struct {
	Prefix     string // of the paths, such as "/ws-center"; empty: none
	PublicURL  string // what clients reach the sockets at, such as "wss://rt.example.com"; empty: the request's host
	TLS        bool   // clients reach this server by TLS, if PublicURL says nothing
	MaxMessage int    // bytes of a posted message
	Timeout    time.Duration
	// Origin decides by the Origin and Host headers whether a page may read the answers.
	Origin func(origin, host string) bool
}

type handler struct {
	*Service
	opt     HTTPOptions
	gateway Gateway
}

// Register adds the service's routes to a mux.
func (s *Service) Register(mux *http.ServeMux, o HTTPOptions, g Gateway) {
	h := &handler{s, o, g}
	for pattern, serve := range map[string]func(*http.Request, *auth.Grant) (any, error){
		"GET " + o.Prefix + "/websocket/token":    h.token,
		"POST " + o.Prefix + "/websocket/message": h.message,
	} {
		method, path, _ := strings.Cut(pattern, " ")
		mux.Handle(pattern, h.route(serve))
		mux.HandleFunc("OPTIONS "+path, func(w http.ResponseWriter, r *http.Request) { h.preflight(w, r, method) })
	}
	mux.HandleFunc(SocketPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this address speaks WebSocket: send an upgrade request", http.StatusUpgradeRequired)
	})
}

// preflight tells a browser what a page may send (the Fetch standard's CORS protocol).
func (h *handler) preflight(w http.ResponseWriter, r *http.Request, method string) {
	if h.shareWith(w, r) {
		w.Header().Set("Access-Control-Allow-Methods", method)
		w.Header().Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		w.Header().Set("Access-Control-Max-Age", "3600")
	}
	w.WriteHeader(http.StatusNoContent)
}

// shareWith lets a page read the answer if its origin may connect.
func (h *handler) shareWith(w http.ResponseWriter, r *http.Request) bool {
	w.Header().Add("Vary", "Origin")
	origin := r.Header.Get("Origin")
	if origin == "" || !h.opt.Origin(origin, r.Host) {
		return false
	}
	w.Header().Set("Access-Control-Allow-Origin", origin)
	return true
}

// envelope is the answer to every request.
type envelope struct {
	Result      int    `json:"result"` // 0, or the number of the code
	Description string `json:"description"`
	Data        any    `json:"data"`
}

// route authenticates a request, serves it, and answers.
func (h *handler) route(serve func(*http.Request, *auth.Grant) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.shareWith(w, r)
		ctx, cancel := context.WithTimeout(r.Context(), h.opt.Timeout)
		defer cancel()
		grant, err := h.gateway.Caller(r.Header.Get("Authorization"))
		var data any
		if err == nil {
			r.Body = http.MaxBytesReader(w, r.Body, int64(h.opt.MaxMessage))
			data, err = serve(r.WithContext(ctx), grant)
		}
		if err != nil {
			h.fail(w, asWire(err))
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(w).Encode(envelope{Description: "ok", Data: data}) // the client may have gone
	})
}

// fail answers with an envelope that is a problem of RFC 9457, too.
func (h *handler) fail(w http.ResponseWriter, e *wire.Error) {
	h.Service.opt.Refused(e.Code)
	api.ProblemWith(w, api.Status(e.Code), e, func(d api.Details) any {
		return struct {
			envelope
			api.Details
		}{envelope{Result: int(e.Code), Description: e.Message}, d}
	})
}

// token answers a request for a socket: with its URL, which holds a token that opens it once.
func (h *handler) token(r *http.Request, grant *auth.Grant) (any, error) {
	c, err := clientOf(r.URL.RawQuery)
	if err != nil {
		return nil, err
	}
	switch {
	case grant == nil:
		grant = &auth.Grant{User: c.ID}
	case grant.User != c.ID:
		return nil, wire.PermissionDenied.With("a client gets sockets for itself only: uniqueId is not the user of its token")
	}
	if err := mayListen(grant, c.ID, h.Service.opt.Now()); err != nil {
		return nil, err
	}
	a := Admission{Grant: grant, Client: c}
	if a.Epoch, a.Since, err = h.gateway.End(r.Context(), Cast); err != nil {
		return nil, err
	}
	token, err := h.gateway.Issue(r.Context(), a)
	if err != nil {
		return nil, err
	}
	return h.base(r) + SocketPath + url.PathEscape(token), nil
}

// base is the URL of the server as clients reach it. Headers that a proxy may have set, or anybody, are not looked at.
func (h *handler) base(r *http.Request) string {
	switch {
	case h.opt.PublicURL != "":
		return strings.TrimSuffix(h.opt.PublicURL, "/")
	case h.opt.TLS:
		return "wss://" + r.Host
	}
	return "ws://" + r.Host
}

// mayListen says whether a token's patterns let its bearer have a socket.
func mayListen(g *auth.Grant, id string, now time.Time) error {
	for _, channel := range []string{Inbox(id), Cast} {
		if err := g.Allows(auth.Subscribe, channel, auth.Rules{}, now); err != nil {
			return wire.PermissionDenied.With("the token's subscribe patterns do not allow " + channel)
		}
	}
	return nil
}

// clientOf reads who a socket is for.
func clientOf(query string) (c Client, err error) {
	q, err := url.ParseQuery(query)
	if err != nil {
		return c, wire.BadRequest.With("the query is malformed")
	}
	for name, values := range q {
		switch name {
		case "uniqueId", "clientType":
			if len(values) > 1 {
				return c, wire.BadRequest.With(name + " is given twice")
			}
		case "tags":
			c.Tags, err = labels(name, values)
		case "businesses":
			c.Businesses, err = labels(name, values)
		default:
			err = wire.BadRequest.With("unknown parameter " + fmt.Sprintf("%.32q", name))
		}
		if err != nil {
			return c, err
		}
	}
	c.ID, c.Type = q.Get("uniqueId"), q.Get("clientType")
	if err := auth.CheckUser(c.ID); err != nil {
		return c, wire.BadRequest.With("uniqueId " + err.Error())
	}
	if err := CheckClientType(c.Type); err != nil {
		return c, wire.BadRequest.With("clientType " + err.Error())
	}
	return c, nil
}

// labels reads tags or businesses: repeated, or with commas between them.
func labels(name string, values []string) (list []string, err error) {
	for _, v := range values {
		if v != "" {
			list = append(list, strings.Split(v, ",")...)
		}
	}
	if err := CheckLabels(list); err != nil {
		return nil, wire.BadRequest.With(name + " " + err.Error())
	}
	return list, nil
}

// posted is the data of the answer to a message.
type posted struct {
	Stored
	MessageID string `json:"messageId"`
}

// message stores what a backend, or a client as itself, has posted.
func (h *handler) message(r *http.Request, grant *auth.Grant) (any, error) {
	text, err := io.ReadAll(r.Body)
	var tooBig *http.MaxBytesError
	switch {
	case errors.As(err, &tooBig):
		return nil, wire.TooLarge.With(fmt.Sprintf("a message has at most %d bytes", tooBig.Limit))
	case err != nil:
		return nil, wire.BadRequest.With("the request could not be read to its end")
	}
	if !utf8.Valid(text) {
		return nil, wire.BadRequest.With("a message is UTF-8")
	}
	var m Message
	if err := m.Decode(text); err != nil {
		return nil, err
	}
	o, err := h.outgoing(&m, grant)
	if err != nil {
		return nil, err
	}
	s, err := h.gateway.Store(r.Context(), o)
	if err != nil {
		return nil, err
	}
	return posted{s, m.ID}, nil
}

func (h *handler) outgoing(m *Message, grant *auth.Grant) (o Outgoing, err error) {
	now := h.Service.opt.Now()
	o.ID = m.ID
	var c Client
	if grant == nil {
		err = stampServer(m, now)
	} else {
		c.ID, o.From = grant.User, grant.User
		err = c.stamp(m, now)
	}
	if err != nil {
		return o, err
	}
	if o.Op, o.Channel, err = route(m); err != nil {
		return o, err
	}
	if grant != nil {
		if err := c.allow(grant, h.Service.opt.ClientToClient, o.Op, m, o.Channel, now); err != nil {
			return o, err
		}
	}
	o.Body, err = encode(m)
	return o, err
}
