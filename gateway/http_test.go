package gateway_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestHTTP(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, func(o *gateway.Options) {
			change(o)
			o.Page = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "page") })
		})
		for path, want := range map[string]struct {
			status int
			body   string
		}{
			"/healthz": {200, "ok\n"}, "/readyz": {200, "ready\n"}, "/": {200, "page"}, "/ws": {426, "this address speaks WebSocket"},
		} {
			if status, body := g.get(path); status != want.status || !strings.HasPrefix(body, want.body) {
				t.Errorf("%s: %d %q", path, status, body)
			}
		}
		alice := g.signIn("alice")
		alice.must("subscribe", `"channel":"chat.a"`)
		alice.publish("chat.a", `1`)
		alice.refused(wire.BadChannel, "subscribe", `"channel":"chat"`)
		for in := alice.next(); in.Kind != wire.KindMessage; in = alice.next() {
		}
		for name, want := range map[string]float64{
			"jetwire_subscriptions": 1, "jetwire_channels": 1, "jetwire_deliveries_total": 1, "jetwire_published_total": 1, "jetwire_feed_messages_total": 1,
			"jetwire_streams": 1, "jetwire_nats_connected": 1, `jetwire_errors_total{code="bad_channel"}`: 1, "jetwire_received_messages_total": 4,
			"jetwire_delivery_latency_seconds_count": 1,
		} {
			if got := g.metric(name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		_ = ws.WriteFrame(alice.conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusNormalClosure, "bye"))))
		if code := alice.closes(); code != wire.NormalClosure {
			t.Errorf("the close was answered with %v", code)
		}
		_ = alice.conn.Close()
		eventually(t, "the subscription to be gone", func() bool { return g.metric("jetwire_subscriptions") == 0 })
		eventually(t, "the close to be counted", func() bool { return g.metric(`jetwire_closes_total{code="normal"}`) == 1 })
	})
}

// Everybody's messages and memory are counted down again when connections end without a word.
func TestConnectionsThatVanish(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, change)
		for range 20 {
			r := g.signIn("alice")
			r.must("subscribe", `"channel":"chat.a"`)
			_ = r.conn.(*net.TCPConn).SetLinger(0)
			_ = r.conn.Close()
		}
		eventually(t, "no subscription", func() bool { return g.metric("jetwire_subscriptions") == 0 && g.metric("jetwire_channels") == 0 })
		eventually(t, "20 closes", func() bool { return g.metric(`jetwire_closes_total{code="1006"}`) == 20 })
	})
}

func TestOrigin(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, func(o *gateway.Options) {
			change(o)
			o.Origins = []string{"https://app.example.com"}
		})
		for origin, ok := range map[string]bool{
			"": true, "http://" + g.addr: true, "https://app.example.com": true, "https://APP.example.com": true,
			"https://evil.example.com": false, "https://app.example.com.evil.com": false, "http://app.example.com": false, "null": false,
		} {
			d := ws.Dialer{Protocols: []string{"other", wire.Subprotocol}}
			if origin != "" {
				d.Header = ws.HandshakeHeaderHTTP{"Origin": {origin}}
			}
			conn, _, hs, err := d.Dial(t.Context(), "ws://"+g.addr+gateway.Path)
			if (err == nil) != ok {
				t.Errorf("origin %q: %v", origin, err)
			}
			if err != nil {
				if !strings.Contains(err.Error(), "403") {
					t.Errorf("origin %q: %v", origin, err)
				}
				continue
			}
			if hs.Protocol != wire.Subprotocol {
				t.Errorf("subprotocol %q", hs.Protocol)
			}
			_ = conn.Close()
		}
		if n := g.metric("jetwire_refused_handshakes_total"); n != 4 {
			t.Errorf("%v refusals counted", n)
		}
	})
}

func TestDrain(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, change)
		// An HTTP connection that is kept, as a scraper's is.
		kept, err := net.Dial("tcp", g.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = kept.Close() }()
		_, _ = io.WriteString(kept, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
		keptReader := bufio.NewReader(kept)
		if resp, err := http.ReadResponse(keptReader, nil); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatal(err)
		} else if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatal(err)
		}
		var clients [30]*raw
		for i := range clients {
			clients[i] = g.signIn("alice")
			clients[i].must("subscribe", `"channel":"chat.a"`)
		}
		last := clients[0].publish("chat.a", `1`)
		eventually(t, "the message to be on its way", func() bool { return g.metric("jetwire_deliveries_total") == float64(len(clients)) })
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(ctx) }()
		for _, r := range clients {
			if m := r.message(); m.Seq != last {
				t.Errorf("%+v", m)
			}
			if in := r.next(); in.Kind != wire.KindReconnect || in.Reconnect.Reason != "draining" {
				t.Errorf("%+v", in)
			}
			if code := r.closes(); code != wire.Draining {
				t.Errorf("closed with %v", code)
			}
			_ = r.conn.Close()
		}
		if err := <-drained; err != nil {
			t.Errorf("Drain: %v", err)
		}
		if conn, err := net.DialTimeout("tcp", g.addr, time.Second); err == nil {
			_ = conn.Close()
			t.Error("it still accepts")
		}
	})
}

func TestNotReadyWhileDraining(t *testing.T) {
	g := start(t, natstest.Run(t), nil)
	kept, err := net.Dial("tcp", g.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = kept.Close() }()
	eventually(t, "the connection to be accepted", func() bool { return g.metric("jetwire_connections") >= 2 })
	ctx, cancel := context.WithCancel(t.Context())
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(ctx) }()
	defer func() { cancel(); <-drained }()
	eventually(t, "the port to close", func() bool {
		conn, err := net.Dial("tcp", g.addr)
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	})
	_, _ = io.WriteString(kept, "GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(kept), nil)
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%v %v", resp, err)
	}
}

func TestTLS(t *testing.T) {
	ca := httptest.NewUnstartedServer(nil)
	ca.StartTLS()
	defer ca.Close()
	g := start(t, natstest.Run(t), func(o *gateway.Options) { o.TLS = ca.TLS.Clone() })
	roots := ca.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
	d := ws.Dialer{TLSConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}
	conn, br, _, err := d.Dial(t.Context(), "wss://"+g.addr+gateway.Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	r := &raw{t: t, conn: conn, br: conn, nextID: 1}
	if br != nil {
		t.Fatal("the server spoke first")
	}
	r.send(`{"id":1,"connect":{"token":"` + sign(t, auth.Grant{User: "alice"}) + `"}}`)
	r.next()
	r.must("subscribe", `"channel":"chat.a"`)
	r.publish("chat.a", `1`)
	if m := r.message(); m.Seq != 1 {
		t.Errorf("%+v", m)
	}
}

// What the profiler shows is for those who have a key; without one in the server nobody has.
func TestProfilesNeedAKey(t *testing.T) {
	const key = "0123456789abcdef"
	const other = "fedcba9876543210"
	keys, err := auth.NewKeys(auth.APIKey{Key: key}, auth.APIKey{Key: other, Scopes: []auth.Scope{auth.ScopePublish}})
	if err != nil {
		t.Fatal(err)
	}
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		with := start(t, ns, func(o *gateway.Options) { change(o); o.APIKeys = keys })
		without := start(t, ns, change)
		for _, test := range []struct {
			g      *running
			path   string
			key    string
			status int
		}{
			{with, "/debug/pprof/", key, http.StatusOK}, {with, "/debug/pprof/heap?debug=1", key, http.StatusOK},
			{with, "/debug/pprof/profile?seconds=1", key, http.StatusOK}, {with, "/debug/pprof/cmdline", key, http.StatusNotFound},
			{with, "/debug/pprof/", other, http.StatusForbidden},
			{with, "/debug/pprof/", "", http.StatusUnauthorized}, {with, "/debug/pprof/heap", key + "x", http.StatusUnauthorized},
			{without, "/debug/pprof/", key, http.StatusUnauthorized}, {without, "/debug/pprof/heap", "", http.StatusUnauthorized},
		} {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+test.g.addr+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			if test.key != "" {
				req.Header.Set("Authorization", "Bearer "+test.key)
			}
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(res.Body)
			_ = res.Body.Close()
			if res.StatusCode != test.status || strings.Contains(string(body), key) || test.status == http.StatusUnauthorized && res.Header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: %d %.200s", test.path, test.key, res.StatusCode, body)
			}
		}
		http.DefaultClient.CloseIdleConnections()
	})
}
