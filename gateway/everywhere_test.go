package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/cluster"
	"github.com/jetwire/jetwire/streams/natstest"
)

// pair runs two gateways that know each other.
func pair(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) (one, two *running) {
	t.Helper()
	one, two = start(t, ns, change), start(t, ns, change)
	for _, g := range []*running{one, two} {
		eventually(t, "the gateways to know each other", func() bool {
			var info api.InfoReply
			g.call("info", `{}`, &info)
			return len(info.Gateways) == 2
		})
	}
	return one, two
}

// onPair runs a test over epoll and over goroutines.
func onPair(t *testing.T, test func(t *testing.T, one, two *running)) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		keys := withKeys(t)
		one, two := pair(t, ns, func(o *gateway.Options) { change(o); keys(o) })
		test(t, one, two)
	})
}

func TestPresenceOverGateways(t *testing.T) {
	onPair(t, func(t *testing.T, one, two *running) {
		for _, g := range []*running{one, one, two} {
			g.signIn("alice").must("subscribe", `"channel":"chat.a"`)
		}
		bob := two.signIn("bob")
		bob.must("subscribe", `"channel":"chat.*"`)
		bob.must("subscribe", `"channel":"chat.a"`)
		bob.must("subscribe", `"channel":"chat.b"`)
		one.signIn("carol")
		for _, g := range []*running{one, two} {
			var got wire.PresenceReply
			g.call("presence", `{"channel":"chat.a"}`, &got)
			want := wire.PresenceReply{Channel: "chat.a", Connections: 4, Users: []wire.Present{{User: "alice", Connections: 3}, {User: "bob", Connections: 1}}}
			if d := cmp.Diff(want, got); d != "" {
				t.Error(d)
			}
		}
		var got wire.PresenceReply
		one.call("presence", `{"channel":"chat.a","limit":1}`, &got)
		if len(got.Users) != 1 || !got.More || got.Connections != 4 {
			t.Errorf("%+v", got)
		}
		if _, text := one.request("POST", "/v1/presence", `{"channel":"chat.nobody.here"}`, nil); text != `{"channel":"chat.nobody.here","connections":0,"users":[]}` {
			t.Error(text)
		}
		bob.must("unsubscribe", `"channel":"chat.a"`)
		bob.must("unsubscribe", `"channel":"chat.*"`)
		one.call("presence", `{"channel":"chat.a"}`, &got)
		if got.Connections != 3 {
			t.Errorf("%+v", got)
		}
	})
}

// A client gets the same answer, if it may ask.
func TestPresenceForClients(t *testing.T) {
	ns := natstest.Run(t)
	keys := withKeys(t)
	one, two := pair(t, ns, func(o *gateway.Options) {
		keys(o)
		o.Rules = map[string]auth.Rules{"closed": {auth.Presence: auth.Server}}
	})
	one.signIn("alice").must("subscribe", `"channel":"chat.a"`)
	bob := two.signIn("bob")
	bob.must("subscribe", `"channel":"chat.>"`)
	want := wire.PresenceReply{Channel: "chat.a", Connections: 2, Users: []wire.Present{{User: "alice", Connections: 1}, {User: "bob", Connections: 1}}}
	if d := cmp.Diff(want, bob.must("presence", `"channel":"chat.a"`).Presence); d != "" {
		t.Error(d)
	}
	bob.refused(wire.PermissionDenied, "presence", `"channel":"closed.a"`)
	got, err := one.dial("carol").Presence(t.Context(), "chat.a")
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Error(d, err)
	}
	if _, err := one.dial("carol").Presence(t.Context(), "closed.a"); !errors.As(err, new(*wire.Error)) {
		t.Error(err)
	}
}

func TestSubscriptionsOfAUser(t *testing.T) {
	onPair(t, func(t *testing.T, one, two *running) {
		here := one.signIn("alice")
		here.must("subscribe", `"channel":"chat.a","qos":2`)
		here.must("subscribe", `"channel":"chat.*.x","qos":0`)
		there := two.open()
		there.send(`{"id":1,"connect":{"token":"` + sign(t, auth.Grant{User: "alice"}) + `","device":"phone"}}`)
		session := there.next().Connect.Session
		one.signIn("bob").must("subscribe", `"channel":"chat.a"`)
		var got api.SubscriptionsReply
		two.call("subscriptions", `{"user":"alice"}`, &got)
		slices.SortFunc(got.Connections, func(a, b api.Connection) int { return strings.Compare(a.Device, b.Device) })
		if len(got.Connections) != 2 || got.User != "alice" || got.More || got.Unanswered != 0 {
			t.Fatalf("%+v", got)
		}
		if d := cmp.Diff([]api.Subscribed{{Channel: "chat.a", QoS: 2}, {Channel: "chat.*.x", QoS: 0}}, got.Connections[0].Subscriptions); d != "" {
			t.Error(d)
		}
		if c := got.Connections[1]; c.Device != "phone" || c.Session != session || c.Gateway == got.Connections[0].Gateway || !strings.HasPrefix(c.Session, c.Gateway) ||
			!slices.Equal(c.Subscriptions, []api.Subscribed{{Channel: "user.alice", QoS: 1}}) {
			t.Errorf("%+v", c)
		}
		if _, text := one.request("POST", "/v1/subscriptions", `{"user":"nobody"}`, nil); text != `{"user":"nobody","connections":[]}` {
			t.Error(text)
		}
	})
}

// TestNamesThatEncodingSwells: no names make an answer so large that it does not reach the gateway that has asked.
func TestNamesThatEncodingSwells(t *testing.T) {
	onPair(t, func(t *testing.T, one, two *running) {
		for range 10 {
			alice := two.signIn("alice")
			for i := range gateway.DefaultSubscriptions {
				alice.send(fmt.Sprintf(`{"subscribe":{"channel":"x.%s%d","qos":0}}`, strings.Repeat("<", 190), i))
			}
			alice.must("ping", "")
		}
		var got api.SubscriptionsReply
		one.call("subscriptions", `{"user":"alice"}`, &got)
		if len(got.Connections) < 8 || !got.More || got.Unanswered != 0 {
			t.Errorf("%d connections, more %v, %d unanswered", len(got.Connections), got.More, got.Unanswered)
		}
	})
}

func TestDisconnect(t *testing.T) {
	onPair(t, func(t *testing.T, one, two *running) {
		a, b, bob := one.signIn("alice"), two.signIn("alice"), two.signIn("bob")
		var got api.DisconnectReply
		one.call("disconnect", `{"user":"alice"}`, &got)
		if got.Disconnected != 2 {
			t.Errorf("%+v", got)
		}
		for _, r := range []*raw{a, b} {
			if code := r.closes(); code != wire.Disconnected {
				t.Errorf("closed with %v", code)
			}
		}
		c := one.open()
		c.send(`{"id":1,"connect":{"token":"` + sign(t, auth.Grant{User: "alice"}) + `"}}`)
		session := c.next().Connect.Session
		other := one.signIn("alice")
		two.call("disconnect", fmt.Sprintf(`{"session":%q,"reconnect":true}`, session), &got)
		if in := c.next(); in.Kind != wire.KindReconnect || in.Reconnect.After != 0 || got.Disconnected != 1 {
			t.Errorf("%+v, %+v", in, got)
		}
		if code := c.closes(); code != wire.Draining {
			t.Errorf("closed with %v", code)
		}
		for _, nobody := range []string{`{"user":"nobody"}`, fmt.Sprintf(`{"session":%q}`, session+"z"), `{"session":"-5"}`, fmt.Sprintf(`{"session":%q}`, session)} {
			eventually(t, "nobody to be met by "+nobody, func() bool {
				two.call("disconnect", nobody, &got)
				return got.Disconnected == 0
			})
		}
		other.must("ping", ``)
		bob.must("ping", ``)
	})
}

func TestUnsubscribeByABackend(t *testing.T) {
	onPair(t, func(t *testing.T, one, two *running) {
		a, b, bob := one.signIn("alice"), two.signIn("alice"), one.signIn("bob")
		for _, r := range []*raw{a, b, bob} {
			r.must("subscribe", `"channel":"chat.a"`)
			r.must("subscribe", `"channel":"chat.*"`)
		}
		var got api.UnsubscribeReply
		two.call("unsubscribe", `{"user":"alice","channel":"chat.a"}`, &got)
		if got.Unsubscribed != 2 {
			t.Errorf("%+v", got)
		}
		for _, r := range []*raw{a, b} {
			if in := r.next(); in.Kind != wire.KindUnsubscribed || in.Unsubscribed.Channel != "chat.a" || in.Unsubscribed.Code != wire.Disconnected {
				t.Errorf("%+v", in)
			}
			r.refused(wire.NotSubscribed, "unsubscribe", `"channel":"chat.a"`)
		}
		bob.publish("chat.a", `1`)
		for _, r := range []*raw{a, b} {
			if m := r.message(); m.Pattern != "chat.*" {
				t.Errorf("%+v", m)
			}
		}
		two.call("unsubscribe", `{"user":"alice","channel":"chat.*"}`, &got)
		two.call("unsubscribe", `{"user":"alice","channel":"chat.*"}`, &got)
		if got.Unsubscribed != 0 {
			t.Errorf("%+v", got)
		}
	})
}

// The Go client takes what backends end for the end, and comes back only where it is asked to.
func TestClientThatABackendEnds(t *testing.T) {
	g := start(t, natstest.Run(t), withKeys(t))
	alice := g.dial("alice")
	sub, err := alice.Subscribe(t.Context(), "chat.a", client.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other, err := alice.Subscribe(t.Context(), "chat.b", client.SubscribeOptions{})
	if err != nil {
		t.Fatal(err)
	}
	g.call("unsubscribe", `{"user":"alice","channel":"chat.a"}`, new(api.UnsubscribeReply))
	<-sub.Done()
	var ended *wire.Error
	if !errors.As(sub.Err(), &ended) || ended.Code != wire.Disconnected {
		t.Errorf("the subscription ended with %v", sub.Err())
	}
	accepted := g.metric("jetwire_accepts_total")
	g.call("disconnect", `{"user":"alice","reconnect":true}`, new(api.DisconnectReply))
	eventually(t, "alice to be back", func() bool {
		var here wire.PresenceReply
		g.call("presence", `{"channel":"chat.b"}`, &here)
		return g.metric("jetwire_accepts_total") > accepted && here.Connections == 1 && other.Err() == nil
	})
	g.call("disconnect", `{"user":"alice"}`, new(api.DisconnectReply))
	<-alice.Done()
	if !errors.As(alice.Err(), &ended) || ended.Code != wire.Disconnected {
		t.Errorf("the client ended with %v", alice.Err())
	}
}

// What a backend has ended stays ended when the device comes back.
func TestUnsubscribeADevice(t *testing.T) {
	g := start(t, natstest.Run(t), withKeys(t))
	connect := func() (*raw, []wire.Restored) {
		r := g.open()
		r.send(`{"id":1,"connect":{"token":"` + sign(t, auth.Grant{User: "alice"}) + `","device":"phone"}}`)
		r.nextID = 1
		return r, r.next().Connect.Durable.Restored
	}
	r, _ := connect()
	r.must("subscribe", `"channel":"chat.a"`)
	var got api.UnsubscribeReply
	g.call("unsubscribe", `{"user":"alice","channel":"chat.a"}`, &got)
	if in := r.next(); got.Unsubscribed != 1 || in.Kind != wire.KindUnsubscribed {
		t.Errorf("%+v %+v", got, in)
	}
	_ = r.conn.Close()
	if _, restored := connect(); len(restored) != 1 || restored[0].Channel != "user.alice" {
		t.Errorf("%+v", restored)
	}
}

// What a backend makes signs in once, or until it is taken back, on any gateway.
func TestTokensThroughTheAPI(t *testing.T) {
	ns := natstest.Run(t)
	keys := withKeys(t)
	one, two := pair(t, ns, func(o *gateway.Options) {
		keys(o)
		o.Sign = func(g auth.Grant) (string, error) { return auth.Sign(secret, g) }
	})
	var token api.TokenReply
	one.call("token", `{"user":"alice","one_time":true,"publish":["chat.{user}"]}`, &token)
	a := two.open()
	if in := a.connect(token.Token, ""); in.Connect.User != "alice" || in.Connect.Expires != token.Expires {
		t.Fatalf("%+v, want %+v", in, token)
	}
	a.must("publish", `"channel":"chat.alice","data":1`)
	a.refused(wire.PermissionDenied, "publish", `"channel":"chat.bob","data":1`)
	if in := one.open().connect(token.Token, ""); in.Kind != wire.KindError || in.Error.Code != wire.BadToken {
		t.Errorf("a second use: %+v", in)
	}
	one.call("token", `{"user":"alice","id":"t1"}`, &token)
	b, c := one.open(), two.open()
	b.connect(token.Token, "")
	c.connect(token.Token, "")
	two.call("revoke", `{"token_id":"t1"}`, new(api.RevokeReply))
	for _, r := range []*raw{b, c} {
		if code := r.closes(); code != wire.Revoked {
			t.Errorf("closed with %v", code)
		}
	}
	a.must("ping", ``)
	one.call("revoke", `{"user":"alice"}`, new(api.RevokeReply))
	if code := a.closes(); code != wire.Revoked {
		t.Errorf("closed with %v", code)
	}
	one.call("token", `{"user":"alice"}`, &token)
	if in := two.open().connect(token.Token, ""); in.Kind != wire.KindConnect {
		t.Errorf("a token made afterwards: %+v", in)
	}
	one.call("revoke", `{"user":"alice","ban":true}`, new(api.RevokeReply))
	one.call("token", `{"user":"alice"}`, &token)
	if in := one.open().connect(token.Token, ""); in.Kind != wire.KindError || in.Error.Code != wire.Revoked {
		t.Errorf("a token of one who is banned: %+v", in)
	}
}

// joinSilent makes g know a gateway that never answers.
func (g *running) joinSilent(nc *nats.Conn) {
	g.t.Helper()
	beat, err := json.Marshal(cluster.Node{ID: "silent", Info: cluster.Info{Name: "silent"}})
	if err != nil {
		g.t.Fatal(err)
	}
	eventually(g.t, "the silent one to be known", func() bool {
		if err := nc.Publish("jetwire.node.beat", beat); err != nil {
			g.t.Fatal(err)
		}
		var info api.InfoReply
		g.call("info", `{}`, &info)
		return len(info.Gateways) == 2
	})
}

// A gateway that is known and does not answer is told of; what ends something is then not taken to be done.
func TestGatewayThatDoesNotAnswer(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, withKeys(t))
	alice := g.signIn("alice")
	alice.must("subscribe", `"channel":"chat.a"`)
	alice.must("subscribe", `"channel":"chat.b"`)
	g.joinSilent(ns.Conn())
	var work sync.WaitGroup
	work.Go(func() {
		var got wire.PresenceReply
		g.call("presence", `{"channel":"chat.a"}`, &got)
		if got.Connections != 1 || len(got.Users) != 1 || got.Unanswered != 1 {
			t.Errorf("%+v", got)
		}
	})
	work.Go(func() {
		var got api.SubscriptionsReply
		g.call("subscriptions", `{"user":"alice"}`, &got)
		if len(got.Connections) != 1 || got.Unanswered != 1 {
			t.Errorf("%+v", got)
		}
	})
	work.Go(func() {
		p := g.refusedCall(504, wire.Timeout, "POST", "/v1/unsubscribe", `{"user":"alice","channel":"chat.b"}`, nil)
		if !strings.HasPrefix(p.Message, "1 of the gateways did not answer in time; the others met 1 connections") {
			t.Error(p.Message)
		}
	})
	work.Wait()
}

func TestInfo(t *testing.T) {
	onPair(t, func(t *testing.T, one, two *running) {
		one.signIn("alice").publish("chat.a", `1`)
		var info api.InfoReply
		eventually(t, "the tail to bring the message", func() bool {
			one.call("info", `{}`, &info)
			return len(info.Streams) == 1 && info.Streams[0].Seq == 1
		})
		if info.Streams[0].Namespace != "chat" || info.Streams[0].Durability != "memory" || info.Streams[0].Epoch == "" {
			t.Errorf("%+v", info.Streams)
		}
		if len(info.Gateways) != 2 || info.Connections == 0 || !slices.ContainsFunc(info.Gateways, func(g api.Gateway) bool { return g.ID == info.Gateway && g.Address == one.addr }) {
			t.Errorf("%+v", info)
		}
		eventually(t, "the other one's connections", func() bool {
			two.call("info", `{}`, &info)
			return info.Connections >= 2 && len(info.Streams) == 0
		})
	})
}
