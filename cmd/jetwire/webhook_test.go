package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// A server is killed: who was connected is told to be gone by the one that is started next. Nothing secret is printed.
func TestWebhookOfAKilledServer(t *testing.T) {
	type event struct{ ID, Type, User, Session, Reason string }
	var mu sync.Mutex
	var got []event
	endpoint := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil || r.Header.Get("webhook-signature") == "" {
			t.Errorf("%v: %v", r.Header, err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, e)
	}))
	defer endpoint.Close()
	find := func(kind, reason string) (found event) {
		mu.Lock()
		defer mu.Unlock()
		for _, e := range got {
			if e.Type == kind && e.User == "alice" && e.Reason == reason {
				found = e
			}
		}
		return found
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	const secret = "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	text := fmt.Sprintf("webhooks: [{name: shop, url: '%s/?key=hunter2', secret: whsec_%s, events: [connect, disconnect]}]\n", endpoint.URL, secret)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	first, a := serve(t, dir, "--config", file, "--log-level", "debug")
	sub := start(t, dir, "sub", "--url", a.URL, "chat.lobby")
	first.wait("the connection to be told", func() bool { return find("connect", "").Session != "" })
	kill(first)
	kill(sub)
	second, _ := serve(t, dir, "--config", file, "--log-level", "debug")
	second.wait("the connection's end to be told", func() bool { return find("disconnect", "gateway_lost").Session != "" })
	if c, d := find("connect", ""), find("disconnect", "gateway_lost"); c.Session != d.Session {
		t.Errorf("%+v, %+v", c, d)
	}
	if code := interrupt(second); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, p := range []*process{first, second} {
		if out := p.out.String() + p.errs.String(); strings.Contains(out, secret) || strings.Contains(out, "hunter2") {
			t.Errorf("it prints a secret: %s", out)
		}
	}
}
