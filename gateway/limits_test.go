package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/limit"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

// once is a rate whose burst is all that a test can see of it.
func once(burst int) limit.Rate { return limit.Rate{PerSecond: 1.0 / 3600, Burst: burst} }

func TestCommandsLimited(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, func(o *gateway.Options) { change(o); o.Limits.Commands = once(5) })
		alice := g.signIn("alice")
		alice.must("subscribe", `"channel":"chat.a"`)
		alice.publish("chat.a", `1`)
		alice.must("ping", ``)
		alice.refused(wire.NotSubscribed, "unsubscribe", `"channel":"chat.b"`)
		alice.refused(wire.UnknownCommand, "dance", ``)
		if in := alice.ask("ping", ``); in.Error.Code != wire.RateLimited || in.Error.RetryAfter < 3000 || in.Error.RetryAfter > 3600 {
			t.Errorf("%+v", in)
		}
		alice.refused(wire.RateLimited, "dance", ``)
		alice.refused(wire.RateLimited, "connect", `"token":"x"`)
		bob := g.signIn("bob")
		bob.must("ping", ``)
		// Refusals are answered, until there are ten times as many as commands may come at once.
		alice.send(strings.Repeat(`{"ping":{}}`, 50-3+1))
		bob.send(strings.Repeat(`{"ping":{}}`, 4+49))
		if code := alice.closes(); code != wire.RateLimited {
			t.Errorf("closed with %v", code)
		}
		for i := range 49 {
			if in := bob.next(); in.Kind != wire.KindError || in.Error.Code != wire.RateLimited {
				t.Fatalf("push %d: %+v", i, in)
			}
		}
		bob.refused(wire.RateLimited, "ping", ``)
		if n := g.metric(`jetwire_rate_limited_total{of="commands"}`); n != 51+50 {
			t.Errorf("%v were counted", n)
		}
	})
}

func TestUserMessagesLimited(t *testing.T) {
	g := start(t, natstest.Run(t), func(o *gateway.Options) { o.Limits.UserMessages = once(3) })
	phone, laptop := g.signIn("alice"), g.signIn("alice")
	phone.publish("chat.a", `1`)
	laptop.publish("chat.b", `2`)
	phone.publish("chat.b", `3`)
	for _, r := range []*raw{phone, laptop} {
		if in := r.ask("publish", `"channel":"chat.c","data":4`); in.Error.Code != wire.RateLimited || in.Error.RetryAfter < 3000 {
			t.Errorf("%+v", in)
		}
		r.must("subscribe", `"channel":"chat.a"`)
	}
	g.signIn("bob").publish("chat.a", `1`)
	if n := g.metric(`jetwire_rate_limited_total{of="messages"}`); n != 2 {
		t.Errorf("%v were counted", n)
	}
}

// TestPostedMessagesLimited: what a client posts to the unified service counts as what it sends, whomever it is for.
func TestPostedMessagesLimited(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) { o.Limits.UserMessages = once(1) }))
	for user, message := range map[string]string{"alice": `{"businessType":"order"}`, "bob": `{"toUniqueId":"bob"}`} {
		for _, want := range []int{http.StatusOK, http.StatusTooManyRequests} {
			if status, a := g.ask(http.MethodPost, "/websocket/message", sign(t, auth.Grant{User: user}), message); status != want {
				t.Errorf("%s: %d %+v", user, status, a)
			}
		}
	}
}

// A client can show bad tokens as fast as it can send, and each wrote a line into the server's log.
func TestRefusedTokensDoNotFillTheLog(t *testing.T) {
	var log logged
	g := start(t, natstest.Run(t), func(o *gateway.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	alice := g.signIn("alice")
	const tokens = 1000
	for range tokens {
		alice.refused(wire.BadToken, "renew", `"token":"forged"`)
	}
	if n := strings.Count(log.String(), "token refused"); n == 0 || n > tokens/2 {
		t.Errorf("%d lines", n)
	}
}

// TestUserMessagesLimitedTogether: what a user has used at one gateway is used up at the other, once that has been told.
func TestUserMessagesLimitedTogether(t *testing.T) {
	const burst = 1000
	ns := natstest.Run(t)
	limited := func(o *gateway.Options) { o.Limits.UserMessages = once(burst) }
	one, two := start(t, ns, limited), start(t, ns, limited)
	eventually(t, "the gateways to know each other", func() bool {
		return one.metric("jetwire_gateways") == 2 && two.metric("jetwire_gateways") == 2
	})
	publish := func(r *raw) bool {
		return r.ask("publish", `"channel":"chat.a","data":1,"qos":0`).Kind == wire.KindPublish
	}
	alice, through := one.signIn("alice"), 0
	for publish(alice) {
		through++
	}
	if through != burst {
		t.Errorf("%d got through one gateway", through)
	}
	alice, through = two.signIn("alice"), 0
	eventually(t, "a refusal", func() bool {
		through++
		return !publish(alice)
	})
	if through >= burst {
		t.Errorf("%d got through the other as well", through)
	}
	alice.must("ping", ``)
	if !publish(two.signIn("bob")) {
		t.Error("another user is refused, too")
	}
}

func TestConnectsLimited(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		connect := func(g *running) error {
			conn, _, _, err := ws.Dialer{}.Dial(t.Context(), "ws://"+g.addr+gateway.Path)
			if err == nil {
				t.Cleanup(func() { _ = conn.Close() })
			}
			return err
		}
		full := func(g *running) {
			t.Helper()
			var status ws.StatusError
			if err := connect(g); !errors.As(err, &status) || status != http.StatusTooManyRequests {
				t.Errorf("one more: %v", err)
			}
		}
		g := start(t, ns, func(o *gateway.Options) { change(o); o.Limits.Connects = once(3) })
		alice := g.signIn("alice")
		for range 2 {
			if err := connect(g); err != nil {
				t.Fatal(err)
			}
		}
		full(g)
		alice.must("ping", ``)

		// A bad token weighs as much as five connections, an old one as much as one.
		g = start(t, ns, func(o *gateway.Options) { change(o); o.Limits.Connects = once(7) })
		forger := g.open()
		forger.send(`{"id":1,"connect":{"token":"forged"}}`)
		if code := forger.closes(); code != wire.BadToken {
			t.Fatalf("closed with %v", code)
		}
		for range 2 {
			if err := connect(g); err != nil {
				t.Fatal(err)
			}
		}
		full(g)
	})
}

// TestClientHeedsLimits: what the Go client publishes and subscribes to all gets through, later.
func TestClientHeedsLimits(t *testing.T) {
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		o.Limits.UserMessages = limit.Rate{PerSecond: 50, Burst: 5}
		o.Limits.Commands = limit.Rate{PerSecond: 100, Burst: 10}
	})
	c := g.dial("alice")
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	errs := make(chan error)
	const many = 40
	for range many {
		go func() {
			_, err := c.Publish(ctx, "chat.a", []byte(`1`), client.PublishOptions{QoS: client.ExactlyOnce})
			errs <- err
		}()
	}
	for range many {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	for i := range 20 {
		if _, err := c.Subscribe(ctx, fmt.Sprint("chat.", i), client.SubscribeOptions{OnMessage: func(client.Message) {}}); err != nil {
			t.Error(err)
		}
	}
	if n := len(g.signIn("bob").must("history", `"channel":"chat.a"`).History.Messages); n != many {
		t.Errorf("%d were stored", n)
	}
	if c.Stats().Retries == 0 {
		t.Error("nothing was refused")
	}
}
