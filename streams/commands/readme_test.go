package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/natstest"
)

// TestReadmeShowsTheExample: the Go backend of README.md is the one that is compiled and tried here.
func TestReadmeShowsTheExample(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile("example_test.go")
	if err != nil {
		t.Fatal(err)
	}
	_, functions, _ := strings.Cut(string(code), "\n)\n\n")
	if functions == "" || !strings.Contains(string(readme), functions) {
		t.Error("README.md does not show what example_test.go has")
	}
}

func TestExample(t *testing.T) {
	s := natstest.Run(t)
	q, err := commands.Open(t.Context(), commands.Options{Connect: s.Connect})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	nc := s.Conn()
	go func() { ended <- serve(ctx, nc) }()

	type result struct {
		answer string
		err    error
	}
	ask := func(body string) (string, error) {
		got := make(chan result, 1)
		q.Call(commands.Call{Destination: "billing.quote", From: "alice", Body: []byte(body)}, func(answer []byte, err error) { got <- result{string(answer), err} })
		r := <-got
		return r.answer, r.err
	}
	wait := func(what string, is func() bool) {
		t.Helper()
		for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("waited in vain for " + what)
			}
		}
	}
	var answer string
	wait("the service", func() bool {
		answer, err = ask(`{"order":4711}`)
		return !errors.Is(err, commands.ErrNoService)
	})
	var quote struct {
		Price int
		For   string
	}
	if json.Unmarshal([]byte(answer), &quote) != nil || quote.For != "alice" || quote.Price != 12 {
		t.Errorf("%s, %v", answer, err)
	}
	var refused *commands.Refused
	if _, err := ask(`{}`); !errors.As(err, &refused) || refused.Error() != "404: no such order" {
		t.Error(err)
	}

	for _, body := range []string{`{"order":4711}`, `{}`} {
		stored := make(chan error, 1)
		q.Put(commands.Command{Destination: "billing.refund", From: "alice", Body: []byte(body)}, func(_ commands.Receipt, err error) { stored <- err })
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
	}
	js, err := jetstream.New(s.Conn())
	if err != nil {
		t.Fatal(err)
	}
	count := func(name string) uint64 {
		st, err := js.Stream(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		return st.CachedInfo().State.Msgs
	}
	wait("the commands to be handled", func() bool { return count("jetwire_commands") == 0 })
	if n := count("jetwire_dead"); n != 1 {
		t.Errorf("%d dead letters", n)
	}
	st, err := js.Stream(t.Context(), "jetwire_dead")
	if err != nil {
		t.Fatal(err)
	}
	if m, err := st.GetLastMsgForSubject(t.Context(), "jetwire.dead.command.billing.refund"); err != nil || string(m.Data) != "{}" || m.Header.Get("Jw-Dead-Reason") != "no such order" {
		t.Errorf("%+v, %v", m, err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
