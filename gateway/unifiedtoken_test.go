package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/callout"
	"github.com/jetwire/jetwire/gateway/limit"
	"github.com/jetwire/jetwire/gateway/unified"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/access"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestUnifiedRequests(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, nil))
	alice := sign(t, auth.Grant{User: "alice"})
	chatOnly := sign(t, auth.Grant{User: "alice", Patterns: &auth.Patterns{auth.Subscribe: {"chat.>"}}})
	expired := sign(t, auth.Grant{User: "alice", Expires: time.Now().Add(-time.Minute).UnixMilli()})
	const token, message = "GET /websocket/token", "POST /websocket/message"
	for _, c := range []struct {
		route, query, bearer, body string
		status                     int
		code                       string
	}{
		{token, "uniqueId=alice&clientType=app", unifiedKey, "", 200, ""},
		{token, "uniqueId=alice&clientType=app", alice, "", 200, ""},
		{token, "uniqueId=bob&clientType=app", alice, "", 403, "permission_denied"},
		{token, "uniqueId=alice&clientType=app", chatOnly, "", 403, "permission_denied"},
		{token, "uniqueId=alice&clientType=app", expired, "", 401, "expired_token"},
		{token, "uniqueId=alice&clientType=app", "nonsense", "", 401, "bad_token"},
		{token, "uniqueId=alice&clientType=app", "", "", 401, "unauthenticated"},
		{token, "uniqueId=alice&clientType=app", "a-key-for-other-things", "", 403, "permission_denied"},
		{token, "uniqueId=alice", unifiedKey, "", 400, "bad_request"},
		{token, "clientType=app", unifiedKey, "", 400, "bad_request"},
		{token, "uniqueId=~x&clientType=app", unifiedKey, "", 400, "bad_request"},
		{token, "uniqueId=%FF&clientType=app", unifiedKey, "", 400, "bad_request"},
		{token, "uniqueId=%zz&clientType=app", unifiedKey, "", 400, "bad_request"},
		{token, "uniqueId=alice&uniqueId=bob&clientType=app", unifiedKey, "", 400, "bad_request"},
		{token, "uniqueId=alice&clientType=*", unifiedKey, "", 400, "bad_request"},
		{token, "uniqueId=alice&clientType=app&user=root", unifiedKey, "", 400, "bad_request"},
		{token, "uniqueId=alice&clientType=app&tags=a,,b", unifiedKey, "", 400, "bad_request"},
		{token, "uniqueId=alice&clientType=app&tags=" + strings.Repeat("x,", 32) + "x", unifiedKey, "", 400, "bad_request"},
		{message, "", unifiedKey, `{"toUniqueId":"bob"}`, 200, ""},
		{message, "", alice, `{"toUniqueId":"alice","toClientType":"h5"}`, 200, ""},
		{message, "", alice, `{"toUniqueId":"bob"}`, 403, "permission_denied"},
		{message, "", alice, `{"toUniqueId":"alice","fromUniqueId":"bob"}`, 403, "permission_denied"},
		{message, "", alice, `{"toUniqueId":"alice","fromClientType":"app"}`, 403, "permission_denied"},
		{message, "", alice, `{"toUniqueId":"alice","sendType":"SERVER_TO_CLIENT"}`, 403, "permission_denied"},
		{message, "", unifiedKey, `{"toUniqueId":"bob","sendType":"CLIENT_TO_CLIENT"}`, 400, "bad_request"},
		{message, "", unifiedKey, `{"content":1}`, 400, "bad_request"},
		{message, "", unifiedKey, `{"toUniqueId":`, 400, "bad_request"},
		{message, "", unifiedKey, "{\"content\":\"\xff\"}", 400, "bad_request"},
		{message, "", unifiedKey, `{"toUniqueId":"bob","content":"` + strings.Repeat("x", 70_000) + `"}`, 413, "too_large"},
		{message, "", unifiedKey, `{"toUniqueId":"bob","content":"` + strings.Repeat("x", 140_000) + `"}`, 413, "too_large"},
		{message, "", "", `{"toUniqueId":"bob"}`, 401, "unauthenticated"},
	} {
		method, path, _ := strings.Cut(c.route, " ")
		if c.query != "" {
			path += "?" + c.query
		}
		status, a := g.ask(method, path, c.bearer, c.body)
		if status != c.status || a.Code != c.code || (a.Result == 0) != (c.status == 200) || a.Description == "" {
			t.Errorf("%s?%.60s with %.20q, %.60s: %d %+v", c.route, c.query, c.bearer, c.body, status, a)
		}
		if c.code != "" && (a.Status != c.status || a.Message != a.Description || a.Type == "" || string(a.Data) != "null") {
			t.Errorf("%s: no problem and envelope in one: %+v", c.route, a)
		}
		if c.bearer != "" && strings.Contains(fmt.Sprint(a.Description, a.Message), c.bearer) {
			t.Error("the answer shows what the request authenticated with")
		}
	}
	res, err := http.Get("http://" + g.addr + "/socket/x")
	if err != nil || res.StatusCode != http.StatusUpgradeRequired {
		t.Errorf("%v %v", res, err)
	}
	_ = res.Body.Close()
}

func TestUnifiedPublicURL(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) {
		o.Unified.PublicURL, o.Unified.Prefix = "wss://dws.example.com:8086/", "/center"
	}))
	_, a := g.ask(http.MethodGet, "/center/websocket/token?uniqueId=alice&clientType=app", unifiedKey, "")
	if !strings.HasPrefix(string(a.Data), `"wss://dws.example.com:8086/socket/`) {
		t.Errorf("%s", a.Data)
	}
}

func TestUnifiedTokenOpensOneSocket(t *testing.T) {
	onBothUnified(t, func(t *testing.T, g *running) {
		u := g.socketURL("alice", "app", "")
		first := g.speakerAt(u)
		first.quiet()
		if code := g.speakerAt(u).ends(); code != wire.BadToken {
			t.Errorf("used twice: closed with %v", code)
		}
		if code := g.speakerAt(u[:len(u)-1] + "x").ends(); code != wire.BadToken {
			t.Errorf("changed: closed with %v", code)
		}
		if code := g.speakerAt("ws://" + g.addr + "/socket/").ends(); code != wire.BadToken {
			t.Errorf("empty: closed with %v", code)
		}
		first.quiet()
		// Another socket of the same client takes the session over; one of another type does not.
		h5, second := g.speaker("alice", "h5", ""), g.speaker("alice", "app", "")
		if code := first.ends(); code != wire.TakenOver {
			t.Errorf("closed with %v", code)
		}
		second.quiet()
		h5.quiet()
	})
}

func TestUnifiedTokenEnds(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) {
		o.Unified.TokenLife, o.Limits.PingInterval = time.Second, time.Second
	}))
	u := g.socketURL("alice", "app", "")
	ends := time.Now().Add(time.Second)
	eventually(t, "the token to end", func() bool { return time.Now().After(ends) })
	if code := g.speakerAt(u).ends(); code != wire.BadToken {
		t.Errorf("closed with %v", code)
	}
	// A session that a client got with its own token lives no longer than that.
	token := sign(t, auth.Grant{User: "alice", Expires: time.Now().Add(1500 * time.Millisecond).UnixMilli()})
	_, a := g.ask(http.MethodGet, "/websocket/token?uniqueId=alice&clientType=app", token, "")
	if err := json.Unmarshal(a.Data, &u); err != nil {
		t.Fatal(a)
	}
	alice := g.speakerAt(u)
	alice.quiet()
	alice.told("EXPIRED", "", `"grace":1`)
	alice.say(`{"messageId":"m","toUniqueId":"alice"}`)
	alice.told("ERROR", "m", "expired_token")
	if code := alice.ends(); code != wire.ExpiredToken {
		t.Errorf("closed with %v", code)
	}
}

func TestUnifiedRevoked(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, nil))
	alice := g.speaker("alice", "app", "")
	alice.quiet()
	unused := g.socketURL("alice", "app", "")
	bearer := sign(t, auth.Grant{User: "alice"})
	if err := g.Revoke(t.Context(), access.Revocation{User: "alice", Before: time.Now().Add(time.Second)}); err != nil {
		t.Fatal(err)
	}
	if code := alice.ends(); code != wire.Revoked {
		t.Errorf("closed with %v", code)
	}
	if code := g.speakerAt(unused).ends(); code != wire.Revoked {
		t.Errorf("closed with %v", code)
	}
	if status, a := g.ask(http.MethodGet, "/websocket/token?uniqueId=alice&clientType=app", bearer, ""); status != http.StatusUnauthorized || a.Code != "revoked" {
		t.Errorf("%d %+v", status, a)
	}
}

func TestUnifiedForPages(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) { o.Origins = []string{"https://app.example.com"} }))
	for _, c := range []struct{ method, origin, want string }{
		{http.MethodOptions, "https://app.example.com", "https://app.example.com"},
		{http.MethodGet, "https://app.example.com", "https://app.example.com"},
		{http.MethodOptions, "https://evil.example.com", ""},
		{http.MethodGet, "https://evil.example.com", ""},
		{http.MethodGet, "http://" + g.addr, "http://" + g.addr},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+g.addr+"/websocket/token?uniqueId=a&clientType=b", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Origin", c.origin)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		allowed := c.method == http.MethodOptions && c.want != ""
		if res.Header.Get("Access-Control-Allow-Origin") != c.want || res.Header.Get("Vary") != "Origin" || strings.Contains(res.Header.Get("Access-Control-Allow-Headers"), "Authorization") != allowed {
			t.Errorf("%s from %s: %d %v", c.method, c.origin, res.StatusCode, res.Header)
		}
	}
}

func TestUnifiedAuthorizer(t *testing.T) {
	asked := make(chan string, 16)
	hook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		asked <- string(b)
		_, _ = fmt.Fprintf(w, `{"allow":%v}`, !strings.Contains(string(b), "forbidden"))
	}))
	defer hook.Close()
	o := func(named bool) func(*gateway.Options) {
		return unifiedOn(t, func(o *gateway.Options) {
			o.Authorizers = map[string]callout.Options{"desk": {URL: hook.URL, Data: true}}
			if o.DefaultAuthorizer = "desk"; named {
				o.Rules, o.Authorizer = map[string]auth.Rules{unified.Namespace: unified.Rules}, map[string]string{unified.Namespace: "desk"}
			}
		})
	}
	token := sign(t, auth.Grant{User: "alice"})
	for _, named := range []bool{false, true} {
		g := start(t, natstest.Run(t), o(named))
		alice := g.speaker("alice", "app", "")
		for content, status := range map[string]int{"fine": http.StatusOK, "forbidden": http.StatusForbidden} {
			text := fmt.Sprintf(`{"messageId":%q,"businessType":"order","content":%q}`, content, content)
			kind := "ACK"
			if !named {
				status = http.StatusOK
			} else if status != http.StatusOK {
				kind = "ERROR"
			}
			alice.say(text)
			alice.told(kind, content, "")
			if got, a := g.ask(http.MethodPost, "/websocket/message", token, text); got != status {
				t.Errorf("%s: %d %+v", content, got, a)
			}
		}
		if (len(asked) > 0) != named {
			t.Errorf("listed %v: %d questions", named, len(asked))
		}
	}
}

// What is refused before it becomes a command counts, too, and so does what clients ask for by HTTP.
func TestUnifiedLimits(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) {
		o.Limits.Commands = limit.Rate{PerSecond: 0.1, Burst: 3}
		o.Limits.UserMessages = limit.Rate{PerSecond: 0.1, Burst: 3}
	}))
	alice := g.speaker("alice", "app", "")
	for range 3 {
		alice.say(`{"messageId":"m","tags":1}`)
		alice.told("ERROR", "m", "bad_request")
	}
	alice.say(`{"messageId":"m","tags":1}`)
	alice.told("ERROR", "m", "rate_limited")
	token := sign(t, auth.Grant{User: "bob"})
	for i := range 5 {
		status, a := g.ask(http.MethodGet, "/websocket/token?uniqueId=bob&clientType=app", token, "")
		if want := map[bool]int{true: http.StatusOK, false: http.StatusTooManyRequests}[i < 3]; status != want {
			t.Errorf("request %d: %d %+v", i, status, a)
		}
	}
	g.socketURL("bob", "app", "") // a backend's
	for range 1000 {
		if wsutil.WriteClientText(alice.conn, []byte(`{"tags":1}`)) != nil {
			break
		}
	}
	if code := alice.ends(); code != wire.RateLimited {
		t.Errorf("closed with %v", code)
	}
}
