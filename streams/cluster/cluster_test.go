package cluster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/natstest"
)

var discard = slog.New(slog.DiscardHandler)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, s *natstest.Server, name string) *Cluster {
	t.Helper()
	c, err := Open(t.Context(), Options{Connect: s.Connect, Info: func() Info { return Info{Name: name, Version: "v1", Connections: len(name)} }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	c.Handle("echo", func(body []byte) []byte { return fmt.Appendf(nil, "%s says %s", name, body) })
	return c
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func together(t *testing.T, cs ...*Cluster) {
	t.Helper()
	for _, c := range cs {
		eventually(t, "all know each other", func() bool { return len(c.Nodes()) == len(cs) })
	}
}

func ask(t *testing.T, c *Cluster, op, body string) ([]string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	answers, err := c.Ask(ctx, op, []byte(body))
	var texts []string
	for _, a := range answers {
		texts = append(texts, string(a.Body))
	}
	slices.Sort(texts)
	return texts, err
}

func TestNodes(t *testing.T) {
	s := natstest.Run(t)
	a, b := open(t, s, "a"), open(t, s, "bb")
	together(t, a, b)
	for _, n := range a.Nodes() {
		if n.Version != "v1" || n.Connections != len(n.Name) || n.Started.IsZero() || (n.ID == a.ID()) != (n.Name == "a") || !b.Alive(n.ID) {
			t.Errorf("%+v", n)
		}
	}
	if a.ID() == b.ID() || a.Alive("somebody") {
		t.Error("ids mean nothing")
	}
}

func TestAsk(t *testing.T) {
	s := natstest.Run(t)
	alone := open(t, s, "a")
	if got, err := ask(t, alone, "echo", "x"); err != nil || !slices.Equal(got, []string{"a says x"}) {
		t.Errorf("alone: %q, %v", got, err)
	}
	b, c := open(t, s, "b"), open(t, s, "c")
	together(t, alone, b, c)
	if got, err := ask(t, b, "echo", "y"); err != nil || !slices.Equal(got, []string{"a says y", "b says y", "c says y"}) {
		t.Errorf("%q, %v", got, err)
	}

	b.Handle("new", func([]byte) []byte { return []byte("known") })
	got, err := ask(t, b, "new", "")
	if !slices.Equal(got, []string{"known"}) || !errors.Is(err, ErrNoAnswer) || strings.Count(err.Error(), "another version") != 2 {
		t.Errorf("%q, %v", got, err)
	}
	c.Handle("huge", func([]byte) []byte { return make([]byte, 2<<20) })
	if _, err = ask(t, b, "huge", ""); err == nil || !strings.Contains(err.Error(), "larger") {
		t.Error(err)
	}

	hangs := make(chan struct{})
	c.Handle("hang", func([]byte) []byte { <-hangs; return nil })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := alone.Ask(ctx, "hang", nil); !errors.Is(err, ErrNoAnswer) || !strings.Contains(err.Error(), c.ID()) {
		t.Error(err)
	}
	close(hangs)
}

func TestTell(t *testing.T) {
	s := natstest.Run(t)
	a, b := open(t, s, "a"), open(t, s, "b")
	together(t, a, b)
	var atA, atB atomic.Int64
	order := true
	a.Handle("n", func(body []byte) []byte { atA.Add(1); return nil })
	b.Handle("n", func(body []byte) []byte {
		order = order && string(body) == fmt.Sprint(atB.Load())
		atB.Add(1)
		return nil
	})
	for i := range 100 {
		a.Tell("n", fmt.Append(nil, i))
	}
	if atA.Load() != 100 {
		t.Errorf("%d here", atA.Load())
	}
	eventually(t, "all have come", func() bool { return atB.Load() == 100 })
	if !order {
		t.Error("out of order")
	}
}

func TestLeft(t *testing.T) {
	s := natstest.Run(t)
	a, b, c := open(t, s, "a"), open(t, s, "b"), open(t, s, "c")
	together(t, a, b, c)
	left := make(chan string, 10)
	a.OnLeft(func(n Node) { left <- n.Name })
	_ = b.Close()
	if who := <-left; who != "b" {
		t.Errorf("%s has left", who)
	}
	eventually(t, "b is not asked any more", func() bool { return len(a.Nodes()) == 2 })

	// c dies: it says nothing more.
	c.closing.Do(func() {
		close(c.stop)
		c.work.Wait()
		c.conn.Close()
	})
	a.sweep(time.Now())
	select {
	case who := <-left:
		t.Errorf("%s has left already", who)
	default:
	}
	a.sweep(time.Now().Add(Lapse + time.Second))
	if who := <-left; who != "c" || a.Alive(c.ID()) {
		t.Errorf("%s has left", who)
	}
}

// Who leaves while it is asked is not waited for.
func TestLeaveWhileAsked(t *testing.T) {
	s := natstest.Run(t)
	a, b := open(t, s, "a"), open(t, s, "b")
	together(t, a, b)
	asked := make(chan struct{})
	b.Handle("hang", func([]byte) []byte { close(asked); <-b.stop; return nil })
	go func() {
		<-asked
		_ = b.Close()
	}()
	if _, err := ask(t, a, "hang", ""); err != nil {
		t.Error(err)
	}
}

// While NATS is away nobody has left.
func TestNATSAway(t *testing.T) {
	s := natstest.Run(t)
	a, b := open(t, s, "a"), open(t, s, "b")
	together(t, a, b)
	var left atomic.Int64
	a.OnLeft(func(Node) { left.Add(1) })
	s.Shutdown()
	eventually(t, "a knows", func() bool { return !a.conn.Up() })
	a.sweep(time.Now().Add(time.Hour))
	if got, err := ask(t, a, "echo", "x"); !errors.Is(err, ErrUnavailable) || !slices.Equal(got, []string{"a says x"}) {
		t.Errorf("%q, %v", got, err)
	}
	s.Restart()
	eventually(t, "both are back", func() bool { return a.conn.Up() && b.conn.Up() })
	if got, err := ask(t, a, "echo", "x"); err != nil || len(got) != 2 || left.Load() != 0 {
		t.Errorf("%q, %v; %d left", got, err, left.Load())
	}
}

func TestNoNATS(t *testing.T) {
	fails := func(string, ...nats.Option) (*nats.Conn, error) { return nil, nats.ErrNoServers }
	if _, err := Open(t.Context(), Options{Connect: fails}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
}

// FuzzBeat: whatever comes as a beat breaks nothing, and only what names a gateway makes one.
func FuzzBeat(f *testing.F) {
	f.Add([]byte(`{"id":"a","name":"n","version":"v","address":"h:1","connections":3,"started":"2026-01-01T00:00:00Z"}`))
	f.Add([]byte(`{"id":7}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c := &Cluster{opts: Options{Logger: discard}, self: Node{ID: "self"}, others: map[string]*member{}}
		c.onBeat(&nats.Msg{Data: body})
		for id := range c.others {
			if id == "" || id == "self" {
				t.Errorf("made %q of %q", id, body)
			}
		}
	})
}
