package unified

import (
	"encoding/base64"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nuid"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Namespace is the namespace of the service's channels, and the first token of the destinations of its commands.
const Namespace = "unified"

// Rules are those of the namespace for who speaks Jetwire's own protocol: nobody reaches into it, unless it is listed with others.
var Rules = auth.Rules{
	auth.Subscribe: auth.Server, auth.Publish: auth.Server, auth.History: auth.Server,
	auth.Presence: auth.Server, auth.Command: auth.Server, auth.Call: auth.Server,
}

// Cast is the channel of what is not for one client alone.
const Cast = Namespace + ".cast"

// Inbox is the channel of what is for the clients of one unique id, whatever their types.
func Inbox(id string) string { return Namespace + ".to." + Token(id) }

// Destination is where a backend finds what clients send to the server.
func Destination(m *Message) string {
	name := m.Business
	if name == "" {
		name = m.Type
	}
	if name == "" {
		name = "default"
	}
	return Namespace + "." + Token(name)
}

// Device is the name under which the session of a client is durable.
func Device(clientType string) string { return "unified:" + Token(clientType) }

// tokenMark begins a token that is not the name itself.
const tokenMark = "="

// Token writes a name as one token of a channel: as it is, if it is printable ASCII without what means something in a channel; otherwise
// "=" and its base64url (RFC 4648, section 5) without padding. No two names have the same.
func Token(name string) string {
	if name == "" || strings.HasPrefix(name, tokenMark) || strings.HasPrefix(name, "$") || strings.ContainsFunc(name, special) {
		return tokenMark + base64.RawURLEncoding.EncodeToString([]byte(name))
	}
	return name
}

func special(r rune) bool { return r <= ' ' || r >= 0x7f || r == '.' || r == '*' || r == '>' }

// Client is who holds a socket.
type Client struct {
	ID, Type         string
	Tags, Businesses []string // what it is interested in
}

// takes says whether a message that has come to a client's channels is for it.
func (c *Client) takes(m *Message) bool {
	direct := m.To != ""
	switch {
	case m.ToType != "" && m.ToType != everyType && m.ToType != c.Type:
		return false
	case m.Class == ClientToClient && m.From == c.ID && m.FromType == c.Type:
		return false // it is its own
	}
	return meets(m.Tags, c.Tags, direct) && meets(m.Businesses, c.Businesses, direct)
}

// meets says whether labels of a message and of a client have one in common. A message without any is for all; one that names its
// receiver reaches also who has named none.
func meets(of, has []string, direct bool) bool {
	return len(of) == 0 || direct && len(has) == 0 ||
		slices.ContainsFunc(of, func(s string) bool { return slices.Contains(has, s) })
}

var errNoReceiver = wire.BadRequest.With(`the message names no receiver: give toUniqueId, toClientType ("*" is every type), tags or businesses`)

// stamp makes the message the client's: it gets its sender, class, time and id.
func (c *Client) stamp(m *Message, now time.Time) error {
	switch {
	case m.From != "" && m.From != c.ID:
		return wire.PermissionDenied.With("fromUniqueId is not who sends this message; leave it out")
	case m.FromType != "" && m.FromType != c.Type:
		return wire.PermissionDenied.With("fromClientType is not who sends this message; leave it out")
	}
	m.From, m.FromType = c.ID, c.Type
	switch m.Class {
	case ServerToClient:
		return wire.PermissionDenied.With("SERVER_TO_CLIENT is for backends")
	case 0:
		m.Class = ClientToServer
		if m.To != "" || m.ToType != "" || len(m.Tags) > 0 {
			m.Class = ClientToClient
		}
	}
	complete(m, now)
	return nil
}

// stampServer makes the message a backend's.
func stampServer(m *Message, now time.Time) error {
	if m.Class != 0 && m.Class != ServerToClient {
		return wire.BadRequest.With("a backend sends SERVER_TO_CLIENT")
	}
	m.Class = ServerToClient
	complete(m, now)
	return nil
}

func complete(m *Message, now time.Time) {
	if m.Timestamp == 0 {
		m.Timestamp = now.UnixMilli()
	}
	if m.ID == "" {
		m.ID = nuid.Next()
	}
}

// route says what becomes of a stamped message: a command to a destination, or a publish to a channel.
func route(m *Message) (auth.Op, string, error) {
	switch {
	case m.Class == ClientToServer:
		return auth.Command, Destination(m), nil
	case m.To != "":
		return auth.Publish, Inbox(m.To), nil
	case m.ToType != "" || len(m.Tags) > 0 || len(m.Businesses) > 0:
		return auth.Publish, Cast, nil
	}
	return 0, "", errNoReceiver
}

// allow checks what a client wants to send: rule is what clients may send to others. Own means to its own unique id.
func (c *Client) allow(g *auth.Grant, rule auth.Rule, op auth.Op, m *Message, channel string, now time.Time) error {
	if op == auth.Command {
		rule = auth.SignedIn
	}
	if rule == auth.Own {
		rule = auth.Granted
		if m.To == c.ID {
			rule = auth.SignedIn
		}
	}
	var rules auth.Rules
	rules[op] = rule
	switch err := g.Allows(op, channel, rules, now); {
	case err == nil:
		return nil
	case errors.Is(err, auth.ErrExpired):
		return wire.ExpiredToken.Err()
	}
	return wire.PermissionDenied.With("neither the token nor unified.client_to_client allows to " + op.String() + " to " + channel)
}

// encode returns what is stored of a message.
func encode(m *Message) ([]byte, error) {
	body := m.Append(nil)
	if wire.EncodingOf(body) != wire.JSON { // EncodingOf reads no deeper than that
		return nil, wire.BadRequest.With("content is nested too deep")
	}
	return body, nil
}
