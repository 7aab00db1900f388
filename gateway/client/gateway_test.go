package client_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/client"
)

func TestThroughAGateway(t *testing.T) {
	s := newSite(t)
	alice, bob := s.dial(s.options("alice")), s.dial(s.options("bob"))
	in := newInbox()
	sub, err := bob.Subscribe(t.Context(), "chat.lobby", in.options())
	if err != nil {
		t.Fatal(err)
	}
	bodies := []string{`{"hi":1}`, "plain text", "\xff\x00", `"a string"`, ""}
	for _, b := range bodies {
		if _, err := alice.Publish(t.Context(), "chat.lobby", []byte(b), client.PublishOptions{}); err != nil {
			t.Fatalf("%q: %v", b, err)
		}
	}
	var last client.Message
	for _, b := range bodies {
		last = next(t, in.messages)
		if string(last.Body) != b || last.From != "alice" || last.Seq == 0 {
			t.Errorf("got %+v with %q, want %q", last, last.Body, b)
		}
	}
	if err := sub.Ack(t.Context(), last.Seq); err != nil {
		t.Error(err)
	}
	first, err := alice.Publish(t.Context(), "chat.lobby", []byte("1"), client.PublishOptions{ID: "once"})
	if err != nil || first.Duplicate {
		t.Fatal(first, err)
	}
	again, err := alice.Publish(t.Context(), "chat.lobby", []byte("1"), client.PublishOptions{ID: "once"})
	if err != nil || !again.Duplicate || again.Seq != first.Seq {
		t.Fatal(again, err)
	}
	next(t, in.messages) // so the gateway has it, too
	var read []string
	for m, err := range bob.HistoryAll(t.Context(), client.HistoryRequest{Channel: "chat.lobby", Limit: 2}) {
		if err != nil {
			t.Fatal(err)
		}
		read = append(read, string(m.Body))
	}
	if want := append(bodies, "1"); fmt.Sprintf("%q", read) != fmt.Sprintf("%q", want) {
		t.Errorf("history %q, want %q", read, want)
	}
	if err := bob.Ping(t.Context()); err != nil {
		t.Error(err)
	}
	if err := sub.Unsubscribe(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := alice.Publish(t.Context(), "chat.lobby", []byte("2"), client.PublishOptions{}); err != nil {
		t.Error(err)
	}
	if err := bob.Ping(t.Context()); err != nil { // everything sent before has come
		t.Error(err)
	}
	if n := len(in.messages); n != 0 {
		t.Errorf("%d messages after Unsubscribe", n)
	}
}

// Whatever is cut and whenever: every publish with an id is stored once, in the order of its publisher unless it had to be sent again, and
// every subscriber gets what the log holds, once and in order.
func TestConnectionsAreCut(t *testing.T) {
	s := newSite(t)
	const publishers, each = 4, 250
	reader := s.dial(s.options("reader"))
	in := newInbox()
	o := in.options()
	o.Since = new(uint64)
	sub, err := reader.Subscribe(t.Context(), "chat.lobby", o)
	if err != nil {
		t.Fatal(err)
	}
	var answered atomic.Int64
	seqs := make(map[uint64]string)
	var mu sync.Mutex
	var wg sync.WaitGroup
	for p := range publishers {
		c := s.dial(s.options(fmt.Sprint("user", p)))
		wg.Go(func() {
			window := make(chan struct{}, 16)
			for i := range each {
				window <- struct{}{}
				id := fmt.Sprintf("p%d-%d", p, i)
				wg.Go(func() {
					defer func() { <-window }()
					r, err := c.Publish(t.Context(), "chat.lobby", []byte(`"`+id+`"`), client.PublishOptions{ID: id})
					if err != nil {
						t.Errorf("%s: %v", id, err)
						return
					}
					mu.Lock()
					if other, taken := seqs[r.Seq]; taken {
						t.Errorf("%s and %s have the sequence %d", id, other, r.Seq)
					}
					seqs[r.Seq] = id
					mu.Unlock()
					if answered.Add(1)%100 == 0 {
						s.cut()
					}
				})
			}
		})
	}
	wg.Wait()
	lastSeq := uint64(0)
	got := make(map[string]bool)
	for range publishers * each {
		m := next(t, in.messages)
		if m.Seq <= lastSeq || m.Prev != lastSeq || seqs[m.Seq] != m.ID || got[m.ID] {
			t.Fatalf("after %d came %+v; its publisher was told %q", lastSeq, m, seqs[m.Seq])
		}
		lastSeq, got[m.ID] = m.Seq, true
	}
	if err := reader.Ping(t.Context()); err != nil && !errors.Is(err, client.ErrNotConnected) {
		t.Error(err)
	}
	if len(in.messages)+len(in.gaps)+len(in.errs) != 0 || sub.Err() != nil {
		t.Errorf("%d more messages, %d gaps, %v", len(in.messages), len(in.gaps), sub.Err())
	}
	if n := reader.Stats(); n.Connects < 5 || n.Gaps != 0 {
		t.Errorf("%+v", n)
	}
}

// A handler that asks the server between its messages, behind a queue that is always full: the subscription is given back and asked for again and
// again, and misses nothing.
func TestBusyHandler(t *testing.T) {
	s := newSite(t)
	o := s.options("alice")
	o.QueueMessages = 256
	c := s.dial(o)
	const n = 3000
	var stored sync.WaitGroup
	for i := range n {
		stored.Add(1)
		done := func(_ client.PublishReply, err error) {
			if err != nil {
				t.Error(err)
			}
			stored.Done()
		}
		for {
			err := c.PublishAsync("chat.lobby", fmt.Append(nil, i), client.PublishOptions{}, done)
			if err == nil {
				break
			}
			if !errors.Is(err, client.ErrTooManyPending) {
				t.Fatal(err)
			}
			if err := c.Ping(t.Context()); err != nil { // until there is room
				t.Fatal(err)
			}
		}
	}
	stored.Wait()
	in := newInbox()
	so := in.options()
	so.Since = new(uint64)
	so.OnMessage = func(m client.Message) {
		if err := c.Ping(t.Context()); err != nil {
			t.Error(err)
		}
		in.messages <- m
	}
	if _, err := c.Subscribe(t.Context(), "chat.lobby", so); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		if m := next(t, in.messages); string(m.Body) != fmt.Sprint(i) {
			t.Fatalf("%d: got %s", i, m.Body)
		}
	}
	if st := c.Stats(); len(in.gaps) != 0 || st.Sheds == 0 || st.Gaps != 0 {
		t.Errorf("%d gaps, %+v", len(in.gaps), st)
	}
	t.Logf("%+v", c.Stats())
}

// NATS goes away and comes back: sockets stay, publishes with an id are tried until they are stored.
func TestNATSRestarts(t *testing.T) {
	s := newSite(t)
	c := s.dial(s.options("alice"))
	in := newInbox()
	if _, err := c.Subscribe(t.Context(), "chat.lobby", in.options()); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(t.Context(), "chat.lobby", []byte("1"), client.PublishOptions{ID: "m1"}); err != nil {
		t.Fatal(err)
	}
	s.nats.Shutdown()
	if _, err := c.Publish(t.Context(), "chat.lobby", []byte("2"), client.PublishOptions{}); err == nil {
		t.Error("a publish without NATS is answered")
	}
	done := make(chan error, 1)
	go func() {
		r, err := c.Publish(t.Context(), "chat.lobby", []byte("3"), client.PublishOptions{ID: "m3"})
		if err == nil && r.Seq != 2 {
			err = fmt.Errorf("stored as %d", r.Seq)
		}
		done <- err
	}()
	for c.Stats().Retries == 0 {
		time.Sleep(time.Millisecond)
	}
	s.nats.Restart()
	if err := next(t, done); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"1", "3"} {
		if m := next(t, in.messages); string(m.Body) != want {
			t.Errorf("got %q, want %q", m.Body, want)
		}
	}
	if n := c.Stats().Connects; n != 1 {
		t.Errorf("%d connections", n)
	}
}

// A gateway that drains sends its clients to another one, and none of them misses anything.
func TestGatewayDrains(t *testing.T) {
	s := newSite(t)
	first := s.gateway(nil)
	const n = 20
	var clients [n]*client.Client
	var in [n]*inbox
	for i := range n {
		clients[i], in[i] = s.dial(s.options("alice")), newInbox()
		if _, err := clients[i].Subscribe(t.Context(), "chat.lobby", in[i].options()); err != nil {
			t.Fatal(err)
		}
	}
	s.gateway(nil)
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- first.Drain(ctx) }()
	const each = 5
	for i := range n * each {
		if _, err := clients[i%n].Publish(ctx, "chat.lobby", []byte("1"), client.PublishOptions{QoS: client.ExactlyOnce}); err != nil {
			t.Fatal(err)
		}
	}
	if err := next(t, drained); err != nil {
		t.Fatal(err)
	}
	for i := range n {
		last := uint64(0)
		for range n * each {
			m := next(t, in[i].messages)
			if m.Seq <= last {
				t.Fatalf("client %d got %d after %d", i, m.Seq, last)
			}
			last = m.Seq
		}
		if st := clients[i].Stats(); st.Connects != 2 || len(in[i].gaps) != 0 {
			t.Errorf("client %d: %+v, %d gaps", i, st, len(in[i].gaps))
		}
	}
}

// A stream that was made anew is a gap, and what it holds is handed on.
func TestStreamMadeAnew(t *testing.T) {
	s := newSite(t)
	c := s.dial(s.options("alice"))
	in := newInbox()
	sub, err := c.Subscribe(t.Context(), "chat.lobby", in.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Publish(t.Context(), "chat.lobby", []byte("1"), client.PublishOptions{}); err != nil {
		t.Fatal(err)
	}
	next(t, in.messages)
	old := sub.Position()
	nc, err := nats.Connect(s.nats.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream("JW_chat"); err != nil {
		t.Fatal(err)
	}
	if g := next(t, in.gaps); g.Reason != "epoch" || g.Epoch == old.Epoch {
		t.Errorf("gap %+v behind %+v", g, old)
	}
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	if _, err := c.Publish(ctx, "chat.lobby", []byte("2"), client.PublishOptions{ID: "m2"}); err != nil {
		t.Fatal(err)
	}
	if m := next(t, in.messages); string(m.Body) != "2" || sub.Position().Epoch == old.Epoch {
		t.Errorf("%+v at %+v", m, sub.Position())
	}
	// A position of the old stream is recognised.
	late := newInbox()
	o := late.options()
	o.Since, o.Epoch = &old.Seq, old.Epoch
	other := s.dial(s.options("bob"))
	if _, err := other.Subscribe(t.Context(), "chat.lobby", o); err != nil {
		t.Fatal(err)
	}
	if g := next(t, late.gaps); g.Reason != "epoch" {
		t.Errorf("%+v", g)
	}
	if m := next(t, late.messages); string(m.Body) != "2" {
		t.Errorf("%+v", m)
	}
}

// Tokens are replaced before they expire, on the same connection, and nobody notices.
func TestTokenExpires(t *testing.T) {
	s := newSite(t)
	o := s.options("alice")
	var asked atomic.Int32
	o.Token = func(context.Context) (string, error) {
		if asked.Add(1) == 1 {
			return token(t, "alice", 2*time.Second), nil
		}
		return token(t, "alice", time.Hour), nil
	}
	c := s.dial(o)
	for began := time.Now(); asked.Load() < 2 || time.Since(began) < 2500*time.Millisecond; {
		if _, err := c.Publish(t.Context(), "chat.lobby", []byte("1"), client.PublishOptions{QoS: client.ExactlyOnce}); err != nil {
			t.Fatal(err)
		}
	}
	if n := c.Stats().Connects; n != 1 {
		t.Errorf("%d connections", n)
	}
	if _, err := c.Publish(t.Context(), "user.bob", []byte("1"), client.PublishOptions{}); err == nil {
		t.Error("a publish to another user's inbox is accepted")
	}
	o.Token = func(context.Context) (string, error) { return "forged", nil }
	if _, err := client.Dial(t.Context(), o); err == nil {
		t.Error("a forged token is accepted")
	}
}

func TestWSS(t *testing.T) {
	web := httptest.NewUnstartedServer(nil)
	web.StartTLS() // for its certificate
	defer web.Close()
	s := newSite(t)
	s.gateway(func(o *gateway.Options) { o.TLS = &tls.Config{Certificates: web.TLS.Certificates} })
	o := s.options("alice")
	o.URL = "wss://example.com" + gateway.Path
	o.TLS = web.Client().Transport.(*http.Transport).TLSClientConfig
	c := s.dial(o)
	if _, err := c.Publish(t.Context(), "chat.lobby", []byte("1"), client.PublishOptions{}); err != nil {
		t.Error(err)
	}
}

// What one client can publish with many in flight, through a real gateway and its store.
func BenchmarkPublish(b *testing.B) {
	s := newSite(b)
	c := s.dial(s.options("alice"))
	body := []byte(`{"text":"one hundred and twenty-eight bytes or so, as a chat message of an ordinary person may well have, more or less"}`)
	b.ReportAllocs()
	var wg sync.WaitGroup
	for b.Loop() {
		wg.Add(1)
		for {
			err := c.PublishAsync("chat.lobby", body, client.PublishOptions{}, func(_ client.PublishReply, err error) {
				if err != nil {
					b.Error(err)
				}
				wg.Done()
			})
			if err == nil {
				break
			}
			if !errors.Is(err, client.ErrTooManyPending) {
				b.Fatal(err)
			}
			time.Sleep(50 * time.Microsecond)
		}
	}
	wg.Wait()
}
