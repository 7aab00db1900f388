package api

import (
	"bufio"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

const key = "an-api-key-for-everything"

// heldLog answers when the test says so.
type heldLog struct {
	waiting chan func(wire.PublishReply, error)
}

func (l heldLog) Publish(_ Publication, done func(wire.PublishReply, error)) { l.waiting <- done }

func (l heldLog) History(ctx context.Context, _ wire.History) (wire.HistoryReply, error) {
	<-ctx.Done()
	return wire.HistoryReply{}, errors.New("a secret detail")
}

// untouched is a body that nobody may read.
type untouched struct{ t *testing.T }

func (b untouched) Read([]byte) (int, error) {
	b.t.Error("the body was read")
	return 0, io.EOF
}

func handler(t *testing.T, o Options) (*API, http.Handler) {
	t.Helper()
	keys, err := auth.NewKeys(auth.APIKey{Key: key}, auth.APIKey{Key: key + "-less", Scopes: []auth.Scope{auth.ScopeInfo}})
	if err != nil {
		t.Fatal(err)
	}
	a := New(o)
	return a, a.Handler(keys)
}

func ask(h http.Handler, path, key string, body io.Reader) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, body)
	r.Header.Set("Authorization", "Bearer "+key)
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// Who has no key, or not the scope, costs no more than the head of the request.
func TestRefusedBeforeTheBodyIsRead(t *testing.T) {
	_, h := handler(t, Options{Log: heldLog{}})
	for path, c := range map[string]struct {
		key    string
		status int
	}{
		"/v1/publish": {"another-key-than-that", 401}, "/v1/nothing": {key, 404}, "/v1/history": {key + "-less", 403},
	} {
		if w := ask(h, path, c.key, untouched{t}); w.Code != c.status {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	if w := ask(h, "/v1/publish", key, io.MultiReader(strings.NewReader("{"), broken{})); w.Code != 400 {
		t.Errorf("a body that does not come whole: %d %s", w.Code, w.Body)
	}
}

// A body that stalled was answered with timeout, as if something might have been done.
func TestBodyThatStalls(t *testing.T) {
	_, h := handler(t, Options{Log: heldLog{}})
	srv := httptest.NewUnstartedServer(h)
	srv.Config.ReadTimeout = 100 * time.Millisecond
	srv.Start()
	defer srv.Close()
	c, err := net.Dial("tcp", srv.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_, err = io.WriteString(c, "POST /v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer "+key+
		"\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusBadRequest || !strings.Contains(string(body), "nothing was done") {
		t.Errorf("%d %s, %v", resp.StatusCode, body, err)
	}
}

// broken is a body whose sender has gone.
type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// No more requests are served at a time than there may be; the others are told to come again.
func TestRequestsAtATime(t *testing.T) {
	log := heldLog{make(chan func(wire.PublishReply, error))}
	a, h := handler(t, Options{Log: log, Concurrent: 1})
	const publish = `{"channel":"chat.a","data":1}`
	first := make(chan *httptest.ResponseRecorder)
	go func() { first <- ask(h, "/v1/publish", key, strings.NewReader(publish)) }()
	done := <-log.waiting
	w := ask(h, "/v1/publish", key, untouched{t})
	if w.Code != 503 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), `"retry_after":1`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
	everything := Caller{May: func(auth.Scope) error { return nil }}
	if _, e := a.Call(t.Context(), everything, "publish", []byte(publish)); e == nil || e.Code != wire.Unavailable {
		t.Errorf("%v", e)
	}
	done(wire.PublishReply{Channel: "chat.a", Seq: 1, Epoch: "e", Durability: "memory"}, nil)
	if w := <-first; w.Code != 200 || w.Body.String() != `{"channel":"chat.a","seq":1,"epoch":"e","duplicate":false,"durability":"memory"}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	go func() { (<-log.waiting)(wire.PublishReply{}, wire.StoreFull.Err()) }()
	if _, e := a.Call(t.Context(), everything, "publish", []byte(publish)); e == nil || e.Code != wire.StoreFull {
		t.Errorf("the place was not given back: %v", e)
	}
}

// Nobody waits for ever, and what failed inside stays inside.
func TestTimeoutAndFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var logged strings.Builder
		log := heldLog{make(chan func(wire.PublishReply, error), 1)}
		_, h := handler(t, Options{Log: log, Logger: slog.New(slog.NewTextHandler(&logged, nil))})
		began := time.Now()
		w := ask(h, "/v1/publish", key, strings.NewReader(`{"channel":"chat.a","data":1}`))
		if w.Code != 504 || time.Since(began) != DefaultTimeout || !strings.Contains(w.Body.String(), "the outcome is unknown") {
			t.Errorf("%d %s after %v", w.Code, w.Body, time.Since(began))
		}
		w = ask(h, "/v1/history", key, strings.NewReader(`{"channel":"chat.a"}`))
		if w.Code != 500 || strings.Contains(w.Body.String(), "secret") || !strings.Contains(logged.String(), "a secret detail") {
			t.Errorf("%d %s, logged %s", w.Code, w.Body, logged.String())
		}
		if strings.Contains(logged.String(), key) {
			t.Errorf("the key is in the log: %s", logged.String())
		}
	})
}

// One result that is too long for the rest takes no message with it.
func TestBatchThatFills(t *testing.T) {
	log := longLog{}
	a, _ := handler(t, Options{Log: log})
	part := `{"history":{"channel":"chat.a"}}`
	body := `{"operations":[` + strings.Repeat(part+",", 5) + `{"publish":{"channel":"chat.a","data":1}}]}`
	reply, e := a.Call(t.Context(), Caller{May: func(auth.Scope) error { return nil }}, "batch", []byte(body))
	if e != nil {
		t.Fatal(e)
	}
	text := string(reply)
	if n := strings.Count(text, `{"error":{"code":"too_large"`); n != 3 || !strings.HasSuffix(text, `{"publish":{"channel":"chat.a","seq":1,"duplicate":false,"durability":"memory"}}]}`) {
		t.Errorf("%d refused; …%s", n, text[len(text)-200:])
	}
}

// longLog has pages of 4 MiB.
type longLog struct{}

func (longLog) Publish(p Publication, done func(wire.PublishReply, error)) {
	done(wire.PublishReply{Channel: p.Channel, Seq: 1, Durability: "memory"}, nil)
}

func (longLog) History(_ context.Context, h wire.History) (wire.HistoryReply, error) {
	return wire.HistoryReply{Channel: h.Channel, Messages: []wire.Message{{Channel: h.Channel, Seq: 1, Body: []byte(`"` + strings.Repeat("x", 4<<20) + `"`)}}}, nil
}
