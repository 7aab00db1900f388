package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/unified"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

const unifiedKey = "a-key-of-the-unified-service"

// unifiedOn switches the unified service on.

func unifiedOn(t *testing.T, change func(*gateway.Options)) func(*gateway.Options) {
	t.Helper()
	keys, err := auth.NewKeys(auth.APIKey{Key: unifiedKey, Scopes: []auth.Scope{auth.ScopeUnified}}, auth.APIKey{Key: "a-key-for-other-things", Scopes: []auth.Scope{auth.ScopePublish}})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *gateway.Options) {
		o.APIKeys, o.Unified = keys, &gateway.Unified{}
		if change != nil {
			change(o)
		}
	}
}

// body is a unified message as a client of another make would see it.

type body struct {
	SendType, MessageType, BusinessType, FromUniqueID, ToUniqueID, FromClientType, ToClientType, MessageID string

	Timestamp        int64
	Content          json.RawMessage
	Tags, Businesses []string
}

// answered is the envelope of the service, with what a problem has besides.

type answered struct {
	Result      int
	Description string
	Data        json.RawMessage
	Code        string
	Message     string
	Status      int
	Type        string
}

// ask sends a request to the service; bearer is a key or a token.

func (g *running) ask(method, path, bearer, text string) (status int, a answered) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.addr+path, strings.NewReader(text))
	if err != nil {
		g.t.Fatal(err)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	if err := json.Unmarshal(b, &a); err != nil {
		g.t.Fatalf("%s %s: %d %s", method, path, res.StatusCode, b)
	}
	want := "application/json"
	if res.StatusCode != http.StatusOK {
		want = "application/problem+json"
	}
	if got := res.Header.Get("Content-Type"); got != want || res.Header.Get("Cache-Control") != "no-store" {
		g.t.Errorf("%s %s: %v", method, path, res.Header)
	}
	return res.StatusCode, a
}

// socketURL asks, with the key, for a socket.

func (g *running) socketURL(id, kind, more string) string {
	g.t.Helper()
	status, a := g.ask(http.MethodGet, "/websocket/token?uniqueId="+url.QueryEscape(id)+"&clientType="+kind+more, unifiedKey, "")
	var u string
	if err := json.Unmarshal(a.Data, &u); err != nil || status != http.StatusOK || a.Result != 0 || !strings.HasPrefix(u, "ws://"+g.addr+"/socket/") {
		g.t.Fatalf("token: %d %+v", status, a)
	}
	return u
}

// post sends a message with the key, and returns its place.

func (g *running) post(text string) (seq uint64) {
	g.t.Helper()
	status, a := g.ask(http.MethodPost, "/websocket/message", unifiedKey, text)
	var d struct {
		Seq       uint64
		MessageID string
	}
	if err := json.Unmarshal(a.Data, &d); err != nil || status != http.StatusOK || a.Result != 0 || d.Seq == 0 || d.MessageID == "" {
		g.t.Fatalf("post: %d %+v", status, a)
	}
	return d.Seq
}

// speaker is a client who speaks unified messages.

type speaker struct {
	t    *testing.T
	conn net.Conn
	both io.ReadWriter // what it reads from, and answers pings on
}

func (g *running) speaker(id, kind, more string) *speaker {
	g.t.Helper()
	return g.speakerAt(g.socketURL(id, kind, more))
}

func (g *running) speakerAt(u string) *speaker {
	g.t.Helper()
	conn, br, _, err := ws.Dial(g.t.Context(), u)
	if err != nil {
		g.t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(wait))
	g.t.Cleanup(func() { _ = conn.Close() })
	s := &speaker{g.t.(*testing.T), conn, conn}
	if br != nil { // a close may come at once
		s.both = struct {
			io.Reader
			io.Writer
		}{br, conn}
	}
	return s
}

func (s *speaker) say(text string) {
	s.t.Helper()
	if err := wsutil.WriteClientText(s.conn, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

// hear reads the next message, and answers pings as every WebSocket client does.

func (s *speaker) hear() body {
	s.t.Helper()
	b, _, err := wsutil.ReadServerData(s.both)
	if err != nil {
		s.t.Fatal(err)
	}
	var m body
	if err := json.Unmarshal(b, &m); err != nil {
		s.t.Fatalf("%s: %v", b, err)
	}
	return m
}

// hears reads a message, and checks what matters of it: "from content".

func (s *speaker) hears(want string) body {
	s.t.Helper()
	m := s.hear()
	if got := m.FromUniqueID + " " + string(m.Content); got != want {
		s.t.Fatalf("%q, want %q: %+v", got, want, m)
	}
	return m
}

// told reads an answer of the gateway's.

func (s *speaker) told(kind, messageID, content string) body {
	s.t.Helper()
	m := s.hear()
	if m.MessageType != kind || m.SendType != "SERVER_TO_CLIENT" || m.MessageID != messageID || !strings.Contains(string(m.Content), content) {
		s.t.Fatalf("%+v %s, want %s %s %s", m, m.Content, kind, messageID, content)
	}
	return m
}

// ends reads until the server closes.

func (s *speaker) ends() wire.Code {
	s.t.Helper()
	for {
		_, _, err := wsutil.ReadServerData(s.both)
		var closed wsutil.ClosedError
		if errors.As(err, &closed) {
			return wire.Code(closed.Code)
		}
		if err != nil {
			s.t.Fatal(err)
		}
	}
}

// quiet checks that nothing more has come: what the client says to itself comes first.

func (s *speaker) quiet() {
	s.t.Helper()
	s.say(`{"messageId":"quiet","sendType":"x"}`)
	s.told("ERROR", "quiet", "sendType")
}

func onBothUnified(t *testing.T, test func(t *testing.T, g *running)) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		test(t, start(t, ns, unifiedOn(t, change)))
	})
}

func TestUnifiedMessagesReachTheirReceivers(t *testing.T) {
	onBothUnified(t, func(t *testing.T, g *running) {
		app, h5 := g.speaker("alice", "app", "&tags=vip"), g.speaker("alice", "h5", "")
		bob := g.speaker("bob@example.com", "app", "&tags=new,vip&businesses=order")
		bob.quiet() // it is connected
		app.quiet()
		h5.quiet()

		g.post(`{"toUniqueId":"alice","content":1,"messageType":"paid","businessType":"order","tags":["gold"]}`)
		m := h5.hears(" 1") // named no tags, and takes what is for it; app did
		if m.SendType != "SERVER_TO_CLIENT" || m.MessageType != "paid" || m.BusinessType != "order" || m.Timestamp == 0 || m.MessageID == "" || m.ToUniqueID != "alice" {
			t.Errorf("%+v", m)
		}
		g.post(`{"toUniqueId":"alice","toClientType":"app","content":"two","fromUniqueId":"shop"}`)
		app.hears(`shop "two"`)
		g.post(`{"toUniqueId":"bob@example.com","content":{"n":3}}`)
		bob.hears(` {"n":3}`)
		g.post(`{"toClientType":"app","content":4}`)
		app.hears(" 4")
		bob.hears(" 4")
		g.post(`{"toClientType":"*","content":5,"timestamp":77}`)
		for _, s := range []*speaker{app, h5, bob} {
			if m := s.hears(" 5"); m.Timestamp != 77 {
				t.Errorf("%+v", m)
			}
		}
		g.post(`{"tags":["vip","x"],"content":6}`)
		app.hears(" 6")
		bob.hears(" 6")
		g.post(`{"tags":["vip"],"businesses":["order"],"content":7}`)
		bob.hears(" 7")

		// Client to client: to itself elsewhere, as the rule is; who sent it is the gateway's to say.
		app.say(`{"toUniqueId":"alice","content":8,"messageId":"m8"}`)
		app.told("ACK", "m8", `"duplicate":false`)
		if m := h5.hears("alice 8"); m.SendType != "CLIENT_TO_CLIENT" || m.FromClientType != "app" || m.MessageID != "m8" {
			t.Errorf("%+v", m)
		}
		app.say(`{"toUniqueId":"alice","content":8,"messageId":"m8"}`)
		app.told("ACK", "m8", `"duplicate":true`)
		for _, s := range []*speaker{app, h5, bob} {
			s.quiet()
		}
	})
}

func TestUnifiedClientCannotForge(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) { o.Unified.ClientToClient = auth.SignedIn }))
	alice, bob := g.speaker("alice", "app", ""), g.speaker("bob", "app", "")
	bob.quiet()
	for _, c := range []struct{ text, code string }{
		{`{"messageId":"m","fromUniqueId":"carol","toUniqueId":"bob"}`, "permission_denied"},
		{`{"messageId":"m","fromClientType":"h5","toUniqueId":"bob"}`, "permission_denied"},
		{`{"messageId":"m","sendType":"SERVER_TO_CLIENT","toUniqueId":"bob"}`, "permission_denied"},
		{`{"messageId":"m","sendType":"CLIENT_TO_CLIENT"}`, "bad_request"},
		{`{"messageId":"m","toUniqueId":7}`, "bad_request"},
		{`{"messageId":"m","tags":["a"],"extra":1}`, "bad_request"},
		{`{"messageId":"m","toUniqueId":"bob","content":"` + strings.Repeat("x", 70_000) + `"}`, "too_large"},
		{`{"messageId":"m","toUniqueId":"bob","content":` + strings.Repeat("[", 128) + strings.Repeat("]", 128) + `}`, "bad_request"},
	} {
		alice.say(c.text)
		alice.told("ERROR", "m", `"code":"`+c.code+`"`)
	}
	alice.say(`{`)
	alice.told("ERROR", "", `"code":"bad_request"`)
	alice.say(`{"toUniqueId":"bob","content":"at last","fromUniqueId":"alice","fromClientType":"app"}`)
	bob.hears(`alice "at last"`)
	bob.quiet()
	if err := wsutil.WriteClientBinary(alice.conn, []byte(`{}`)); err != nil {
		t.Fatal(err)
	}
	if code := alice.ends(); code != wire.UnsupportedData {
		t.Errorf("closed with %v", code)
	}
}

// Nobody reaches into the namespace, nor past the rules, by the gateway's own protocol.

func TestUnifiedNamespaceIsClosed(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, nil))
	eve := g.signIn("eve")
	for _, c := range []string{unified.Cast, unified.Inbox("alice"), unified.Inbox("eve")} {
		eve.refused(wire.PermissionDenied, "subscribe", fmt.Sprintf(`"channel":%q`, c))
		eve.refused(wire.PermissionDenied, "publish", fmt.Sprintf(`"channel":%q,"data":1`, c))
		eve.refused(wire.PermissionDenied, "history", fmt.Sprintf(`"channel":%q,"last":1`, c))
	}
}

// A peer need not answer every ping: it is asked again. What it has got does not come twice on one connection, also when it is overdue.

// silence is a way to a server on which packets can be lost without either end being told.

// A connection that dies without a word loses nothing: what the gateway has written, and nobody has got, comes again.

// What a backend publishes with its NATS client alone reaches unified clients, and what is no unified message becomes the content of one.

func TestUnifiedFromNATS(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, unifiedOn(t, nil))
	alice := g.speaker("alice", "app", "")
	alice.quiet()
	nc := ns.Conn()
	for subject, data := range map[string]string{unified.Inbox("alice"): `{"toUniqueId":"alice","messageType":"paid","content":1}`, "user.alice": `{"order":7}`} {
		if err := nc.Publish(subject, []byte(data)); err != nil {
			t.Fatal(err)
		}
		m := alice.hear()
		if m.SendType != "SERVER_TO_CLIENT" || m.Timestamp == 0 || m.MessageID == "" || string(m.Content) != "1" && string(m.Content) != `{"order":7}` {
			t.Errorf("%+v %s", m, m.Content)
		}
	}
	// A client who may write to the inbox is named, whatever the body says.
	mallory := g.open()
	mallory.send(`{"id":1,"connect":{"token":"` + sign(t, auth.Grant{User: "mallory", Patterns: &auth.Patterns{auth.Publish: {"user.>"}}}) + `"}}`)
	mallory.next()
	mallory.nextID = 1
	mallory.publish("user.alice", `{"sendType":"SERVER_TO_CLIENT","fromUniqueId":"bank","fromClientType":"app","content":"pay"}`)
	if m := alice.hears(`mallory "pay"`); m.SendType != "CLIENT_TO_CLIENT" || m.FromClientType != "" {
		t.Errorf("%+v", m)
	}
}

// worker is a backend that has a NATS client and nothing of Jetwire's: a durable consumer of what clients send to the server.

func worker(t *testing.T, ns *natstest.Server, business string) jetstream.Consumer {
	t.Helper()
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateOrUpdateConsumer(t.Context(), "jetwire_commands", jetstream.ConsumerConfig{
		Durable: "worker", FilterSubject: "jetwire.command." + unified.Namespace + "." + business,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: 300 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The whole sequence of the article that the service stands in for: a client gets its socket, tells the server something, a backend that

// dies before it is done is replaced, the result comes by the socket, and a client tells another one.

func TestUnifiedSequence(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, unifiedOn(t, func(o *gateway.Options) { change(o); o.Unified.ClientToClient = auth.SignedIn }))
		backend := worker(t, ns, "payment")
		app, h5 := g.speaker("alice", "app", ""), g.speaker("bob", "h5", "")
		h5.quiet()
		for range 2 { // a retry is the same message
			app.say(`{"messageId":"pay-1","messageType":"pay","businessType":"payment","content":{"order":7}}`)
		}
		app.told("ACK", "pay-1", `"duplicate":false`)
		app.told("ACK", "pay-1", `"duplicate":true`)
		for attempt := range uint64(2) { // the first one dies without an ack
			m, err := backend.Next(jetstream.FetchMaxWait(wait))
			if err != nil {
				t.Fatal(err)
			}
			var b body
			if err := json.Unmarshal(m.Data(), &b); err != nil {
				t.Fatal(err)
			}
			if b.FromUniqueID != "alice" || b.FromClientType != "app" || b.SendType != "CLIENT_TO_SERVER" || b.MessageType != "pay" || string(b.Content) != `{"order":7}` || b.MessageID != "pay-1" {
				t.Fatalf("%s", m.Data())
			}
			meta, err := m.Metadata()
			if err != nil || meta.NumDelivered != attempt+1 {
				t.Fatalf("%+v, %v", meta, err)
			}
			if attempt == 1 {
				if err := m.DoubleAck(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		g.post(`{"messageType":"paid","businessType":"payment","toUniqueId":"alice","toClientType":"app","content":{"order":7,"paid":true}}`)
		app.hears(` {"order":7,"paid":true}`)
		app.say(`{"sendType":"CLIENT_TO_CLIENT","toUniqueId":"bob","toClientType":"h5","content":"see my order"}`)
		h5.hears(`alice "see my order"`)
		if info, err := backend.Info(t.Context()); err != nil || info.NumPending+uint64(info.NumAckPending) != 0 {
			t.Errorf("%+v, %v", info, err)
		}
		// The same by HTTP.
		token := sign(t, auth.Grant{User: "carol"})
		if status, a := g.ask(http.MethodPost, "/websocket/message", token, `{"businessType":"payment","content":"by HTTP"}`); status != http.StatusOK {
			t.Fatalf("%d %+v", status, a)
		}
		m, err := backend.Next(jetstream.FetchMaxWait(wait))
		if err != nil || !strings.Contains(string(m.Data()), `"fromUniqueId":"carol"`) {
			t.Fatalf("%v, %v", m, err)
		}
		if err := m.Ack(); err != nil {
			t.Error(err)
		}
	})
}

// A user whose tokens are revoked loses sockets, too, and the tokens for them.

// What is for others has to be acknowledged, too: however much of it comes, what is for the client comes behind it.

// Who is asked what rules cannot say is asked of what clients post, too, and not of the service's own subscriptions unless it is told to.
