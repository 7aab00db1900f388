package gateway_test

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestPublishSubscribe(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, change)
		alice, bob := g.signIn("alice"), g.signIn("bob")
		sub := bob.must("subscribe", `"channel":"chat.a"`).Subscribe
		if sub.Channel != "chat.a" || sub.Seq != 0 || sub.Epoch == "" || sub.QoS != wire.AtLeastOnce {
			t.Fatalf("%+v", sub)
		}
		alice.publish("chat.other", `0`)
		ack := alice.must("publish", `"channel":"chat.a","data":{"hi": 1},"id":"m1"`).Publish
		if ack.Channel != "chat.a" || ack.Seq != 2 || ack.Epoch != sub.Epoch || ack.Duplicate || ack.Durability != "memory" {
			t.Errorf("%+v", ack)
		}
		m := bob.message()
		age := time.Since(time.UnixMilli(m.Time))
		if m.Seq != 2 || m.Prev != 0 || m.ID != "m1" || m.From != "alice" || string(m.Body) != `{"hi": 1}` || age < -time.Second || age > wait {
			t.Errorf("%+v %s", m, m.Body)
		}
		alice.publish("chat.a", `"two"`)
		if m := bob.message(); m.Seq != 3 || m.Prev != 2 {
			t.Errorf("%+v", m)
		}
		bob.must("ack", `"channel":"chat.a","seq":3`)
		bob.refused(wire.AckAhead, "ack", `"channel":"chat.a","seq":4`)
		bob.must("unsubscribe", `"channel":"chat.a"`)
		alice.publish("chat.a", `"three"`)
		bob.must("ping", ``)
		if len(bob.queued) > 0 {
			t.Errorf("after unsubscribe came %+v", bob.queued)
		}
	})
}

// A backend is any NATS client.
func TestPlainNATSClient(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, nil)
	bob := g.signIn("bob")
	bob.must("subscribe", `"channel":"shop.orders"`)
	nc := ns.Conn()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	m := nats.NewMsg("shop.orders")
	m.Data = []byte("paid \xff")
	m.Header.Set("Jw-From", "shop")
	m.Header.Set("Jw-Id", "4711")
	if _, err := js.PublishMsg(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	if got := bob.message(); got.From != "shop" || got.ID != "4711" || got.Encoding != wire.Base64 || string(got.Body) != "paid \xff" {
		t.Errorf("%+v %q", got, got.Body)
	}
	m.Data, m.Header = []byte("shipped"), nats.Header{"Nats-Msg-Id": {"4711-shipped"}}
	for i, again := range []bool{false, true} {
		if ack, err := js.PublishMsg(t.Context(), m); err != nil || ack.Sequence != 2 || ack.Duplicate != again {
			t.Fatalf("%d: %+v %v", i, ack, err)
		}
	}
	if got := bob.message(); got.Seq != 2 || got.From != "" || got.ID != "4711-shipped" || string(got.Body) != "shipped" {
		t.Errorf("%+v %q", got, got.Body)
	}
	if err := nc.Publish("jetwire.live.shop.orders", []byte("typing")); err != nil {
		t.Fatal(err)
	}
	if got := bob.message(); got.Seq != 0 || got.Time != 0 || got.From != "" || string(got.Body) != "typing" || got.Encoding != wire.Text {
		t.Errorf("%+v %q", got, got.Body)
	}

	// And what sockets publish is in the stream, with the sender that the gateway knows.
	bob.must("publish", `"channel":"shop.orders","data":"/wA=","encoding":"base64","id":"b1","qos":1`)
	c, err := js.CreateOrUpdateConsumer(t.Context(), "JW_shop", jetstream.ConsumerConfig{Durable: "billing"})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct{ body, from, id string }{{"paid \xff", "shop", "4711"}, {"shipped", "", ""}, {"\xff\x00", "bob", "b1"}} {
		m, err := c.Next(jetstream.FetchMaxWait(wait))
		if err != nil {
			t.Fatal(err)
		}
		if string(m.Data()) != want.body || m.Headers().Get("Jw-From") != want.from || m.Headers().Get("Jw-Id") != want.id || m.Subject() != "shop.orders" {
			t.Errorf("%q %v, want %+v", m.Data(), m.Headers(), want)
		}
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	}
}

func TestQoS0(t *testing.T) {
	ns := natstest.Run(t)
	one, two := start(t, ns, nil), start(t, ns, nil)
	alice, lossy, bob := one.signIn("alice"), one.signIn("lossy"), two.signIn("bob")
	lossy.must("subscribe", `"channel":"chat.a","qos":0`)
	bob.must("subscribe", `"channel":"chat.a"`)
	if p := alice.must("publish", `"channel":"chat.a","data":"typing","qos":0`).Publish; p.Seq != 0 || p.Epoch != "" || p.Durability != "none" {
		t.Errorf("%+v", p)
	}
	seq := alice.publish("chat.a", `"stored"`)
	for name, r := range map[string]*raw{"same gateway": lossy, "other gateway": bob} {
		got := map[string]uint64{}
		for range 2 { // the order of the two is not promised
			m := r.message()
			got[string(m.Body)] = m.Seq
		}
		if got[`"typing"`] != 0 || got[`"stored"`] != seq {
			t.Errorf("%s: %v", name, got)
		}
	}
	alice.hold("chat.a", seq)
	if h := alice.must("history", `"channel":"chat.a"`).History; len(h.Messages) != 1 {
		t.Errorf("stored: %+v", h.Messages)
	}
	lossy.refused(wire.BadRequest, "ack", `"channel":"chat.a","seq":1`)
	lossy.refused(wire.BadRequest, "subscribe", `"channel":"chat.b","qos":0,"since":1`)
}

func TestDuplicatesThroughTwoGateways(t *testing.T) {
	ns := natstest.Run(t)
	one, two := start(t, ns, nil), start(t, ns, nil)
	a, b, other := one.signIn("alice"), two.signIn("alice"), two.signIn("bob")
	const m = `"channel":"chat.a","data":1,"id":"once"`
	first := a.must("publish", m).Publish
	for _, r := range []*raw{a, b, b} {
		if again := r.must("publish", m).Publish; again.Seq != first.Seq || !again.Duplicate || again.Epoch != first.Epoch {
			t.Errorf("%+v, the first was %+v", again, first)
		}
	}
	// Ids belong to a user and a channel.
	others := other.must("publish", m).Publish
	if others.Duplicate {
		t.Errorf("another user's: %+v", others)
	}
	if p := a.must("publish", `"channel":"chat.b","data":1,"id":"once"`).Publish; p.Duplicate {
		t.Errorf("another channel's: %+v", p)
	}
	b.hold("chat.a", others.Seq)
	if h := b.must("history", `"channel":"chat.a"`).History; len(h.Messages) != 2 {
		t.Errorf("%+v", h.Messages)
	}
}

func TestNamespaces(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, func(o *gateway.Options) {
		o.Streams.Default = nil
		o.Streams.Policies = []streams.Policy{{Namespace: "chat", Storage: streams.Memory, MaxMessageSize: 100}, {Namespace: "user", Storage: streams.Memory}}
		o.Rules = map[string]auth.Rules{"chat": {auth.Publish: auth.Granted}}
	})
	alice := g.signIn("alice")
	for _, name := range []string{"subscribe", "history"} {
		alice.refused(wire.UnknownNamespace, name, `"channel":"game.a"`)
		alice.refused(wire.BadChannel, name, `"channel":"chat..a"`)
		alice.refused(wire.PermissionDenied, name, `"channel":"user.bob"`)
		alice.must(name, `"channel":"user.alice"`)
	}
	alice.refused(wire.UnknownNamespace, "publish", `"channel":"game.a","data":1`)
	alice.refused(wire.PermissionDenied, "publish", `"channel":"chat.a","data":1`)
	alice.refused(wire.PermissionDenied, "publish", `"channel":"user.alice","data":1`)
	granted := g.open()
	granted.send(`{"id":1,"connect":{"token":"` + sign(t, auth.Grant{User: "bot", Patterns: &auth.Patterns{auth.Publish: []string{"chat.>", "user.*"}}}) + `"}}`)
	granted.next()
	granted.nextID = 1
	granted.publish("chat.a", `1`)
	granted.publish("user.alice", `1`)
	granted.refused(wire.TooLarge, "publish", `"channel":"chat.a","data":"`+strings.Repeat("x", 100)+`"`)
	if n := g.metric(`jetwire_errors_total{code="unknown_namespace"}`); n != 3 {
		t.Errorf("counted %v", n)
	}
}

func TestTooManyNamespaces(t *testing.T) {
	g := start(t, natstest.Run(t), func(o *gateway.Options) { o.Streams.MaxUnlisted = 2 })
	alice := g.signIn("alice")
	alice.publish("one.a", `1`)
	alice.publish("two.a", `1`)
	alice.refused(wire.TooManyNamespaces, "publish", `"channel":"three.a","data":1`)
}

func TestStoreFull(t *testing.T) {
	g := start(t, natstest.RunWith(t, func(o *server.Options) { o.JetStreamMaxMemory = 256 << 10 }), nil)
	alice := g.signIn("alice")
	data := `"channel":"chat.a","data":"` + strings.Repeat("x", 32<<10) + `"`
	stored := 0
	for in := alice.ask("publish", data); in.Kind != wire.KindError; in = alice.ask("publish", data) {
		if stored++; stored > 100 {
			t.Fatal("the store has no end")
		}
	}
	alice.refused(wire.StoreFull, "publish", data)
	alice.hold("chat.a", uint64(stored))
	if h := alice.must("history", `"channel":"chat.a","last":100`).History; len(h.Messages) != stored {
		t.Errorf("%d answered as stored, %d are", stored, len(h.Messages))
	}
}

func TestMalformedFrames(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, func(o *gateway.Options) {
			change(o)
			o.Limits.MessageBytes = 4096
		})
		masked := func(op ws.OpCode, payload string) ws.Frame {
			return ws.MaskFrame(ws.NewFrame(op, true, []byte(payload)))
		}
		reserved := masked(ws.OpText, `{"id":9,"ping":{}}`)
		reserved.Header.Rsv = ws.Rsv(true, false, false)
		for name, c := range map[string]struct {
			frame ws.Frame
			code  wire.Code
		}{
			"not JSON":        {masked(ws.OpText, `hello`), wire.BadRequest},
			"binary":          {masked(ws.OpBinary, `{"id":9,"ping":{}}`), wire.UnsupportedData},
			"not UTF-8":       {masked(ws.OpText, "{\"id\":9,\"ping\":{\"\xff\"}}"), wire.InvalidPayload},
			"not masked":      {ws.NewTextFrame([]byte(`{"id":9,"ping":{}}`)), wire.ProtocolError},
			"reserved bit":    {reserved, wire.ProtocolError},
			"reserved opcode": {masked(3, ``), wire.ProtocolError},
			"too large":       {masked(ws.OpText, `{"id":9,"publish":{"channel":"chat.a","data":"`+strings.Repeat("x", 4096)+`"}}`), wire.MessageTooBig},
		} {
			t.Run(name, func(t *testing.T) {
				r := g.signIn("alice")
				if err := ws.WriteFrame(r.conn, c.frame); err != nil {
					t.Fatal(err)
				}
				if code := r.closes(); code != c.code {
					t.Errorf("closed with %v, want %v", code, c.code)
				}
			})
		}
		// These can be answered, and the connection goes on.
		r := g.signIn("alice")
		r.send(`{"id":7,"fly":{}}{"id":8,"ping":{"x":null}}{"ping":{"x":null}}{"id":9,"publish":{"channel":"chat.a","data":{]`)
		for _, want := range []struct {
			id   uint64
			code wire.Code
		}{{7, wire.UnknownCommand}, {8, wire.BadRequest}, {0, wire.BadRequest}, {9, wire.BadRequest}} {
			if in := r.next(); in.ID != want.id || in.Kind != wire.KindError || in.Error.Code != want.code {
				t.Errorf("%+v, want %v", in, want)
			}
		}
		r.nextID = 10
		r.must("ping", ``)
	})
}

func TestTokens(t *testing.T) {
	g := start(t, natstest.Run(t), func(o *gateway.Options) { o.Limits.PingInterval = 300 * time.Millisecond })
	for name, c := range map[string]struct {
		token string
		code  wire.Code
	}{
		"none":    {"", wire.Unauthenticated},
		"forged":  {sign(t, auth.Grant{User: "eve"})[:20] + "x.y.z", wire.BadToken},
		"expired": {sign(t, auth.Grant{User: "eve", Expires: time.Now().Add(-time.Minute).UnixMilli()}), wire.ExpiredToken},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.open()
			r.send(`{"id":1,"connect":{"token":"` + c.token + `"}}`)
			if in := r.next(); in.ID != 1 || in.Error.Code != c.code {
				t.Errorf("%+v", in)
			}
			if code := r.closes(); code != c.code {
				t.Errorf("closed with %v", code)
			}
		})
	}
	r := g.open()
	r.send(`{"id":1,"connect":{"token":"` + sign(t, auth.Grant{User: "brief", Expires: time.Now().Add(1500 * time.Millisecond).UnixMilli()}) + `"}}`)
	if in := r.next(); in.Kind != wire.KindConnect || in.Connect.Expires == 0 {
		t.Fatalf("%+v", in)
	}
	if in := r.next(); in.Kind != wire.KindExpired || in.Expired.Grace != 0.3 {
		t.Fatalf("%+v", in)
	}
	if code := r.closes(); code != wire.ExpiredToken {
		t.Errorf("closed with %v", code)
	}
}

func TestLimits(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, func(o *gateway.Options) {
			change(o)
			o.Limits = gateway.Limits{
				Connections: 3, ConnectionsPerAddr: 2, Subscriptions: 2, HandshakeTimeout: 300 * time.Millisecond, InFlight: 2, HistoryPage: 3,
			}
		})
		alice := g.signIn("alice")
		alice.must("subscribe", `"channel":"chat.a"`)
		alice.must("subscribe", `"channel":"chat.b"`)
		alice.refused(wire.TooManySubscriptions, "subscribe", `"channel":"chat.c"`)
		alice.refused(wire.AlreadySubscribed, "subscribe", `"channel":"chat.a"`)
		for range 4 {
			alice.hold("chat.d", alice.publish("chat.d", `1`))
		}
		if h := alice.must("history", `"channel":"chat.d","limit":100`).History; len(h.Messages) != 3 || h.Next == "" {
			t.Errorf("%+v", h)
		}
		// More commands at once than may wait are all answered, one after the other.
		const many = 200
		alice.send(strings.Repeat(`{"id":77,"publish":{"channel":"chat.d","data":1}}`, many))
		for range many {
			if in := alice.next(); in.ID != 77 || in.Kind != wire.KindPublish {
				t.Fatalf("%+v", in)
			}
		}
		silent := g.open()
		// The third socket of this address.
		if conn, _, _, err := (ws.Dialer{}).Dial(t.Context(), "ws://"+g.addr+gateway.Path); err == nil {
			_ = conn.Close()
			t.Error("more connections than one address may have")
		}
		if code := silent.closes(); code != wire.ConnectTimeout {
			t.Errorf("closed with %v", code)
		}
		_ = silent.conn.Close()
		alice.must("ping", ``)
		// A request that never ends.
		eventually(t, "room for a connection", func() bool {
			conn, err := net.Dial("tcp", g.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			_, _ = conn.Write([]byte("GET /ws HTTP/1.1\r\n"))
			_ = conn.SetReadDeadline(time.Now().Add(wait))
			n, err := conn.Read(make([]byte, 1))
			return n == 0 && err != nil // closed without a word; a refused one is told 503
		})
	})
}
