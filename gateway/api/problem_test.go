package api

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"testing"

	"github.com/go-json-experiment/json"

	"github.com/jetwire/jetwire/gateway/wire"
)

// codes are all codes that the protocol's table has.
func codes() (all []wire.Code) {
	for c := wire.Code(1000); c < 5000; c++ {
		if c.String() != strconv.Itoa(int(c)) {
			all = append(all, c)
		}
	}
	return all
}

func TestEveryCodeHasAStatus(t *testing.T) {
	all := codes()
	if len(all) < 30 {
		t.Fatalf("%d codes", len(all))
	}
	for _, c := range all {
		status, ok := statuses[c]
		if !ok || status < 400 || http.StatusText(status) == "" {
			t.Errorf("%v has the status %d", c, status)
		}
		if c.Comeback() == wire.Later && status < 500 && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout {
			t.Errorf("%v means later, and %d does not", c, status)
		}
	}
	if len(statuses) != len(all) {
		t.Errorf("%d statuses for %d codes", len(statuses), len(all))
	}
	if Status(4999) != http.StatusInternalServerError {
		t.Error("a code that is not in the table")
	}
}

func TestProblem(t *testing.T) {
	for _, c := range codes() {
		w := httptest.NewRecorder()
		Problem(w, c.With("détail"))
		var p Details
		if err := json.Unmarshal(w.Body.Bytes(), &p, json.RejectUnknownMembers(true)); err != nil {
			t.Fatalf("%v: %v in %s", c, err, w.Body)
		}
		want := Details{Type: "urn:jetwire:error:" + c.String(), Title: c.Err().Message, Status: Status(c), Detail: "détail", Code: c, Message: "détail"}
		if p != want || w.Code != p.Status || w.Header().Get("Content-Type") != "application/problem+json" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("%v: %+v with %v", c, p, w.Header())
		}
		if challenge := w.Header().Get("WWW-Authenticate"); (w.Code == http.StatusUnauthorized) != (challenge == "Bearer") {
			t.Errorf("%v: WWW-Authenticate: %q", c, challenge)
		}
		if after := w.Header().Get("Retry-After"); (w.Code == http.StatusServiceUnavailable || w.Code == http.StatusTooManyRequests) != (after == "1") {
			t.Errorf("%v: Retry-After: %q", c, after)
		}
	}
	w := httptest.NewRecorder()
	Problem(w, &wire.Error{Code: wire.RateLimited, Message: "slower", RetryAfter: 2.1})
	if after := w.Header().Get("Retry-After"); after != "3" {
		t.Errorf("Retry-After: %q", after)
	}
	w = httptest.NewRecorder()
	Problem(w, wire.BadRequest.With("\xff"))
	if w.Code != http.StatusInternalServerError {
		t.Errorf("what is not UTF-8: %d %s", w.Code, w.Body)
	}
}
