package commands

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/jetwire/jetwire/streams/natstest"
)

// backend is a service as its author would write it, with nats.go alone.
func backend(t testing.TB, s *natstest.Server) micro.Service {
	t.Helper()
	svc, err := micro.AddService(s.Conn(), micro.Config{Name: "billing", Version: "1.0.0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = svc.Stop() })
	add := func(destination string, f func(micro.Request)) {
		if err := svc.AddEndpoint(strings.ReplaceAll(destination, ".", "-"), micro.HandlerFunc(f), micro.WithEndpointSubject(CallPrefix+destination)); err != nil {
			t.Fatal(err)
		}
	}
	add("billing.echo", func(r micro.Request) { _ = r.Respond(r.Data(), micro.WithHeaders(r.Headers())) })
	add("billing.who", func(r micro.Request) {
		_ = r.Respond([]byte(r.Headers().Get("Jw-From") + " " + r.Headers().Get("Jw-Id") + " " + r.Headers().Get(HeaderTimeout)))
	})
	add("billing.no", func(r micro.Request) { _ = r.Error("409", "already refunded", []byte("for nobody")) })
	add("billing.long", func(r micro.Request) { _ = r.Error("400", strings.Repeat("é", 1000), nil) })
	add("billing.large", func(r micro.Request) { _ = r.Respond(make([]byte, DefaultMaxReply+1)) })
	add("billing.silent", func(micro.Request) {})
	add("other.silent", func(micro.Request) {})
	return svc
}

func TestCall(t *testing.T) {
	s := natstest.Run(t)
	backend(t, s)
	q := open(t, s, nil)
	if got, err := q.ask(t, Call{Destination: "billing.echo", From: "alice", Body: []byte("hello")}); err != nil || got != "hello" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := q.ask(t, Call{Destination: "billing.who", From: "alice", ID: "q1", Timeout: 15 * time.Second}); err != nil || got != "alice q1 15000" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := q.ask(t, Call{Destination: "billing.who", From: "a\r\nb"}); err != nil || got != "a%0D%0Ab  10000" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := q.ask(t, Call{Destination: "billing.who", Timeout: time.Hour}); err != nil || got != "  30000" {
		t.Errorf("a time beyond what is allowed: %q, %v", got, err)
	}
	var refused *Refused
	if _, err := q.ask(t, Call{Destination: "billing.no"}); !errors.As(err, &refused) || *refused != (Refused{"409", "already refunded"}) {
		t.Errorf("%v", err)
	}
	if _, err := q.ask(t, Call{Destination: "billing.long"}); !errors.As(err, &refused) || len(refused.Text) != maxRefusal || !strings.HasPrefix(refused.Error(), "400: éé") {
		t.Errorf("%v", err)
	}
	for destination, want := range map[string]error{"billing.nobody": ErrNoService, "billing.large": ErrTooLarge} {
		if _, err := q.ask(t, Call{Destination: destination}); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", destination, err, want)
		}
	}
	if _, err := q.ask(t, Call{Destination: "billing.silent", Timeout: 20 * time.Millisecond}); !errors.Is(err, ErrTimeout) {
		t.Errorf("nobody answers: %v", err)
	}
	if _, err := q.ask(t, Call{Destination: "billing.echo", Body: make([]byte, DefaultMaxMessageSize+1)}); !errors.Is(err, ErrTooLarge) {
		t.Error(err)
	}
	if got := q.Stats(); got.Calls != 0 || got.NoService != 1 || got.TimedOut != 1 || len(q.calls.namespaces) != 0 {
		t.Errorf("%+v, %v", got, q.calls.namespaces)
	}
}

// TestCallsAreBounded: in all, to one namespace, so that one slow backend does not take the place of all others, and of one user, who does
// not take the place of the other users.
func TestCallsAreBounded(t *testing.T) {
	s := natstest.Run(t)
	backend(t, s)
	q := open(t, s, func(o *Options) { o.Calls, o.NamespaceCalls = 9, 8 })
	var wg sync.WaitGroup
	call := func(destination, user string) {
		wg.Add(1)
		q.Call(Call{Destination: destination, From: user, Timeout: within}, func(_ []byte, err error) {
			if !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
			wg.Done()
		})
	}
	for _, user := range []string{"alice", "bob", "carol", "dave"} {
		if _, err := q.ask(t, Call{Destination: "billing.echo", From: user}); err != nil {
			t.Errorf("%s has none under way: %v", user, err)
		}
		call("billing.silent", user)
		call("billing.silent", user)
		if _, err := q.ask(t, Call{Destination: "other.echo", From: user}); !errors.Is(err, ErrBusy) {
			t.Errorf("one more of %s: %v", user, err)
		}
	}
	if _, err := q.ask(t, Call{Destination: "billing.echo"}); !errors.Is(err, ErrBusy) {
		t.Errorf("one more to the namespace: %v", err)
	}
	call("other.silent", "erin")
	if _, err := q.ask(t, Call{Destination: "third.echo"}); !errors.Is(err, ErrBusy) {
		t.Errorf("one more in all: %v", err)
	}
	if err := q.Close(); err != nil { // which answers them
		t.Fatal(err)
	}
	wg.Wait()
	if len(q.calls.namespaces) != 0 || len(q.calls.users) != 0 {
		t.Error(q.calls.namespaces, q.calls.users)
	}
}

// TestCallEndsWithItsConnection: what was asked on a connection that breaks is not waited for.
func TestCallEndsWithItsConnection(t *testing.T) {
	s := natstest.Run(t)
	asked := make(chan struct{})
	nc := s.Conn()
	if _, err := nc.Subscribe(CallPrefix+"a.b", func(*nats.Msg) { close(asked) }); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	q := open(t, s, nil)
	ended := make(chan error, 1)
	q.Call(Call{Destination: "a.b", Timeout: within}, func(_ []byte, err error) { ended <- err })
	<-asked
	s.Shutdown()
	if err := <-ended; !errors.Is(err, ErrTimeout) || !strings.Contains(err.Error(), "broke") {
		t.Error(err)
	}
}
