package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// wait bounds a test's waiting for one thing.
const wait = 30 * time.Second

const secretText = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

// verify is a receiver's check, written from the specification and from nothing of this package.
func verify(h http.Header, body []byte) error {
	key, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(secretText, "whsec_"))
	seconds, err := strconv.ParseInt(h.Get("webhook-timestamp"), 10, 64)
	if err != nil {
		return err
	}
	if age := time.Since(time.Unix(seconds, 0)); age < -time.Minute || age > 5*time.Minute {
		return fmt.Errorf("%v old", age)
	}
	mac := hmac.New(sha256.New, key)
	fmt.Fprintf(mac, "%s.%s.%s", h.Get("webhook-id"), h.Get("webhook-timestamp"), body)
	for s := range strings.FieldsSeq(h.Get("webhook-signature")) {
		version, signature, _ := strings.Cut(s, ",")
		given, err := base64.StdEncoding.DecodeString(signature)
		if version == "v1" && err == nil && hmac.Equal(given, mac.Sum(nil)) {
			return nil
		}
	}
	return fmt.Errorf("no signature holds: %v", h)
}

// receiver is an endpoint. answer says what becomes of a request; what it answers with 2xx is kept.
type receiver struct {
	*httptest.Server
	t testing.TB

	mu  sync.Mutex
	got []string // bodies
}

func listen(t testing.TB, answer func(w http.ResponseWriter, body string) (status int)) *receiver {
	r := &receiver{t: t}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		if err == nil {
			err = verify(req.Header, body)
		}
		if err != nil || req.Method != http.MethodPost || req.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v", req.Method, req.Header, err)
		}
		status := answer(w, string(body))
		if status/100 == 2 {
			r.mu.Lock()
			r.got = append(r.got, string(body))
			r.mu.Unlock()
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) bodies() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.got)
}

// letters keeps dead letters.
type letters struct {
	mu  sync.Mutex
	all []Letter
}

func (l *letters) put(_ context.Context, letter Letter) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, letter)
	return nil
}

func sender(t testing.TB, url string, l *letters, change func(*Endpoint, *Options)) *Sender {
	t.Helper()
	secret, err := ParseSecret(secretText)
	if err != nil {
		t.Fatal(err)
	}
	e, o := Endpoint{Name: "shop", URL: url, Secrets: [][]byte{bytes.Repeat([]byte("old"), 10), secret}}, Options{Dead: l.put}
	if change != nil {
		change(&e, &o)
	}
	s, err := New(e, o)
	if err != nil {
		t.Fatal(err)
	}
	s.pause = func(int) time.Duration { return time.Duration(rand.IntN(3)) * time.Millisecond }
	t.Cleanup(s.Close)
	return s
}

// sendAll sends events and waits until each is done.
func sendAll(t testing.TB, s *Sender, events []Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	r := s.Start(ctx)
	var left sync.WaitGroup
	for _, e := range events {
		left.Add(1)
		e.Done = left.Done
		r.Send(e)
	}
	done := make(chan struct{})
	go func() { left.Wait(); close(done) }()
	select {
	case <-done:
	case <-ctx.Done():
		t.Fatal("not all events are done")
	}
	cancel()
	r.Wait()
}

// numbered makes n events of some users.
func numbered(n, users int) (events []Event) {
	for i := range n {
		user := fmt.Sprintf("user%d", i%users)
		events = append(events, Event{ID: fmt.Sprintf("e-%d", i), Key: user, Body: fmt.Appendf(nil, "%s %05d", user, i)})
	}
	return events
}

// inOrder checks that each user's bodies come in order, all n of them.
func inOrder(t *testing.T, got []string, n int) {
	t.Helper()
	last := map[string]string{}
	for _, b := range got {
		user, number, _ := strings.Cut(b, " ")
		if number <= last[user] {
			t.Errorf("%s: %s came after %s", user, number, last[user])
		}
		last[user] = number
	}
	if len(got) != n {
		t.Errorf("%d of %d came", len(got), n)
	}
}

func TestOrderOfAUserUnderFailures(t *testing.T) {
	var mu sync.Mutex
	tried := map[string]bool{}
	r := listen(t, func(w http.ResponseWriter, body string) int {
		mu.Lock()
		again := tried[body]
		tried[body] = true
		mu.Unlock()
		switch n := rand.IntN(6); {
		case again || n > 2:
			return http.StatusNoContent
		case n == 0:
			panic(http.ErrAbortHandler) // the connection breaks
		case n == 1:
			return http.StatusServiceUnavailable
		}
		return http.StatusInternalServerError
	})
	var l letters
	s := sender(t, r.URL, &l, nil)
	sendAll(t, s, numbered(500, 7))
	inOrder(t, r.bodies(), 500)
	if st := s.Stats(); st.Delivered != 500 || st.Failed == 0 || st.Dead != 0 {
		t.Errorf("%+v", st)
	}
}

func TestDeadLetters(t *testing.T) {
	elsewhere := listen(t, func(http.ResponseWriter, string) int { return http.StatusOK })
	requests := make(chan string, 100)
	r := listen(t, func(w http.ResponseWriter, body string) int {
		requests <- body
		switch {
		case strings.HasSuffix(body, "00001"):
			return http.StatusInternalServerError
		case strings.HasSuffix(body, "00003"):
			return http.StatusGone
		case strings.HasSuffix(body, "00004"):
			w.Header().Set("Location", elsewhere.URL)
			return http.StatusPermanentRedirect
		}
		return http.StatusOK
	})
	var l letters
	s := sender(t, r.URL, &l, func(e *Endpoint, _ *Options) { e.MaxAttempts = 3 })
	sendAll(t, s, numbered(6, 1))
	if got := r.bodies(); !slices.Equal(got, []string{"user0 00000", "user0 00002", "user0 00005"}) {
		t.Errorf("delivered %q", got)
	}
	var dead []string
	for _, letter := range l.all {
		dead = append(dead, fmt.Sprint(letter.Endpoint, " ", letter.Event.ID, " ", letter.Attempts, " ", letter.Reason))
	}
	want := []string{"shop e-1 3 status 500 Internal Server Error", "shop e-3 1 status 410 Gone", "shop e-4 3 status 308 Permanent Redirect"}
	if !slices.Equal(dead, want) {
		t.Errorf("dead letters %q", dead)
	}
	if len(requests) != 3+3+1+3 || len(elsewhere.bodies()) != 0 {
		t.Errorf("%d requests, %d followed a redirect", len(requests), len(elsewhere.bodies()))
	}
	if st := s.Stats(); st != (Stats{Delivered: 3, Failed: 7, Dead: 3}) {
		t.Errorf("%+v", st)
	}
}

// A hanging endpoint holds what its lanes hold, and no more.
func TestHangingEndpointIsBounded(t *testing.T) {
	hang := make(chan struct{})
	r := listen(t, func(http.ResponseWriter, string) int { <-hang; return http.StatusOK })
	defer close(hang)
	s := sender(t, r.URL, &letters{}, func(e *Endpoint, _ *Options) { e.Parallel = 2 })
	ctx, cancel := context.WithCancel(t.Context())
	run := s.Start(ctx)
	sent := make(chan struct{}, 1000)
	var work sync.WaitGroup
	work.Go(func() {
		for _, e := range numbered(1000, 1) {
			e.Done = func() { t.Error("done, but it hangs") }
			run.Send(e)
			if ctx.Err() == nil {
				sent <- struct{}{}
			}
		}
	})
	for range laneQueue {
		<-sent
	}
	cancel()
	work.Wait()
	run.Wait()
	if n := len(sent); n > 1 { // beside what is on its way
		t.Errorf("%d events more than a lane holds were taken", n)
	}
}

func TestNothingSecretIsToldOfAFailure(t *testing.T) {
	r := listen(t, func(http.ResponseWriter, string) int { return http.StatusOK })
	url := strings.Replace(r.URL, "http://", "http://me:hunter2@", 1) + "/hook?key=hunter2"
	r.Close() // nobody listens
	var log bytes.Buffer
	var l letters
	s := sender(t, url, &l, func(e *Endpoint, o *Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	if err := s.request(t.Context(), numbered(1, 1)[0]); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	} else {
		s.works(err)
	}
	if text := log.String(); !strings.Contains(text, "webhook=shop") || strings.Contains(text, "hunter2") || strings.Contains(text, secretText[6:]) {
		t.Errorf("log %s", text)
	}
	_, err := New(Endpoint{Name: "shop", URL: "ftp://me:hunter2@host/"}, Options{})
	if err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error %v", err)
	}
}
