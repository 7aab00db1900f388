package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/streams/access"
)

func TestSocket(t *testing.T) {
	const key = "0123456789abcdef"
	dir := t.TempDir()
	server, a := serve(t, dir, "--unified", "--api-key", key)
	at, err := url.Parse(a.URL)
	if err != nil {
		t.Fatal(err)
	}
	ask := func() string {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+at.Host+"/websocket/token?uniqueId=alice&clientType=app", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer http.DefaultClient.CloseIdleConnections()
		defer func() { _ = res.Body.Close() }()
		var answer struct{ Data string }
		if err := json.NewDecoder(res.Body).Decode(&answer); err != nil || answer.Data == "" {
			t.Fatal(err, res.Status)
		}
		return answer.Data
	}
	// What is printed last is acknowledged: the next socket does not print it again.
	for i := range 3 {
		u := ask()
		s := start(t, dir, "socket", u, "--count", "2")
		fmt.Fprintf(s.in, `{"messageId":"m%d","toUniqueId":"alice","toClientType":"h5"}`+"\n{\n", i)
		if code := s.end(); code != 0 || len(s.out.lines()) != 2 || !strings.Contains(s.out.String(), fmt.Sprintf(`"messageId":"m%d"`, i)) || !strings.Contains(s.out.String(), "bad_request") {
			t.Fatalf("%d: %s%s", code, &s.out, &s.errs)
		}
		again := start(t, dir, "socket", u)
		if code := again.end(); code != exitRefused || !strings.Contains(again.errs.String(), "ask for a new one") || strings.Contains(again.errs.String(), access.TicketPrefix) {
			t.Errorf("used twice: %d, %s", code, &again.errs)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+at.Host+"/websocket/message", strings.NewReader(fmt.Sprintf(`{"toUniqueId":"alice","content":%d}`, i)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = res.Body.Close()
		got := do(t, dir, 0, "socket", ask(), "--count", "1")
		if !strings.Contains(got[0], fmt.Sprintf(`"content":%d,`, i)) {
			t.Errorf("%d: %s", i, got)
		}
	}
	if code := start(t, dir, "socket").end(); code != exitUsage {
		t.Errorf("without a URL: %d", code)
	}
	if code := start(t, dir, "socket", "ws://127.0.0.1:1/socket/x").end(); code != exitUnavailable {
		t.Errorf("nobody listens: %d", code)
	}
	held := start(t, dir, "socket", ask())
	fmt.Fprintln(held.in, `{"messageId":"here","toUniqueId":"alice"}`)
	held.wait("it to be connected", func() bool { return len(held.out.lines()) == 1 })
	if code := interrupt(held); code != exitInterrupted {
		t.Errorf("interrupted: %d", code)
	}
	interrupt(server)
	noSecrets(t, dir, server)
	if strings.Contains(server.out.String()+server.errs.String(), access.TicketPrefix) {
		t.Error("the server's log shows a token")
	}
}
