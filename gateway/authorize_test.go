package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/callout"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

// asked is a question as an authority gets it.
type asked struct {
	User, Op, Channel, Session string
	Data                       any
}

// TestAuthorizerOverNATS: a backend with nothing but a NATS client decides, and nothing is allowed while it is away.
func TestAuthorizerOverNATS(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, func(o *gateway.Options) {
			change(o)
			o.Rules = map[string]auth.Rules{"shop": {}, "free": {}}
			o.Authorizers = map[string]callout.Options{"backend": {Subject: "may", Cache: time.Minute, Operations: []auth.Op{auth.Subscribe, auth.Publish}}}
			o.Authorizer = map[string]string{"shop": "backend"}
		})
		alice := g.signIn("alice")
		in := alice.ask("publish", `"channel":"shop.alice","data":1`)
		if in.Error.Code != wire.Unavailable || in.Error.RetryAfter != 1 {
			t.Fatalf("nobody is there to say yes: %+v", in)
		}
		nc, err := nats.Connect(ns.URL())
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		var questions atomic.Int64
		if _, err := nc.Subscribe("may", func(m *nats.Msg) {
			questions.Add(1)
			var q asked
			err := json.Unmarshal(m.Data, &q)
			allow := err == nil && q.Session == "" && strings.HasPrefix(q.Channel, "shop."+q.User)
			_ = m.Respond(fmt.Appendf(nil, `{"allow":%v,"reason":"not yours"}`, allow))
		}); err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			alice.publish("shop.alice", `1`)
		}
		in = alice.ask("subscribe", `"channel":"shop.*"`)
		if in.Error.Code != wire.PermissionDenied || in.Error.Message != "the authorizer does not allow to subscribe shop.*: not yours" {
			t.Errorf("%+v", in)
		}
		alice.refused(wire.PermissionDenied, "publish", `"channel":"shop.bob","data":1`)
		alice.refused(wire.PermissionDenied, "publish", `"channel":"shop.bob","data":1`)
		if n := questions.Load(); n != 3 {
			t.Errorf("%d questions", n)
		}
		alice.must("history", `"channel":"shop.bob"`) // not one of the operations
		alice.publish("free.bob", `1`)
		alice.publish("other.bob", `1`)
		g.signIn("bob").publish("shop.bob", `1`)
		for name, want := range map[string]float64{"questions": 1 + 4, "known": 2 + 1, "denied": 3, "failed": 1} {
			if n := g.metric("jetwire_authorizer_" + name + "_total"); n != want {
				t.Errorf("%s: %v, want %v", name, n, want)
			}
		}
	})
}

// TestAuthorizerOverHTTP: each body is checked, in the order in which they were sent, and many at once are all answered.
func TestAuthorizerOverHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q asked
		err := json.NewDecoder(r.Body).Decode(&q)
		n, ok := q.Data.(float64)
		_, _ = io.WriteString(w, fmt.Sprintf(`{"allow":%v}`, err == nil && ok && int(n)%3 != 0 && q.Session != ""))
	}))
	defer s.Close()
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		o.Authorizers = map[string]callout.Options{"web": {URL: s.URL, Data: true, Operations: []auth.Op{auth.Publish}}}
		o.DefaultAuthorizer = "web"
	})
	alice := g.signIn("alice")
	alice.must("subscribe", `"channel":"chat.a"`)
	const many = 60
	var frame strings.Builder
	for i := range many {
		fmt.Fprintf(&frame, `{"id":%d,"publish":{"channel":"chat.a","data":%d}}`, i+100, i)
	}
	alice.send(frame.String())
	alice.send(`{"id":1000,"ping":{}}`)
	var stored []string
	refused := 0
	for len(stored) < many*2/3 || refused < many/3 {
		switch in := alice.next(); {
		case in.Kind == wire.KindMessage:
			stored = append(stored, string(in.Message.Body))
		case in.Kind == wire.KindError && in.Error.Code == wire.PermissionDenied && (in.ID-100)%3 == 0:
			refused++
		case in.Kind != wire.KindPublish && in.Kind != wire.KindPing:
			t.Fatalf("%+v", in)
		}
	}
	for i, body := range stored {
		if want := fmt.Sprint(i + i/2 + 1); body != want {
			t.Fatalf("message %d is %s, want %s", i, body, want)
		}
	}
}

// TestQuestionsAreNoMessages: where an authorizer is asked there are no channels, or clients would read the questions.
func TestQuestionsAreNoMessages(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, func(o *gateway.Options) {
		o.Authorizers = map[string]callout.Options{"backend": {Subject: "auth.check"}}
		o.Authorizer, o.Rules = map[string]string{"shop": "backend"}, map[string]auth.Rules{"shop": {}}
	})
	if _, err := ns.Conn().Subscribe("auth.check", func(m *nats.Msg) { _ = m.Respond([]byte(`{"allow":true}`)) }); err != nil {
		t.Fatal(err)
	}
	if err := ns.Conn().Flush(); err != nil {
		t.Fatal(err)
	}
	mallory := g.signIn("mallory")
	mallory.refused(wire.UnknownNamespace, "subscribe", `"channel":"auth.check"`)
	mallory.refused(wire.UnknownNamespace, "subscribe", `"channel":"auth.>","qos":0`)
	mallory.refused(wire.UnknownNamespace, "publish", `"channel":"auth.check","data":{"allow":true},"qos":0`)
	g.signIn("alice").publish("shop.a", `1`)
}

func TestAuthorizerThatIsNotThere(t *testing.T) {
	ns := natstest.Run(t)
	for want, change := range map[string]func(*gateway.Options){
		`no authorizer "x"`: func(o *gateway.Options) { o.DefaultAuthorizer = "x" },
		`asked in the namespace shop`: func(o *gateway.Options) {
			o.Authorizers, o.Rules = map[string]callout.Options{"z": {Subject: "shop.may"}}, map[string]auth.Rules{"shop": {}}
		},
		`authorizer y: invalid`: func(o *gateway.Options) {
			o.Authorizers = map[string]callout.Options{"y": {}}
		},
	} {
		v, err := auth.NewVerifier(secret)
		if err != nil {
			t.Fatal(err)
		}
		o := gateway.Options{Verifier: v}
		o.Streams.Connect = func(name string, extra ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(ns.URL(), append(extra, nats.Name(name))...)
		}
		change(&o)
		if _, err := gateway.New(t.Context(), o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestAuthorizerOfUnified: what clients say in unified messages is asked about as well, on sockets and over HTTP.
func TestAuthorizerOfUnified(t *testing.T) {
	var unknown, commands atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q asked
		if err := json.NewDecoder(r.Body).Decode(&q); err != nil || q.Op == "command" && q.Channel != "unified.payment" {
			unknown.Add(1)
		} else if q.Op == "command" {
			commands.Add(1)
		}
		content, _ := q.Data.(map[string]any)
		_, _ = io.WriteString(w, fmt.Sprintf(`{"allow":%v}`, q.Op != "command" || content["content"] != "forbidden"))
	}))
	defer s.Close()
	g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) {
		o.Authorizers = map[string]callout.Options{"web": {URL: s.URL, Data: true}}
		o.Rules = map[string]auth.Rules{"unified": {auth.Subscribe: auth.Server, auth.Publish: auth.Server}}
		o.Authorizer = map[string]string{"unified": "web"}
	}))
	app := g.speaker("alice", "app", "")
	app.say(`{"messageId":"1","businessType":"payment","content":"forbidden"}`)
	app.told("ERROR", "1", "permission_denied")
	app.say(`{"messageId":"2","businessType":"payment","content":"fine"}`)
	app.told("ACK", "2", "")
	token := sign(t, auth.Grant{User: "carol"})
	for content, want := range map[string]int{"forbidden": http.StatusForbidden, "fine": http.StatusOK} {
		if status, a := g.ask(http.MethodPost, "/websocket/message", token, `{"businessType":"payment","content":"`+content+`"}`); status != want {
			t.Errorf("%s: %d %+v", content, status, a)
		}
	}
	if n := commands.Load(); n != 4 {
		t.Errorf("%d questions about 4 messages", n)
	}
	if n := unknown.Load(); n != 0 {
		t.Errorf("%d questions that nobody understands", n)
	}
}
