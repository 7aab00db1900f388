package gateway_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/api"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

// The API keys of gateways under test: one for everything, one for nothing but history.
const (
	apiKey     = "an-api-key-for-everything"
	historyKey = "an-api-key-for-history"
)

func withKeys(t testing.TB) func(*gateway.Options) {
	keys, err := auth.NewKeys(auth.APIKey{Key: apiKey}, auth.APIKey{Key: historyKey, Name: "reader", Scopes: []auth.Scope{auth.ScopeHistory}})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *gateway.Options) { o.APIKeys = keys }
}

// request sends a request to the server API. Its headers may be changed before it leaves.
func (g *running) request(method, path, body string, change func(*http.Request)) (*http.Response, string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), method, "http://"+g.addr+path, strings.NewReader(body))
	if err != nil {
		g.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+apiKey)
	req.Header.Set("Content-Type", "application/json")
	if change != nil {
		change(req)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp, string(b)
}

// call does an operation, which must succeed, and reads its reply into r.
func (g *running) call(name, body string, r any) {
	g.t.Helper()
	operation := strings.ToUpper(name[:1]) + name[1:]
	g.conforms(operation+"Request", body)
	resp, text := g.request(http.MethodPost, "/v1/"+name, body, nil)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "application/json" {
		g.t.Fatalf("%s %s: %d %s", name, body, resp.StatusCode, text)
	}
	if name == "send" {
		operation = "Publish"
	}
	g.conforms(operation+"Reply", text)
	if err := json.Unmarshal([]byte(text), r); err != nil {
		g.t.Fatalf("%s: %v", text, err)
	}
}

// conforms checks a request or a reply against the document that the gateway itself serves.
func (g *running) conforms(schema, text string) {
	g.t.Helper()
	status, served := g.get("/v1/openapi.json")
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(served))
	if status != http.StatusOK || err != nil {
		g.t.Fatalf("the document: %d %v", status, err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("urn:api", doc); err != nil {
		g.t.Fatal(err)
	}
	compiled, err := c.Compile("urn:api#/components/schemas/" + schema)
	if err != nil {
		g.t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err == nil {
		err = compiled.Validate(value)
	}
	if err != nil {
		g.t.Errorf("%.500s is no %s: %v", text, schema, err)
	}
}

// problem is an error over HTTP.
type problem struct {
	Type, Title, Detail, Message string
	Status                       int
	Code                         wire.Code
	RetryAfter                   float64 `json:"retry_after"`
}

func (g *running) refusedCall(status int, code wire.Code, method, path, body string, change func(*http.Request)) problem {
	g.t.Helper()
	resp, text := g.request(method, path, body, change)
	var p problem
	if err := json.Unmarshal([]byte(text), &p); err != nil || resp.Header.Get("Content-Type") != "application/problem+json" {
		g.t.Fatalf("%s %s: %d %q %v", path, body, resp.StatusCode, text, err)
	}
	if resp.StatusCode != status || p.Status != status || p.Code != code || p.Message == "" || p.Detail != p.Message || p.Title == "" || !strings.HasSuffix(p.Type, code.String()) {
		g.t.Errorf("%s %.100s: %d %s, want %d %v", path, body, resp.StatusCode, text, status, code)
	}
	g.conforms("Problem", text)
	if strings.Contains(text, apiKey) || strings.Contains(text, historyKey) {
		g.t.Errorf("the key is shown: %s", text)
	}
	return p
}

func TestServerAPIPublishes(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		keys := withKeys(t)
		g := start(t, ns, func(o *gateway.Options) { change(o); keys(o) })
		bob := g.signIn("bob")
		bob.must("subscribe", `"channel":"chat.a"`)
		bob.must("subscribe", `"channel":"user.bob"`)

		var first, again wire.PublishReply
		g.call("publish", `{"channel":"chat.a","data":{"hi": 1},"id":"m1","from":"shop"}`, &first)
		g.call("publish", `{"channel":"chat.a","data":{"hi": 1},"id":"m1","from":"shop"}`, &again)
		if first.Channel != "chat.a" || first.Seq != 1 || first.Epoch == "" || first.Duplicate || first.Durability != "memory" {
			t.Errorf("%+v", first)
		}
		if again.Seq != first.Seq || !again.Duplicate || again.Epoch != first.Epoch {
			t.Errorf("the retry: %+v", again)
		}
		if m := bob.message(); m.Seq != 1 || m.From != "shop" || m.ID != "m1" || string(m.Body) != `{"hi": 1}` {
			t.Errorf("%+v %s", m, m.Body)
		}
		if _, text := g.request("POST", "/v1/publish", `{"channel":"chat.a","data":"typing","qos":0}`, nil); text != `{"channel":"chat.a","duplicate":false,"durability":"none"}` {
			t.Errorf("at QoS 0: %s", text)
		}
		if m := bob.message(); m.Seq != 0 || m.From != "" || string(m.Body) != `"typing"` {
			t.Errorf("%+v %s", m, m.Body)
		}
		g.call("send", `{"user":"bob","data":"/wA=","encoding":"base64"}`, &first)
		if m := bob.message(); first.Channel != "user.bob" || m.Channel != "user.bob" || string(m.Body) != "\xff\x00" {
			t.Errorf("%+v, %+v", first, m)
		}
		var many struct {
			Results []struct {
				Channel string
				Seq     uint64
				Error   *wire.Error
			}
		}
		g.call("broadcast", `{"channels":["chat.a","news.b"],"data":"x","encoding":"text"}`, &many)
		if len(many.Results) != 2 || many.Results[0].Channel != "chat.a" || many.Results[0].Seq != 2 || many.Results[1].Channel != "news.b" || many.Results[1].Seq != 1 {
			t.Errorf("%+v", many)
		}
		if m := bob.message(); string(m.Body) != "x" {
			t.Errorf("%+v", m)
		}
	})
}

// A page is byte for byte what a WebSocket gets, and its cursor is good for either.
func TestServerAPIHistory(t *testing.T) {
	g := start(t, natstest.Run(t), withKeys(t))
	alice := g.signIn("alice")
	for i := range 5 {
		alice.publish("chat.a", fmt.Sprintf(`{"n" : %d}`, i))
	}
	alice.send(`{"history":{"channel":"chat.a","limit":2},"id":90}`)
	want, err := alice.read()
	if err != nil {
		t.Fatal(err)
	}
	resp, got := g.request("POST", "/v1/history", `{"channel":"chat.a","limit":2}`, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+historyKey) })
	if resp.StatusCode != http.StatusOK || `{"id":90,"history":`+got+`}` != string(want) {
		t.Errorf("%s\nwant %s", got, want)
	}
	var page struct {
		Next     string
		Messages []struct{ Seq uint64 }
	}
	if err := json.Unmarshal([]byte(got), &page); err != nil || page.Next == "" {
		t.Fatalf("%s %v", got, err)
	}
	if r := alice.must("history", `"channel":"chat.a","cursor":"`+page.Next+`"`).History; len(r.Messages) != 3 || r.Messages[0].Seq != 3 {
		t.Errorf("%+v", r)
	}
	g.call("history", `{"channel":"chat.a","cursor":"`+page.Next+`","limit":1}`, &page)
	if len(page.Messages) != 1 || page.Messages[0].Seq != 3 {
		t.Errorf("%+v", page)
	}
	g.call("history", `{"channel":"chat.a","last":1}`, &page)
	if len(page.Messages) != 1 || page.Messages[0].Seq != 5 {
		t.Errorf("%+v", page)
	}
	g.refusedCall(409, wire.WrongEpoch, "POST", "/v1/history", `{"channel":"chat.a","since":1,"epoch":"other"}`, nil)
	g.refusedCall(400, wire.BadRequest, "POST", "/v1/history", `{"channel":"chat.a","cursor":"x"}`, nil)
}

// What one batch publishes to a channel stands in it in order; an operation that is refused disturbs no other.
func TestServerAPIBatch(t *testing.T) {
	g := start(t, natstest.Run(t), withKeys(t))
	var parts []string
	for i := range 200 {
		parts = append(parts, fmt.Sprintf(`{"publish":{"channel":"chat.a","data":%d}}`, i))
	}
	parts = append(parts, `{"publish":{"channel":"chat","data":1}}`, `{"batch":{"operations":[]}}`, `{"nothing":{}}`, `{"history":{"channel":"chat.a","last":1000}}`)
	var r struct{ Results []map[string]json.RawMessage }
	g.call("batch", `{"operations":[`+strings.Join(parts, ",")+`]}`, &r)
	if len(r.Results) != len(parts) {
		t.Fatalf("%d results for %d operations", len(r.Results), len(parts))
	}
	for i := range 200 {
		var p wire.PublishReply
		if err := json.Unmarshal(r.Results[i]["publish"], &p); err != nil || p.Seq != uint64(i+1) {
			t.Fatalf("%d: %s", i, r.Results[i])
		}
	}
	for i, code := range []wire.Code{wire.BadChannel, wire.BadRequest, wire.UnknownCommand} {
		var e wire.Error
		if err := json.Unmarshal(r.Results[200+i]["error"], &e); err != nil || e.Code != code {
			t.Errorf("%s, want %v", r.Results[200+i], code)
		}
	}
	var page struct{ Messages []struct{ Data int } }
	if err := json.Unmarshal(r.Results[203]["history"], &page); err != nil || len(page.Messages) != 200 {
		t.Fatalf("%s", r.Results[203])
	}
	for i, m := range page.Messages {
		if m.Data != i {
			t.Fatalf("message %d is %d", i, m.Data)
		}
	}
	// The scopes are those of the parts.
	resp, text := g.request("POST", "/v1/batch", `{"operations":[{"history":{"channel":"chat.a","last":1}},{"publish":{"channel":"chat.a","data":1}}]}`,
		func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+historyKey) })
	if resp.StatusCode != http.StatusOK || !strings.Contains(text, `{"history":{"channel":"chat.a"`) || !strings.Contains(text, `{"error":{"code":"permission_denied"`) {
		t.Errorf("%d %s", resp.StatusCode, text)
	}
}

func TestServerAPIRefuses(t *testing.T) {
	keys := withKeys(t)
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		keys(o)
		o.Limits.RequestBytes, o.Streams.Default = 4096, nil
		o.Streams.Policies = []streams.Policy{{Namespace: "chat", Storage: streams.Memory, MaxMessageSize: 1000}}
	})
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	const good = `{"channel":"chat.a","data":1}`
	for _, c := range []struct {
		status             int
		code               wire.Code
		method, path, body string
		change             func(*http.Request)
	}{
		{401, wire.Unauthenticated, "POST", "/v1/publish", good, func(r *http.Request) { r.Header.Del("Authorization") }},
		{401, wire.Unauthenticated, "POST", "/v1/publish", good, header("Authorization", "Bearer "+apiKey+"x")},
		{401, wire.Unauthenticated, "POST", "/v1/publish", good, header("Authorization", "Basic "+apiKey)},
		{401, wire.Unauthenticated, "GET", "/v1/nothing", "", header("Authorization", "Bearer "+historyKey[1:])},
		{403, wire.PermissionDenied, "POST", "/v1/publish", `not even JSON`, header("Authorization", "Bearer "+historyKey)},
		{404, wire.UnknownCommand, "POST", "/v1/nothing", good, nil},
		{404, wire.UnknownCommand, "POST", "/v1/", good, nil},
		{404, wire.UnknownCommand, "POST", "/v1/publish/", good, nil},
		{404, wire.UnknownNamespace, "POST", "/v1/publish", `{"channel":"closed.a","data":1}`, nil},
		{405, wire.BadRequest, "GET", "/v1/publish", "", nil},
		{405, wire.BadRequest, "PUT", "/v1/publish", good, nil},
		{405, wire.BadRequest, "OPTIONS", "/v1/publish", "", header("Origin", "https://evil.example.com")},
		{413, wire.MessageTooBig, "POST", "/v1/publish", `{"channel":"chat.a","data":"` + strings.Repeat("x", 4096) + `"}`, nil},
		{413, wire.MessageTooBig, "POST", "/v1/publish", `{"channel":"chat.a","data":"` + strings.Repeat("x", 4096) + `"}`, func(r *http.Request) { r.ContentLength = -1 }},
		{413, wire.TooLarge, "POST", "/v1/publish", `{"channel":"chat.a","data":"` + strings.Repeat("x", 2000) + `"}`, nil},
		{415, wire.UnsupportedData, "POST", "/v1/publish", good, header("Content-Type", "text/plain")},
		{415, wire.UnsupportedData, "POST", "/v1/publish", good, func(r *http.Request) { r.Header.Del("Content-Type") }},
		{415, wire.UnsupportedData, "POST", "/v1/publish", good, header("Content-Encoding", "gzip")},
		{400, wire.BadRequest, "POST", "/v1/publish", ``, nil},
		{400, wire.BadRequest, "POST", "/v1/publish", good + good, nil},
		{400, wire.BadChannel, "POST", "/v1/publish", `{"channel":"chat","data":1}`, nil},
	} {
		g.refusedCall(c.status, c.code, c.method, c.path, c.body, c.change)
	}
	resp, _ := g.request("GET", "/v1/publish", "", nil)
	if resp.Header.Get("Allow") != "POST" {
		t.Errorf("Allow: %q", resp.Header.Get("Allow"))
	}
	resp, _ = g.request("POST", "/v1/publish", good, header("Origin", "https://app.example.com"))
	for name := range resp.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("%s: %v", name, resp.Header[name])
		}
	}
	resp, _ = g.request("POST", "/v1/publish", good, header("Content-Type", "application/json; charset=utf-8"))
	if resp.StatusCode != http.StatusOK {
		t.Errorf("with a charset: %d", resp.StatusCode)
	}
}

func TestServerAPIMakesTokens(t *testing.T) {
	keys := withKeys(t)
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		keys(o)
		o.Sign = func(g auth.Grant) (string, error) { return auth.Sign(secret, g) }
	})
	var r api.TokenReply
	g.call("token", `{"user":"alice","expires_in":60,"subscribe":["chat.{user}"],"publish":[]}`, &r)
	if left := time.Until(time.UnixMilli(r.Expires)); r.User != "alice" || left > time.Minute || left < 50*time.Second {
		t.Errorf("%+v", r)
	}
	alice := g.open()
	alice.send(`{"id":1,"connect":{"token":"` + r.Token + `"}}`)
	if in := alice.next(); in.Connect.User != "alice" || in.Connect.Expires/1000 != r.Expires/1000 {
		t.Fatalf("%+v", in)
	}
	alice.nextID = 1
	alice.must("subscribe", `"channel":"chat.alice"`)
	alice.must("history", `"channel":"chat.bob"`)
	alice.refused(wire.PermissionDenied, "subscribe", `"channel":"chat.bob"`)
	alice.refused(wire.PermissionDenied, "publish", `"channel":"chat.alice","data":1`)
	g.call("token", `{"user":"alice","one_time":true,"redeem_within":5}`, &r)
	if r.Token == "" || strings.Count(r.Token, ".") == 2 {
		t.Errorf("%+v", r)
	}
	for body, why := range map[string]string{
		`{}`: "user is missing", `{"user":"~a"}`: "begins with ~", `{"user":" a"}`: "space", `{"user":"a","subscribe":["a..b"]}`: "pattern",
		`{"user":"a.b","subscribe":["chat.{user}"]}`: "{user}", `{"user":"a","subscribe":null}`: "subscribe must not be null",
		`{"user":"a","expires_in":0}`: "expires_in", `{"user":"a","redeem_within":5}`: "one_time", `{"user":"a","one_time":true,"redeem_within":86401}`: "redeem_within",
		`{"user":"a","one_time":true,"publish":["*b"]}`: "pattern", `{"user":"a","admin":true}`: "admin: no such field",
	} {
		if p := g.refusedCall(400, wire.BadRequest, "POST", "/v1/token", body, nil); !strings.Contains(p.Message, why) {
			t.Errorf("%s: %s", body, p.Message)
		}
	}
	for body, why := range map[string]string{
		`{}`: "either", `{"user":"a","token_id":"b"}`: "either", `{"token_id":"b","ban":true}`: "user's", `{"user":"a","ban":true,"before":1}`: "exclude",
		`{"user":"a","before":-1}`: "before", `{"user":"a","until":"x"}`: "until must be an integer",
	} {
		if p := g.refusedCall(400, wire.BadRequest, "POST", "/v1/revoke", body, nil); !strings.Contains(p.Message, why) {
			t.Errorf("%s: %s", body, p.Message)
		}
	}
	var revoked api.RevokeReply
	g.call("revoke", `{"token_id":"t1"}`, &revoked)
	g.call("revoke", `{"user":"alice"}`, &revoked)
	if age := time.Since(time.UnixMilli(revoked.Revoked)); age < 0 || age > wait {
		t.Errorf("%+v", revoked)
	}
	unable := start(t, natstest.Run(t), keys)
	unable.refusedCall(404, wire.NotFound, "POST", "/v1/token", `{"user":"alice"}`, nil)
}

// With NATS away nothing hangs, and nothing is said to be stored.
func TestServerAPIWithoutNATS(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, withKeys(t))
	g.call("publish", `{"channel":"chat.a","data":1}`, new(wire.PublishReply))
	ns.Shutdown()
	eventually(t, "NATS to be missed", func() bool { return g.metric("jetwire_nats_connected") == 0 })
	p := g.refusedCall(503, wire.Unavailable, "POST", "/v1/publish", `{"channel":"chat.a","data":1}`, nil)
	if strings.Contains(p.Message, "stored") && !strings.Contains(p.Message, "nothing was stored") {
		t.Errorf("%+v", p)
	}
	g.refusedCall(503, wire.Unavailable, "POST", "/v1/publish", `{"channel":"other.a","data":1}`, nil)
	if ok, no := g.metric(`jetwire_api_requests_total{code="ok",operation="publish"}`), g.metric(`jetwire_api_requests_total{code="unavailable",operation="publish"}`); ok != 1 || no != 2 {
		t.Errorf("%v served, %v refused", ok, no)
	}
}
