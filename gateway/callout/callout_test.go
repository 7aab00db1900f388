package callout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/webhook"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newAuthorizer(t testing.TB, o Options) *Authorizer {
	t.Helper()
	a, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
	})
	return a
}

// outcome is what Ask calls back with.
type outcome struct {
	Answer
	err error
}

// ask waits for the answer.
func ask(a *Authorizer, q Question) outcome {
	got := make(chan outcome, 1)
	a.Ask(q, func(answer Answer, err error) { got <- outcome{answer, err} })
	return <-got
}

var publish = Question{User: "alice", Op: auth.Publish, Channel: "shop.a", Session: "g-1", Device: "phone", Data: []byte(`{"n":1}`)}

// TestHTTP: what is sent, and that nothing but a good answer allows.
func TestHTTP(t *testing.T) {
	secret := []byte("0123456789abcdef01234567")
	var mu sync.Mutex
	var next http.HandlerFunc
	var last string // the request
	answer := func(h http.HandlerFunc) { mu.Lock(); defer mu.Unlock(); next = h }
	got := func() string { mu.Lock(); defer mu.Unlock(); return last }
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		last = r.Method + " " + r.URL.Path + " " + string(body)
		h := next
		mu.Unlock()
		at, _ := strconv.ParseInt(r.Header.Get(webhook.HeaderTimestamp), 10, 64)
		if sum := "v1," + webhook.Sign(secret, r.Header.Get(webhook.HeaderID), time.Unix(at, 0), body); r.Header.Get(webhook.HeaderSignature) != sum {
			t.Errorf("signed %v", r.Header)
		}
		h(w, r)
	}))
	defer s.Close()
	var log strings.Builder
	a := newAuthorizer(t, Options{URL: s.URL + "/may?key=hunter2", Secret: secret, Data: true, Timeout: 5 * time.Second, Logger: slog.New(slog.NewTextHandler(&log, nil))})
	says := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
	}

	answer(says(`{"allow":true}`))
	if o := ask(a, publish); o.err != nil || !o.Allow {
		t.Errorf("%+v", o)
	}
	if want := `POST /may {"user":"alice","op":"publish","channel":"shop.a","session":"g-1","device":"phone","data":{"n":1}}`; got() != want {
		t.Errorf("asked\n%s, want\n%s", got(), want)
	}
	text := publish
	text.Data, text.Encoding = []byte(`"it's"`), wire.Text
	answer(says(`{"allow":false,"reason":"closed on\nSundays","more":[1]}`))
	if o := ask(a, text); o.err != nil || o.Allow || o.Reason != "closed on Sundays" {
		t.Errorf("%+v", o)
	}
	if !strings.HasSuffix(got(), `"data":"it's","encoding":"text"}`) {
		t.Error(got())
	}
	if ask(a, Question{User: "alice", Op: auth.Subscribe, Channel: "shop.>", Data: []byte(`1`)}); !strings.HasSuffix(got(), `"op":"subscribe","channel":"shop.\u003e"}`) {
		t.Error(got())
	}

	for name, bad := range map[string]http.HandlerFunc{
		"an error": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusBadGateway)
			_, _ = io.WriteString(w, `{"allow":true}`)
		},
		"created": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"allow":true}`)
		},
		"a redirect": func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "/elsewhere", http.StatusTemporaryRedirect)
		},
		"too large": says(`{"allow":true,"reason":"` + strings.Repeat("x", maxAnswer) + `"}`),
		"no JSON":   says(`yes`),
		"cut short": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "99")
			_, _ = io.WriteString(w, `{"allow":true}`)
		},
		"hangs up":    func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"empty":       says(``),
		"no decision": says(`{"reason":"hm"}`),
	} {
		answer(bad)
		if o := ask(a, publish); !errors.Is(o.err, ErrUnavailable) || o.Allow {
			t.Errorf("%s: %+v", name, o)
		}
	}
	if st := a.Stats(); st != (Stats{Asked: 12, Denied: 2, Failed: 9}) {
		t.Errorf("%+v", st)
	}
	s.Close()
	if o := ask(a, publish); !errors.Is(o.err, ErrUnavailable) {
		t.Errorf("nobody listens: %+v", o)
	}
	if s := log.String(); !strings.Contains(s, "gives no answer") || strings.Contains(s, "hunter2") || strings.Count(s, "\n") != 1 {
		t.Errorf("logged %q", s)
	}
}

// TestTimeout: who does not answer in time has not answered, and one that ends meanwhile says so.
func TestTimeout(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-r.Context().Done()
	}))
	defer s.Close()
	a := newAuthorizer(t, Options{URL: s.URL, Timeout: 50 * time.Millisecond})
	if o := ask(a, publish); !errors.Is(o.err, ErrUnavailable) {
		t.Errorf("%+v", o)
	}
	a = newAuthorizer(t, Options{URL: s.URL, Timeout: MaxTimeout})
	got := make(chan error, 1)
	a.Ask(publish, func(_ Answer, err error) { got <- err })
	if err := a.Close(); err != nil {
		t.Error(err)
	}
	if err := <-got; !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	if o := ask(a, publish); !errors.Is(o.err, ErrUnavailable) {
		t.Errorf("asked after Close: %+v", o)
	}
}

func TestNATS(t *testing.T) {
	nc, err := nats.Connect(natstest.Run(t).URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	request := func(ctx context.Context, subject string, body []byte) ([]byte, error) {
		m, err := nc.RequestWithContext(ctx, subject, body)
		if err != nil {
			return nil, err
		}
		return m.Data, nil
	}
	a := newAuthorizer(t, Options{Subject: "may", Request: request, Timeout: MaxTimeout})
	if o := ask(a, publish); !errors.Is(o.err, ErrUnavailable) { // at once: NATS knows that nobody listens
		t.Errorf("%+v", o)
	}
	sub, err := nc.Subscribe("may", func(m *nats.Msg) {
		var q struct {
			User, Op, Channel string
			Data              any
		}
		err := json.Unmarshal(m.Data, &q)
		_ = m.Respond(fmt.Appendf(nil, `{"allow":%v}`, err == nil && q.User == "alice" && q.Op == "publish" && q.Channel == "shop.a" && q.Data == nil))
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	for user, want := range map[string]bool{"alice": true, "bob": false} {
		q := publish
		q.User = user
		if o := ask(a, q); o.err != nil || o.Allow != want {
			t.Errorf("%s: %+v", user, o)
		}
	}
}

func TestOptions(t *testing.T) {
	ok := func(context.Context, string, []byte) ([]byte, error) { return nil, nil }
	for want, o := range map[string]Options{
		"either":   {},
		"either ":  {Subject: "a", URL: "http://a"},
		"Request":  {Subject: "a"},
		"no sub":   {Subject: "a.*", Request: ok},
		"no sub ":  {Subject: "a..b", Request: ok},
		"no sub  ": {Subject: "$JS.API", Request: ok},
		"or begin": {Subject: "jetwire.live.x", Request: ok},
		"url:":     {URL: "ftp://hunter2"},
		"url: ":    {URL: "http://[hunter2"},
		"secret":   {Subject: "a", Request: ok, Secret: []byte("x")},
		"timeout":  {Subject: "a", Request: ok, Timeout: time.Hour},
		"cache":    {Subject: "a", Request: ok, Cache: -1},
	} {
		_, err := New(o)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), strings.TrimSpace(want)) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%+v: %v", o, err)
		}
	}
	a := newAuthorizer(t, Options{URL: "https://a.example/x", Operations: []auth.Op{auth.Publish}})
	if !a.Asks(auth.Publish) || a.Asks(auth.Subscribe) {
		t.Error("asks about what it was not told to")
	}
}
