package callout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
)

func TestDecode(t *testing.T) {
	for text, want := range map[string]Answer{
		`{"allow":true}`:                                              {Allow: true},
		` {"allow" : false, "reason":"no" } `:                         {Reason: "no"},
		`{"allow":true,"ttl":1.5,"x":{"a":1}}`:                        {Allow: true},
		`{"allow":false,"reason":"` + strings.Repeat("é", 300) + `"}`: {Reason: strings.Repeat("é", 100)},
	} {
		a, ttl, err := decode([]byte(text), time.Minute)
		if err != nil || a != want || ttl != time.Minute && !strings.Contains(text, "ttl") {
			t.Errorf("%s: %+v, %v, %v", text, a, ttl, err)
		}
	}
	for text, want := range map[string]time.Duration{"0": 0, "1.5": 1500 * time.Millisecond, "1e300": 365 * 24 * time.Hour} {
		if _, ttl, err := decode([]byte(`{"allow":true,"ttl":`+text+`}`), time.Minute); err != nil || ttl != want {
			t.Errorf("ttl %s: %v, %v", text, ttl, err)
		}
	}
	for _, text := range []string{
		``, `true`, `[]`, `{}`, `null`, `{"Allow":true}`, `{"allow":1}`, `{"allow":"true"}`, `{"allow":null}`, `{"allow":[true]}`, `{"allow":true`, `{"allow":true}}`,
		`{"allow":false,"allow":true}`, `{"allow":true,"reason":1}`, `{"allow":true,"ttl":-1}`, `{"allow":true,"ttl":"5"}`, `{"allow":true,"ttl":null}`,
		`{"allow":true,"x":` + "\"\xff\"}", `{"allow":true} {"allow":true}`, strings.Repeat(" ", maxAnswer) + `{"allow":true}`,
	} {
		if a, _, err := decode([]byte(text), time.Minute); err == nil || a != (Answer{}) {
			t.Errorf("%.80s: %+v, %v", text, a, err)
		}
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"allow":true,"reason":"x","ttl":3}`))
	f.Add([]byte(`{"allow":false}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		a, ttl, err := decode(text, time.Minute)
		if err != nil && a != (Answer{}) || ttl < 0 || len(a.Reason) > maxReason || a.Allow && !strings.Contains(string(text), "true") {
			t.Errorf("%+v, %v, %v", a, ttl, err)
		}
	})
}

// oracle is an authority that answers when it is told to.
type oracle struct {
	mu    sync.Mutex
	asked []string
	open  chan struct{} // nil: it answers at once
	text  string
}

func (o *oracle) request(ctx context.Context, _ string, body []byte) ([]byte, error) {
	o.mu.Lock()
	o.asked = append(o.asked, string(body))
	open, text := o.open, o.text
	o.mu.Unlock()
	if open != nil {
		select {
		case <-open:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return []byte(text), nil
}

// since returns what was asked since the last call.
func (o *oracle) since() []string {
	o.mu.Lock()
	defer o.mu.Unlock()
	asked := o.asked
	o.asked = nil
	return asked
}

// TestRemembered: an answer is good for as long as it says, at most as long as the option does, for that user, operation and channel.
func TestRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who := &oracle{text: `{"allow":true}`}
		a := newAuthorizer(t, Options{Subject: "may", Request: who.request, Cache: time.Minute})
		subscribe := Question{User: "alice", Op: auth.Subscribe, Channel: "shop.a", Session: "g-1", Device: "phone"}
		known := func() bool {
			_, ok := a.Known(subscribe.User, subscribe.Op, subscribe.Channel)
			return ok
		}
		if known() {
			t.Error("known before it was asked")
		}
		for range 2 {
			if o := ask(a, subscribe); o.err != nil || !o.Allow {
				t.Fatalf("%+v", o)
			}
		}
		if asked := who.since(); !slices.Equal(asked, []string{`{"user":"alice","op":"subscribe","channel":"shop.a"}`}) {
			t.Errorf("asked %q", asked)
		}
		for _, other := range []Question{{User: "bob", Op: auth.Subscribe, Channel: "shop.a"}, {User: "alice", Op: auth.History, Channel: "shop.a"}, {User: "alice", Op: auth.Subscribe, Channel: "shop.b"}} {
			if _, ok := a.Known(other.User, other.Op, other.Channel); ok {
				t.Errorf("%+v is known", other)
			}
		}
		time.Sleep(time.Minute - 1)
		if !known() {
			t.Error("forgotten too early")
		}
		time.Sleep(time.Nanosecond)
		if known() {
			t.Error("remembered for too long")
		}
		for _, c := range []struct {
			ttl  string
			good time.Duration
		}{{"0", 0}, {"2.5", 2500 * time.Millisecond}, {"3600", time.Minute}} {
			who.text = `{"allow":false,"reason":"no","ttl":` + c.ttl + `}`
			if o := ask(a, subscribe); o.err != nil || o.Allow || o.Reason != "no" {
				t.Fatalf("%+v", o)
			}
			time.Sleep(c.good - 1)
			if c.good > 0 && !known() {
				t.Errorf("ttl %s: forgotten too early", c.ttl)
			}
			time.Sleep(2 * time.Nanosecond)
			if known() {
				t.Errorf("ttl %s: remembered for too long", c.ttl)
			}
		}
		who.text = `no`
		who.since()
		for range 2 {
			if o := ask(a, subscribe); !errors.Is(o.err, ErrUnavailable) {
				t.Errorf("%+v", o)
			}
		}
		if n := len(who.since()); n != 2 {
			t.Errorf("a failure was remembered: asked %d times", n)
		}
	})
}

// TestAskedOnce: those who want to know the same ask once, and go on in their order.
func TestAskedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who := &oracle{text: `{"allow":true}`, open: make(chan struct{})}
		a := newAuthorizer(t, Options{Subject: "may", Request: who.request, Cache: time.Minute})
		var order []int
		for i := range 5 {
			a.Ask(publish, func(answer Answer, err error) {
				if _, ok := a.Known("alice", auth.Publish, "shop.a"); !ok || !answer.Allow || err != nil {
					t.Errorf("%d: %+v, %v, known %v", i, answer, err, ok)
				}
				order = append(order, i)
			})
		}
		synctest.Wait()
		close(who.open)
		synctest.Wait()
		if !slices.Equal(order, []int{0, 1, 2, 3, 4}) {
			t.Errorf("went on as %v", order)
		}
		if n := len(who.since()); n != 1 {
			t.Errorf("asked %d times", n)
		}
	})
}

// TestDataIsAskedAnew: what depends on the body is asked each time.
func TestDataIsAskedAnew(t *testing.T) {
	who := &oracle{text: `{"allow":true}`}
	a := newAuthorizer(t, Options{Subject: "may", Request: who.request, Cache: time.Minute, Data: true})
	for range 2 {
		ask(a, publish)
	}
	if asked := who.since(); len(asked) != 2 || !strings.Contains(asked[1], `"data":{"n":1}`) {
		t.Errorf("%q", asked)
	}
	if _, ok := a.Known("alice", auth.Publish, "shop.a"); ok {
		t.Error("remembered")
	}
	for range 2 {
		ask(a, Question{User: "alice", Op: auth.Subscribe, Channel: "shop.a"})
	}
	if n := len(who.since()); n != 1 {
		t.Errorf("a subscription was asked about %d times", n)
	}
}

// TestBounds: what is under way, and what waits, has a bound; past it the answer is there at once.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		who := &oracle{text: `{"allow":true}`, open: make(chan struct{})}
		a := newAuthorizer(t, Options{Subject: "may", Request: who.request, Timeout: 3 * time.Second})
		allowed, failed := 0, 0
		var mu sync.Mutex
		done := func(answer Answer, err error) {
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed++
			} else if answer.Allow {
				allowed++
			}
		}
		counts := func() (allowedNow, failedNow int) { mu.Lock(); defer mu.Unlock(); return allowed, failed }
		for i := range maxAsking + maxWaiting + 10 {
			a.Ask(Question{User: fmt.Sprint(i), Op: auth.Publish, Channel: "shop.a"}, done)
		}
		synctest.Wait()
		if _, failed := counts(); failed != 10 {
			t.Errorf("%d are refused at once", failed)
		}
		if n := len(who.since()); n != maxAsking {
			t.Errorf("%d are asked at a time", n)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if allowed, failed := counts(); failed != maxAsking+maxWaiting+10 || allowed != 0 {
			t.Errorf("%d failed when their time was over, %d were allowed", failed, allowed)
		}
		close(who.open)
		if o := ask(a, publish); !o.Allow {
			t.Errorf("afterwards: %+v", o)
		}
	})
}

func TestKnownAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	who := &oracle{text: `{"allow":true}`}
	a := newAuthorizer(t, Options{Subject: "may", Request: who.request, Cache: time.Minute})
	ask(a, publish)
	if n := testing.AllocsPerRun(100, func() {
		if _, ok := a.Known("alice", auth.Publish, "shop.a"); !ok || !a.Asks(auth.Publish) {
			t.Fatal("forgotten")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
