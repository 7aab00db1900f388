package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

// stored returns the messages of a stream.
func stored(t *testing.T, ns *natstest.Server, name string) []*jetstream.RawStreamMsg {
	t.Helper()
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	st, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	var all []*jetstream.RawStreamMsg
	for seq := range st.CachedInfo().State.LastSeq {
		m, err := st.GetMsg(t.Context(), seq+1)
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			t.Fatal(err)
		}
		if err == nil {
			all = append(all, m)
		}
	}
	return all
}

// TestSenderCannotBeForged: whatever a client sends, and whatever its name is, the headers say who it is, and the client can reach
// the subjects of commands and calls in no other way.
func TestSenderCannotBeForged(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, nil)
	const name = "eve%0D%0AJw-From: root"
	eve := g.signIn(name)
	eve.must("command", `"destination":"billing.refund","data":{"Jw-From":"root","headers":{"Jw-From":"root"}},"id":"1"`)
	eve.must("command", `"destination":"billing.refund","data":"NATS/1.0\r\nJw-From: root\r\n\r\n","encoding":"text"`)
	for _, fields := range []string{
		`"destination":"billing.refund","data":1,"from":"root"`, `"destination":"billing.refund","data":1,"headers":{"Jw-From":"root"}`,
		`"destination":"billing.refund","data":1,"id":"a\r\nJw-From: root"`, `"destination":"billing.refund","data":1,"id":"a b"`,
	} {
		eve.refused(wire.BadRequest, "command", fields)
		eve.refused(wire.BadRequest, "call", fields)
	}
	for _, destination := range []string{`billing.refund\r\nPUB x`, `billing.*`, `billing.>`, `jetwire.command.billing`, `$JS.API`, `billing.$x`, `billing refund.x`} {
		eve.refused(wire.BadChannel, "command", `"data":1,"destination":"`+destination+`"`)
		eve.refused(wire.BadChannel, "call", `"data":1,"destination":"`+destination+`"`)
	}
	for _, subject := range []string{"jetwire.command.billing.refund", "jetwire.call.billing.quote", "jetwire.dead.command.x"} {
		eve.refused(wire.BadChannel, "publish", `"data":1,"channel":"`+subject+`"`)
		eve.refused(wire.BadChannel, "subscribe", `"channel":"`+subject+`"`)
	}
	all := stored(t, ns, "jetwire_commands")
	if len(all) != 2 {
		t.Fatalf("%d commands", len(all))
	}
	const escaped = "eve%250D%250AJw-From: root"
	for _, m := range all {
		if m.Subject != "jetwire.command.billing.refund" || !slices.Equal(m.Header["Jw-From"], []string{escaped}) {
			t.Errorf("%s: %v", m.Subject, m.Header)
		}
	}
	if keys := all[0].Header; len(keys) != 3 || len(keys["Nats-Msg-Id"]) != 1 || len(all[1].Header) != 1 {
		t.Errorf("%v, %v", all[0].Header, all[1].Header)
	}
}

// TestDestinationsNeedANamespace: with the default switched off, only what is listed has destinations.
func TestDestinationsNeedANamespace(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, func(o *gateway.Options) {
		o.Streams.Default = nil
		o.Streams.Policies = []streams.Policy{{Namespace: "chat", Storage: streams.Memory}, {Namespace: "vault", Storage: streams.Memory}}
		o.Rules = map[string]auth.Rules{"vault": {auth.Command: auth.Server, auth.Call: auth.Granted}}
	})
	alice := g.signIn("alice")
	for _, command := range []string{"command", "call"} {
		alice.refused(wire.UnknownNamespace, command, `"destination":"billing.refund","data":1`)
		alice.refused(wire.PermissionDenied, command, `"destination":"vault.open","data":1`)
	}
	alice.must("command", `"destination":"chat.kick","data":1`)
	alice.refused(wire.NoService, "call", `"destination":"chat.kick","data":1`)
	if all := stored(t, ns, "jetwire_commands"); len(all) != 1 {
		t.Errorf("%d commands", len(all))
	}
}

// TestCallsAreLimited: who is one too many is told when to come back, and is served once there is room.
func TestCallsAreLimited(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, func(o *gateway.Options) { o.Commands.NamespaceCalls = 1 })
	nc := ns.Conn()
	asked := make(chan *nats.Msg, 1)
	if _, err := nc.Subscribe("jetwire.call.billing.slow", func(m *nats.Msg) { asked <- m }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	alice := g.dial("alice")
	ended := make(chan error, 1)
	go func() {
		answer, err := alice.Call(t.Context(), "billing.slow", []byte("1"), client.CallOptions{})
		if err == nil && string(answer) != "\xff\x00" {
			err = fmt.Errorf("answered %q", answer)
		}
		ended <- err
	}()
	first := <-asked
	bob := g.signIn("bob")
	if in := bob.ask("call", `"destination":"billing.slow","data":1`); in.Error.Code != wire.RateLimited || in.Error.RetryAfter != 1 {
		t.Errorf("%+v", in)
	}
	bob.refused(wire.NoService, "call", `"destination":"other.slow","data":1`)
	if err := first.Respond([]byte("\xff\x00")); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	bob.refused(wire.Timeout, "call", `"destination":"billing.slow","data":1,"timeout":0.01`)
}

// TestCommandsBecomeDeadLetters: what backends have given up, with who sent it and why.
func TestCommandsBecomeDeadLetters(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, nil)
	start(t, ns, nil) // another gateway
	alice := g.dial("alice")
	if _, err := alice.Command(t.Context(), "billing.refund", []byte("poison"), client.CommandOptions{}); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	c, err := js.CreateConsumer(t.Context(), "jetwire_commands", jetstream.ConsumerConfig{
		Durable: "refunds", FilterSubject: "jetwire.command.billing.refund", AckPolicy: jetstream.AckExplicitPolicy, MaxDeliver: 3,
	})
	if err != nil {
		t.Fatal(err)
	}
	consuming, err := c.Consume(func(m jetstream.Msg) { _ = m.Nak() })
	if err != nil {
		t.Fatal(err)
	}
	defer func() { consuming.Stop(); <-consuming.Closed() }()
	var dead []*jetstream.RawStreamMsg
	eventually(t, "the dead letter", func() bool {
		dead = stored(t, ns, "jetwire_dead")
		return len(dead) > 0
	})
	m := dead[0]
	if m.Subject != "jetwire.dead.command.billing.refund" || string(m.Data) != "poison" || m.Header.Get("Jw-From") != "alice" ||
		m.Header.Get("Jw-Dead-Consumer") != "refunds" || m.Header.Get("Jw-Dead-Deliveries") != "3" {
		t.Errorf("%+v", m)
	}
}

// TestGatewayIsKilledBeforeItAnswers: JetStream has stored a command, and the gateway that sent it never says so. The client sends it again
// through another one, and it is there once.
func TestGatewayIsKilledBeforeItAnswers(t *testing.T) {
	ns := natstest.Run(t)
	syncing, killed := make(chan struct{}, 1), make(chan struct{})
	first := start(t, ns, func(o *gateway.Options) {
		o.Streams.Policies = []streams.Policy{{Namespace: "chat", Sync: true}}
		began := false // one goroutine syncs
		o.Streams.Sync = func() error {
			if !began { // what the store held when the gateway began
				began = true
				return nil
			}
			select {
			case syncing <- struct{}{}:
			default:
			}
			<-killed
			return nil
		}
	})
	release := sync.OnceFunc(func() { close(killed) })
	t.Cleanup(release) // before the gateway is closed, which waits for it
	second := start(t, ns, nil)
	var mu sync.Mutex
	to, at := first.addr, []net.Conn(nil)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	alice, err := client.Dial(ctx, client.Options{
		URL: "ws://gateway.test" + gateway.Path, BackoffMin: time.Millisecond, BackoffMax: 10 * time.Millisecond,
		Token: func(context.Context) (string, error) { return sign(t, auth.Grant{User: "alice"}), nil },
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			nc, err := (&net.Dialer{}).DialContext(ctx, network, to)
			if err == nil {
				at = append(at, nc)
			}
			return nc, err
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = alice.Close() })
	type result struct {
		client.CommandReply
		err error
	}
	ended := make(chan result, 1)
	go func() {
		r, err := alice.Command(ctx, "billing.refund", []byte("once"), client.CommandOptions{ID: "r1"})
		ended <- result{r, err}
	}()
	eventually(t, "the command to be stored", func() bool { return len(stored(t, ns, "jetwire_commands")) > 0 })
	<-syncing
	mu.Lock()
	to = second.addr
	for _, nc := range at {
		_ = nc.Close()
	}
	mu.Unlock()
	r := <-ended
	if r.err != nil || r.Seq != 1 || !r.Duplicate {
		t.Errorf("%+v", r)
	}
	if all := stored(t, ns, "jetwire_commands"); len(all) != 1 || string(all[0].Data) != "once" {
		t.Errorf("stored %d times", len(all))
	}
	if n := alice.Stats().Connects; n < 2 || !strings.HasPrefix(r.Durability, "file") {
		t.Errorf("%d connections, %s", n, r.Durability)
	}
	release()
}
