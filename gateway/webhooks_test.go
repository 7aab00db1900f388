package gateway_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/webhook"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

const webhookSecret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// told is one event as a receiver reads it.
type told struct {
	ID, Type, User, Session, Channel, Destination, Reason, Device, Client string
	Code                                                                  int
	Seq                                                                   uint64
	Data                                                                  json.RawMessage
}

// receiver is an endpoint.
type receiver struct {
	*httptest.Server
	t      testing.TB
	answer atomic.Pointer[func(told) int] // status; nil: 204

	mu  sync.Mutex
	got []told // which were answered with 2xx
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{t: t}
	r.Server = httptest.NewServer(r)
	t.Cleanup(func() { r.CloseClientConnections(); r.Close() })
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return // who asked has gone
	}
	// The receiver's side of the specification, from nothing of ours.
	key, _ := base64.StdEncoding.DecodeString(webhookSecret)
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", req.Header.Get("webhook-id"), req.Header.Get("webhook-timestamp"), body)
	if want := "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil)); req.Header.Get("webhook-signature") != want {
		r.t.Errorf("signature %q, want %q", req.Header.Get("webhook-signature"), want)
	}
	var e told
	if err := json.Unmarshal(body, &e); err != nil || e.ID == "" || e.ID != req.Header.Get("webhook-id") || strings.Contains(e.ID, ".") {
		r.t.Errorf("%s: %v", body, err)
	}
	status := http.StatusNoContent
	if f := r.answer.Load(); f != nil {
		status = (*f)(e)
	}
	if status/100 == 2 {
		r.mu.Lock()
		r.got = append(r.got, e)
		r.mu.Unlock()
	}
	w.WriteHeader(status)
}

func (r *receiver) set(f func(told) int) { r.answer.Store(&f) }

// lines returns what was told of a user, without what was told twice.
func (r *receiver) lines(user string) (lines []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := map[string]bool{}
	for _, e := range r.got {
		if e.User == user && !seen[e.ID] {
			seen[e.ID] = true
			lines = append(lines, strings.Join(strings.Fields(fmt.Sprint(e.Type, " ", e.Channel, e.Destination, " ", string(e.Data), " ", e.Reason)), " "))
		}
	}
	return lines
}

func (r *receiver) expect(user string, want ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("%d events", len(want)), func() bool { return len(r.lines(user)) >= len(want) })
	if got := r.lines(user); !slices.Equal(got, want) {
		r.t.Fatalf("told %q, want %q", got, want)
	}
}

// hooked has an endpoint told of events.
func hooked(t testing.TB, r *receiver, events ...string) func(*gateway.Options) {
	secret, err := webhook.ParseSecret(webhookSecret)
	if err != nil {
		t.Fatal(err)
	}
	return func(o *gateway.Options) {
		o.Webhooks = append(o.Webhooks, gateway.Webhook{Events: events, Namespaces: []string{"chat", "billing"},
			Endpoint: webhook.Endpoint{Name: "shop", URL: r.URL + "/hook", Secrets: [][]byte{secret}}})
		o.Streams.Policies = append(o.Streams.Policies, streams.Policy{Namespace: "chat", Storage: streams.Memory})
		o.Cursors.Lease, o.Events.Grace = time.Second, time.Millisecond
	}
}

func TestWebhookIsToldOfConnections(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		r := newReceiver(t)
		hook := hooked(t, r, "connect", "disconnect", "subscribe", "unsubscribe")
		g := start(t, ns, func(o *gateway.Options) { change(o); hook(o) })
		nobody := g.open() // does not sign in
		_ = nobody.conn.Close()
		alice := g.signIn("alice")
		alice.must("subscribe", `"channel":"chat.lobby"`)
		alice.must("subscribe", `"channel":"other.room"`) // of another namespace
		alice.must("unsubscribe", `"channel":"chat.lobby"`)
		_ = alice.conn.Close()
		r.expect("alice", "connect", "subscribe chat.lobby", "unsubscribe chat.lobby", "disconnect connection_lost")
		bob, _ := g.device("bob", "phone")
		bob.send("\xff")
		bob.closes()
		r.expect("bob", "connect", "disconnect invalid_payload")
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, e := range r.got {
			if e.Session == "" || e.User == "bob" && e.Device != "phone" || e.Type == "disconnect" && e.Code != map[string]int{"alice": 1006, "bob": 1007}[e.User] {
				t.Errorf("%+v", e)
			}
		}
	})
}

// What others publish and send is told in the order of each user, whatever fails in between.
func TestWebhookIsToldOfMessagesAndCommands(t *testing.T) {
	ns := natstest.Run(t)
	r := newReceiver(t)
	var failed sync.Map
	r.set(func(e told) int {
		if _, again := failed.LoadOrStore(e.ID, true); !again && e.Seq%7 == 0 {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	g := start(t, ns, hooked(t, r, "publish", "command"))
	alice := g.signIn("alice")
	var want []string
	for i := range 15 {
		alice.publish("chat.lobby", fmt.Sprint(i))
		want = append(want, fmt.Sprint("publish chat.lobby ", i))
	}
	r.expect("alice", want...)
	bob := g.signIn("bob")
	bob.must("command", `"destination":"billing.refund","data":{"order":1}`)
	bob.must("command", `"destination":"billing.refund","data":"a text","encoding":"text"`)
	r.expect("bob", `command billing.refund {"order":1}`, `command billing.refund "a text"`)
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the queue to be empty", func() bool {
		st, err := js.Stream(t.Context(), "jetwire_commands")
		return err == nil && st.CachedInfo().State.Msgs == 0
	})
	if n := g.metric(`jetwire_webhook_delivered_total{webhook="shop"}`); n != 17 {
		t.Errorf("%v delivered", n)
	}
	if n := g.metric(`jetwire_webhook_failed_total{webhook="shop"}`); n == 0 {
		t.Error("no request failed")
	}
}

// An endpoint that is away gets everything when it is back; sockets do not notice.
func TestWebhookThatIsAway(t *testing.T) {
	r := newReceiver(t)
	addr := r.Listener.Addr().String()
	g := start(t, natstest.Run(t), hooked(t, r, "publish"))
	alice := g.signIn("alice")
	alice.publish("chat.lobby", "0")
	r.expect("alice", "publish chat.lobby 0")
	r.CloseClientConnections()
	r.Close()
	want := []string{"publish chat.lobby 0"}
	for i := 1; i < 20; i++ {
		alice.publish("chat.lobby", fmt.Sprint(i))
		want = append(want, fmt.Sprint("publish chat.lobby ", i))
	}
	eventually(t, "an attempt to fail", func() bool { return g.metric(`jetwire_webhook_failed_total{webhook="shop"}`) > 0 })
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = httptest.NewUnstartedServer(r)
	_ = r.Listener.Close()
	r.Listener = l
	r.Start()
	r.expect("alice", want...)
	if n := g.metric(`jetwire_webhook_dead_total{webhook="shop"}`); n != 0 {
		t.Errorf("%v dead letters", n)
	}
}

// A hanging endpoint holds a bounded number of messages in memory, and nobody else.
func TestHangingWebhookSlowsNobody(t *testing.T) {
	r := newReceiver(t)
	hang := make(chan struct{})
	r.set(func(told) int { <-hang; return http.StatusNoContent })
	var once sync.Once
	release := func() { once.Do(func() { close(hang) }) }
	defer release()
	hook := hooked(t, r, "publish")
	g := start(t, natstest.Run(t), func(o *gateway.Options) { hook(o); o.Cursors.Window = 8 })
	bob := g.signIn("bob")
	bob.must("subscribe", `"channel":"chat.lobby"`)
	alice := g.signIn("alice")
	const n = 300
	for i := range n {
		alice.publish("chat.lobby", fmt.Sprint(i))
		if m := bob.message(); string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("message %s", m.Body)
		}
	}
	eventually(t, "it to be seen how many wait", func() bool { return g.metric(`jetwire_webhook_waiting{webhook="shop"}`) == n })
	release()
	eventually(t, "all to be told", func() bool { return len(r.lines("alice")) == n })
}

func TestWebhookDeadLetters(t *testing.T) {
	ns := natstest.Run(t)
	r := newReceiver(t)
	r.set(func(e told) int {
		if string(e.Data) == "1" {
			return http.StatusGone
		}
		return http.StatusOK
	})
	g := start(t, ns, hooked(t, r, "publish"))
	alice := g.signIn("alice")
	for i := range 3 {
		alice.publish("chat.lobby", fmt.Sprint(i))
	}
	r.expect("alice", "publish chat.lobby 0", "publish chat.lobby 2")
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), "jetwire_dead")
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetLastMsgForSubject(t.Context(), "jetwire.dead.webhook.shop")
	if err != nil {
		t.Fatal(err)
	}
	var e told
	if err := json.Unmarshal(m.Data, &e); err != nil || string(e.Data) != "1" || e.User != "alice" {
		t.Errorf("%s: %v", m.Data, err)
	}
	if h := m.Header; h.Get("Jw-Dead-Reason") != "status 410 Gone" || h.Get("Jw-Dead-Consumer") != "shop" || h.Get("Jw-Dead-Stream") != "JW_chat" || h.Get("Jw-Dead-Seq") != "2" {
		t.Errorf("%v", h)
	}
	if n := g.metric(`jetwire_webhook_dead_total{webhook="shop"}`); n != 1 {
		t.Errorf("%v dead", n)
	}
}

// mortal lets a gateway be cut off from NATS for good, as if its process were killed.
type mortal struct {
	mu    sync.Mutex
	dead  bool
	conns []*nats.Conn
}

func (m *mortal) wrap(o *gateway.Options) {
	connect := o.Streams.Connect
	o.Streams.Connect = func(name string, extra ...nats.Option) (*nats.Conn, error) {
		nc, err := connect(name, append(extra, nats.SetCustomDialer(m))...)
		if err == nil {
			m.mu.Lock()
			m.conns = append(m.conns, nc)
			m.mu.Unlock()
		}
		return nc, err
	}
}

// Dial implements nats.CustomDialer.
func (m *mortal) Dial(network, address string) (net.Conn, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.dead {
		return nil, errors.New("dead")
	}
	return (&net.Dialer{Timeout: wait}).Dial(network, address)
}

func (m *mortal) kill() {
	m.mu.Lock()
	m.dead = true
	conns := m.conns
	m.mu.Unlock()
	for _, nc := range conns {
		_ = nc.ForceReconnect()
	}
}

// A gateway dies that tells the endpoint: another goes on, tells of the dead one's connections, and loses nothing.
func TestWebhookOutlivesGateways(t *testing.T) {
	ns := natstest.Run(t)
	r := newReceiver(t)
	hook := hooked(t, r, "connect", "disconnect", "publish")
	var m mortal
	first := start(t, ns, func(o *gateway.Options) { hook(o); m.wrap(o) })
	alice := first.signIn("alice")
	r.expect("alice", "connect") // so the first one tells
	second := start(t, ns, hook)
	bob := second.signIn("bob")
	alice.publish("chat.lobby", "1")
	eventually(t, "the message", func() bool { return slices.Contains(r.lines("alice"), "publish chat.lobby 1") })
	if n := second.metric(`jetwire_webhook_delivered_total{webhook="shop"}`); n != 0 {
		t.Fatalf("two gateways tell the endpoint: %v", n)
	}
	m.kill()
	for i := range 5 {
		bob.publish("chat.lobby", fmt.Sprint(i))
	}
	r.expect("bob", "connect", "publish chat.lobby 0", "publish chat.lobby 1", "publish chat.lobby 2", "publish chat.lobby 3", "publish chat.lobby 4")
	eventually(t, "alice to be gone", func() bool { return slices.Contains(r.lines("alice"), "disconnect gateway_lost") })
	if slices.Contains(r.lines("bob"), "disconnect gateway_lost") {
		t.Error("bob is there")
	}
}

// Who was connected to a gateway that ends is told to be gone by itself, or by the next one.
func TestWebhookAfterAnOrderlyEnd(t *testing.T) {
	ns := natstest.Run(t)
	r := newReceiver(t)
	hook := hooked(t, r, "connect", "disconnect")
	first := start(t, ns, hook)
	first.signIn("alice")
	r.expect("alice", "connect")
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	start(t, ns, hook)
	r.expect("alice", "connect", "disconnect connection_lost") // Close without Drain cuts it
}

// Without webhooks nothing is made for them.
func TestNoWebhooks(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, nil)
	g.signIn("alice")
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"jetwire_events", "KV_jetwire_webhooks", "KV_jetwire_connections"} {
		if _, err := js.Stream(t.Context(), name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("stream %s: %v", name, err)
		}
	}
}
