package gateway

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/cluster"
)

// everywhere does what backends ask of all gateways: each scans its own connections, and one joins the answers. Nothing is kept for
// that with a socket.
type everywhere struct {
	g       *Gateway
	serving atomic.Bool // there are sockets
	rounds  rounds
}

var _ api.Cluster = (*everywhere)(nil)

const (
	askTimeout = 3 * time.Second // for the gateways' answers

	// What one gateway looks at, and answers, about one channel or user.
	lookedAt    = 10_000
	answerBytes = 256 << 10
)

// The questions that gateways ask each other.
const (
	opPresence    = "presence"
	opConnections = "connections"
	opDisconnect  = "disconnect"
	opUnsubscribe = "unsubscribe"
)

func newEverywhere(g *Gateway) *everywhere {
	e := &everywhere{g: g}
	e.rounds.each = e.each
	answer(g.cluster, opPresence, e.presenceHere)
	answer(g.cluster, opConnections, e.connectionsHere)
	answer(g.cluster, opDisconnect, e.disconnectHere)
	answer(g.cluster, opUnsubscribe, e.unsubscribeHere)
	return e
}

// answer has f answer a question of other gateways, and of this one.
func answer[Q, A any](c *cluster.Cluster, op string, f func(Q) A) {
	c.Handle(op, func(body []byte) []byte {
		var q Q
		if json.Unmarshal(body, &q) != nil {
			return nil // which nobody can read: it counts as no answer
		}
		var a bytes.Buffer
		e := json.NewEncoder(&a)
		e.SetEscapeHTML(false) // it would make names six times as long
		_ = e.Encode(f(q))     // texts and numbers
		return a.Bytes()
	})
}

// ask asks every gateway, and counts those that gave no answer.
func ask[A, Q any](ctx context.Context, e *everywhere, op string, q Q) (answers []A, unanswered int) {
	body, _ := json.Marshal(q) // texts and numbers
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	asked := len(e.g.cluster.Nodes())
	came, err := e.g.cluster.Ask(ctx, op, body)
	for _, one := range came {
		var a A
		if json.Unmarshal(one.Body, &a) == nil {
			answers = append(answers, a)
		}
	}
	if err != nil {
		e.g.opt.Logger.Warn("a gateway did not answer", "question", op, "error", err)
	} else {
		asked = len(came) // who has left in the meantime is not missed
	}
	return answers, max(asked-len(answers), 0)
}

// each calls f with every connection.
func (e *everywhere) each(f func(*client)) {
	if !e.serving.Load() {
		return
	}
	e.g.sockets.Each(func(c *transport.Conn) {
		if m, ok := c.Receiver().(member); ok {
			f(m.base())
		}
	})
}

// presence is what one gateway answers about a channel.
type presence struct {
	Connections int
	Users       map[string]int
	More        bool
}

func (e *everywhere) presenceHere(channel string) presence {
	sinks, subscriptions := e.g.hub.Subscribers(channel, lookedAt)
	p := presence{Connections: subscriptions, Users: map[string]int{}, More: subscriptions > len(sinks)}
	seen := make(map[hub.Sink]bool, len(sinks))
	size := 0
	for _, s := range sinks {
		if seen[s] {
			p.Connections--
			continue
		}
		seen[s] = true
		m, ok := connOf(s).Receiver().(member)
		if !ok {
			continue
		}
		user := m.base().session.User()
		if p.Users[user] == 0 {
			if size += len(user) + 16; size > answerBytes {
				p.More = true
				continue
			}
		}
		p.Users[user]++
	}
	return p
}

// Presence implements api.Cluster.
func (e *everywhere) Presence(ctx context.Context, channel string, limit int) (wire.PresenceReply, error) {
	answers, unanswered := ask[presence](ctx, e, opPresence, channel)
	r := wire.PresenceReply{Channel: channel, Users: []wire.Present{}, Unanswered: unanswered}
	users := map[string]int{}
	for _, a := range answers {
		r.Connections += a.Connections
		r.More = r.More || a.More
		for user, n := range a.Users {
			users[user] += n
		}
	}
	for user, n := range users {
		r.Users = append(r.Users, wire.Present{User: user, Connections: n})
	}
	slices.SortFunc(r.Users, func(a, b wire.Present) int { return strings.Compare(a.User, b.User) })
	if len(r.Users) > limit {
		r.Users, r.More = r.Users[:limit], true
	}
	return r, nil
}

func (e *everywhere) presenceForClients(ctx context.Context, channel string) (wire.PresenceReply, error) {
	return e.Presence(ctx, channel, presenceUsers)
}

func (e *everywhere) connectionsHere(user string) api.SubscriptionsReply {
	r := api.SubscriptionsReply{User: user}
	size := 0
	e.rounds.visit(user, func(cl *client) {
		one := api.Connection{Session: cl.session.ID(), Gateway: e.g.cluster.ID(), Subscriptions: []api.Subscribed{}}
		list, device := cl.session.Subscriptions()
		one.Device = device
		for _, s := range list {
			one.Subscriptions = append(one.Subscriptions, api.Subscribed(s))
			size += len(s.Channel) + 32
		}
		if size += len(device) + 128; size > answerBytes {
			r.More = true
			return
		}
		r.Connections = append(r.Connections, one)
	})
	return r
}

// Connections implements api.Cluster.
func (e *everywhere) Connections(ctx context.Context, user string) (api.SubscriptionsReply, error) {
	answers, unanswered := ask[api.SubscriptionsReply](ctx, e, opConnections, user)
	r := api.SubscriptionsReply{User: user, Connections: []api.Connection{}, Unanswered: unanswered}
	for _, a := range answers {
		r.Connections = append(r.Connections, a.Connections...)
		r.More = r.More || a.More
	}
	slices.SortFunc(r.Connections, func(a, b api.Connection) int { return cmp.Compare(a.Session, b.Session) })
	return r, nil
}

func (e *everywhere) disconnectHere(q api.DisconnectRequest) (met int) {
	serial, here := e.g.sessions.Serial(q.Session)
	if q.Session != "" && !here {
		return 0
	}
	e.rounds.visit(q.User, func(cl *client) {
		if q.Session == "" || cl.Serial() == serial {
			cl.session.Disconnect(q.Reconnect)
			met++
		}
	})
	return met
}

// Disconnect implements api.Cluster.
func (e *everywhere) Disconnect(ctx context.Context, q api.DisconnectRequest) (met, unanswered int, err error) {
	answers, unanswered := ask[int](ctx, e, opDisconnect, q)
	return sum(answers), unanswered, nil
}

func (e *everywhere) unsubscribeHere(q api.UnsubscribeRequest) (met int) {
	e.rounds.visit(q.User, func(cl *client) {
		if cl.session.Expel(q.Channel) {
			met++
		}
	})
	return met
}

// Unsubscribe implements api.Cluster.
func (e *everywhere) Unsubscribe(ctx context.Context, q api.UnsubscribeRequest) (met, unanswered int, err error) {
	answers, unanswered := ask[int](ctx, e, opUnsubscribe, q)
	return sum(answers), unanswered, nil
}

func sum(ns []int) (total int) {
	for _, n := range ns {
		total += n
	}
	return total
}

// Info implements api.Cluster.
func (e *everywhere) Info(context.Context) (api.InfoReply, error) {
	r := api.InfoReply{Gateway: e.g.cluster.ID(), Streams: []api.Stream{}}
	for _, n := range e.g.cluster.Nodes() {
		r.Gateways = append(r.Gateways, api.Gateway{ID: n.ID, Name: n.Name, Version: n.Version, Address: n.Address, Started: n.Started, Connections: n.Connections})
		r.Connections += n.Connections
	}
	for _, s := range e.g.log.Opened() {
		r.Streams = append(r.Streams, api.Stream{Namespace: s.Namespace(), Epoch: s.Epoch(), Seq: s.Head(), Durability: s.Durability()})
	}
	return r, nil
}
