package gateway_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/api/service"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

// gather returns what comes in answer to a request that many may answer, until there are n.
func gather[T any](t *testing.T, nc *nats.Conn, subject string, n int) (all []T) {
	t.Helper()
	inbox := nc.NewRespInbox()
	sub, err := nc.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := nc.PublishRequest(subject, inbox, nil); err != nil {
		t.Fatal(err)
	}
	for len(all) < n {
		m, err := sub.NextMsg(wait)
		if err != nil {
			t.Fatalf("%d answers to %s, want %d: %v", len(all), subject, n, err)
		}
		var one T
		if err := json.Unmarshal(m.Data, &one); err != nil {
			t.Fatalf("%s: %v", m.Data, err)
		}
		all = append(all, one)
	}
	return all
}

// What `nats micro ls` and `nats micro info jetwire` ask for.
func TestMicroServiceIsVisible(t *testing.T) {
	ns := natstest.Run(t)
	pair(t, ns, withKeys(t))
	nc := ns.Conn()
	for _, p := range gather[micro.Ping](t, nc, "$SRV.PING", 2) {
		if p.Name != "jetwire" || p.Version != service.Version || p.Type != micro.PingResponseType {
			t.Errorf("%+v", p)
		}
	}
	infos := gather[micro.Info](t, nc, "$SRV.INFO.jetwire", 2)
	if infos[0].Metadata["gateway"] == infos[1].Metadata["gateway"] || infos[0].Description == "" {
		t.Errorf("%+v", infos)
	}
	for _, info := range infos {
		var names []string
		for _, e := range info.Endpoints {
			names = append(names, e.Name)
			if e.Subject != "jetwire.api."+e.Name || e.QueueGroup != "jetwire" || e.Metadata["description"] == "" || !json.Valid([]byte(e.Metadata["request"])) || !json.Valid([]byte(e.Metadata["reply"])) {
				t.Errorf("%+v", e)
			}
		}
		for _, name := range []string{"publish", "broadcast", "batch", "send", "history", "presence", "subscriptions", "disconnect", "unsubscribe", "token", "revoke", "info"} {
			if !slices.Contains(names, name) {
				t.Errorf("%s is missing among %v", name, names)
			}
		}
	}
}

// One of the gateways answers each request, as HTTP would.
func TestMicroService(t *testing.T) {
	ns := natstest.Run(t)
	one, two := pair(t, ns, withKeys(t))
	bob := two.signIn("bob")
	bob.must("subscribe", `"channel":"chat.a"`)
	nc := ns.Conn()
	ask := func(name, body string) *nats.Msg {
		t.Helper()
		m, err := nc.Request("jetwire.api."+name, []byte(body), wait)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return m
	}
	const n = 40
	for i := range n {
		m := ask("publish", fmt.Sprintf(`{"channel":"chat.a","data":{"n" : %d},"id":"m%d"}`, i, i))
		var r wire.PublishReply
		if err := json.Unmarshal(m.Data, &r); err != nil || r.Seq != uint64(i+1) || r.Duplicate || m.Header.Get(micro.ErrorCodeHeader) != "" {
			t.Fatalf("%s %v", m.Data, m.Header)
		}
		if got := bob.message(); string(got.Body) != fmt.Sprintf(`{"n" : %d}`, i) {
			t.Fatalf("%s", got.Body)
		}
	}
	var answered int
	for _, st := range gather[micro.Stats](t, nc, "$SRV.STATS.jetwire", 2) {
		for _, e := range st.Endpoints {
			answered += e.NumRequests
		}
	}
	if answered != n {
		t.Errorf("%d requests were answered, want %d", answered, n)
	}
	_, want := one.request("POST", "/v1/history", `{"channel":"chat.a","last":2}`, nil)
	if got := ask("history", `{"channel":"chat.a","last":2}`); string(got.Data) != want {
		t.Errorf("%s\nwant %s", got.Data, want)
	}
	var here wire.PresenceReply
	if err := json.Unmarshal(ask("presence", `{"channel":"chat.a"}`).Data, &here); err != nil || here.Connections != 1 {
		t.Errorf("%+v %v", here, err)
	}
	for name, c := range map[string]struct {
		body, status string
		code         wire.Code
	}{
		"publish": {`{"channel":"chat","data":1}`, "400", wire.BadChannel}, "history": {``, "400", wire.BadRequest},
		"send": {"{\"user\":\"b\\r\\nX: y\",\"data\":1}", "400", wire.BadChannel}, "broadcast": {strings.Repeat(" ", 1<<19) + "{}", "400", wire.BadRequest},
	} {
		m := ask(name, c.body)
		var e wire.Error
		if err := json.Unmarshal(m.Data, &e); err != nil || e.Code != c.code || e.Message == "" ||
			m.Header.Get(micro.ErrorCodeHeader) != c.status || m.Header.Get(micro.ErrorHeader) != c.code.String() || m.Header.Get("X") != "" {
			t.Errorf("%s: %s %v %v", name, m.Data, m.Header, err)
		}
	}
	if _, err := nc.Request("jetwire.api.nothing", []byte(`{}`), 5*time.Second); err != nats.ErrNoResponders {
		t.Errorf("an operation that there is not: %v", err)
	}
}

// What no NATS message can carry is refused, and said.
func TestMicroServiceWithALongAnswer(t *testing.T) {
	ns := natstest.Run(t)
	g := start(t, ns, withKeys(t))
	for range 20 {
		g.call("publish", `{"channel":"chat.a","data":"`+strings.Repeat("x", 60_000)+`"}`, new(wire.PublishReply))
	}
	nc := ns.Conn()
	ask := fmt.Sprintf(`{"operations":[%s]}`, strings.TrimSuffix(strings.Repeat(`{"history":{"channel":"chat.a"}},`, 4), ","))
	m, err := nc.Request("jetwire.api.batch", []byte(ask), wait)
	if err != nil {
		t.Fatal(err)
	}
	var e wire.Error
	if err := json.Unmarshal(m.Data, &e); err != nil || e.Code != wire.TooLarge || m.Header.Get(micro.ErrorCodeHeader) != "413" {
		t.Errorf("%.200s %v", m.Data, m.Header)
	}
}

// When NATS has been away the service answers again.
func TestMicroServiceComesBack(t *testing.T) {
	ns := natstest.Run(t)
	start(t, ns, withKeys(t))
	nc := ns.Conn()
	ns.Restart()
	eventually(t, "an answer", func() bool {
		m, err := nc.Request("jetwire.api.info", []byte(`{}`), time.Second)
		return err == nil && m.Header.Get(micro.ErrorCodeHeader) == ""
	})
}

// More requests than may be served at a time are refused at once, and not kept.
func TestMicroServiceAtATime(t *testing.T) {
	ns := natstest.Run(t)
	keys := withKeys(t)
	g := start(t, ns, func(o *gateway.Options) { keys(o); o.Limits.Requests = 1 })
	nc := ns.Conn()
	g.joinSilent(nc) // for whose answer the first request waits
	answers, err := nc.SubscribeSync(nc.NewRespInbox())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := nc.PublishRequest("jetwire.api.presence", answers.Subject, []byte(`{"channel":"chat.a"}`)); err != nil {
			t.Fatal(err)
		}
	}
	for _, status := range []string{"503", ""} {
		m, err := answers.NextMsg(wait)
		if err != nil {
			t.Fatal(err)
		}
		if m.Header.Get(micro.ErrorCodeHeader) != status || (status != "") != strings.Contains(string(m.Data), `"retry_after":1`) {
			t.Errorf("%s %v", m.Data, m.Header)
		}
	}
}

// The permissions of a NATS user are what a key's scopes are over HTTP.
func TestMicroServiceByPermission(t *testing.T) {
	ns := natstest.RunWith(t, func(o *server.Options) {
		o.NoAuthUser = "gateway"
		o.Users = []*server.User{
			{Username: "gateway", Password: "secret"},
			{Username: "shop", Password: "secret", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: []string{"jetwire.api.publish"}}, Subscribe: &server.SubjectPermission{Allow: []string{"_INBOX.>"}},
			}},
		}
	})
	start(t, ns, withKeys(t))
	violations := make(chan error, 1)
	nc, err := ns.Connect("shop", nats.UserInfo("shop", "secret"), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { violations <- err }))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	if m, err := nc.Request("jetwire.api.publish", []byte(`{"channel":"chat.a","data":1}`), wait); err != nil || m.Header.Get(micro.ErrorCodeHeader) != "" {
		t.Errorf("%v %v", m, err)
	}
	if err := nc.Publish("jetwire.api.token", []byte(`{"user":"admin","one_time":true}`)); err != nil {
		t.Fatal(err)
	}
	if err := <-violations; !errors.Is(err, nats.ErrPermissionViolation) {
		t.Error(err)
	}
}
