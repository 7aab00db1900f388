package streams

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) {
	// A run of the property tests takes a third of a second, so there are few unless more are asked for.
	if f := flag.Lookup("rapid.checks"); f != nil {
		_ = f.Value.Set("12")
	}
	// A server that is stopped while it takes an atomic batch forgets to stop the store where it gathers the batch.
	const server = "github.com/nats-io/nats-server/v2/server"
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction(server+"/ats.Register.func1"),
		goleak.IgnoreTopFunction(server+".(*fileStore).flushStreamStateLoop"), goleak.IgnoreTopFunction(server+".(*msgBlock).flushLoop"))
}

// patience bounds every wait of these tests.
const patience = 20 * time.Second

// rig is a Log on a server of its own, with everything it delivers kept.
type rig struct {
	t   testing.TB
	srv *natstest.Server
	log *Log

	mu     sync.Mutex
	got    []*Message // stored
	live   []*Message // QoS 0
	resets []string
}

func quiet() *slog.Logger {
	if os.Getenv("JETWIRE_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func newRig(t testing.TB, change func(*Options)) *rig {
	t.Helper()
	return rigOn(t, natstest.Run(t), change)
}

func rigOn(t testing.TB, srv *natstest.Server, change func(*Options)) *rig {
	t.Helper()
	r := &rig{t: t, srv: srv}
	r.open(change)
	return r
}

func (r *rig) options(change func(*Options)) Options {
	o := Options{Connect: r.srv.Connect, Default: &Policy{}, Deliver: r.deliver, Reset: r.reset, Logger: quiet()}
	if change != nil {
		change(&o)
	}
	return o
}

func (r *rig) open(change func(*Options)) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	l, err := Open(ctx, r.options(change))
	if err != nil {
		r.t.Fatal(err)
	}
	r.log = l
	r.t.Cleanup(func() { _ = l.Close() })
}

func (r *rig) deliver(batch []*Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range batch {
		if m.Seq == 0 {
			r.live = append(r.live, m)
		} else {
			r.got = append(r.got, m)
		}
	}
}

func (r *rig) reset(ns string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resets = append(r.resets, ns)
}

func (r *rig) delivered() []*Message {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]*Message(nil), r.got...)
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

// publish publishes and waits for the answer.
func (r *rig) publish(p Publication) (Ack, error) {
	type answer struct {
		a   Ack
		err error
	}
	c := make(chan answer, 1)
	r.log.Publish(p, func(a Ack, err error) { c <- answer{a, err} })
	select {
	case x := <-c:
		return x.a, x.err
	case <-time.After(patience):
		r.t.Fatal("a publication was never answered")
		return Ack{}, nil
	}
}

func (r *rig) store(channel, body string) Ack {
	r.t.Helper()
	a, err := r.publish(Publication{Channel: channel, QoS: 1, Body: []byte(body), From: "alice"})
	if err != nil {
		r.t.Fatalf("publish to %s: %v", channel, err)
	}
	return a
}

func (r *rig) stream(channel string) *Stream {
	r.t.Helper()
	c := make(chan *Stream, 1)
	r.log.With(channel, func(s *Stream, err error) {
		if err != nil {
			r.t.Errorf("With(%s): %v", channel, err)
		}
		c <- s
	})
	select {
	case s := <-c:
		if s == nil {
			r.t.FailNow()
		}
		return s
	case <-time.After(patience):
		r.t.Fatal("With never called back")
		return nil
	}
}

func (r *rig) page(s *Stream, q PageRequest) Page {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	p, err := s.Page(ctx, q)
	if err != nil {
		r.t.Fatalf("Page(%+v): %v", q, err)
	}
	return p
}

func (r *rig) atHead(s *Stream, seq uint64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprintf("head %d", seq), func() bool { return s.Head() >= seq })
}

func (r *rig) js() jetstream.JetStream {
	r.t.Helper()
	js, err := jetstream.New(r.srv.Conn())
	if err != nil {
		r.t.Fatal(err)
	}
	return js
}

func seqs(ms []*Message) []uint64 {
	out := make([]uint64, len(ms))
	for i, m := range ms {
		out[i] = m.Seq
	}
	return out
}

func TestPublishAndTail(t *testing.T) {
	r := newRig(t, nil)
	first := r.store("chat.lobby", "one")
	other := r.store("chat.den", "x")
	second, err := r.publish(Publication{Channel: "chat.lobby", QoS: 2, ID: "m 2%", From: "bob\r\nX: y", Body: []byte("two")})
	if err != nil {
		t.Fatal(err)
	}
	if first.Seq != 1 || other.Seq != 2 || second.Seq != 3 || first.Durability != DurabilityFile || first.Duplicate {
		t.Fatalf("acks %+v %+v %+v", first, other, second)
	}
	s := r.stream("chat.lobby")
	if first.Epoch == "" || first.Epoch != s.Epoch() {
		t.Fatalf("epoch %q of the ack, %q of the stream", first.Epoch, s.Epoch())
	}
	r.atHead(s, 3)
	eventually(t, "3 deliveries", func() bool { return len(r.delivered()) == 3 })
	m := r.delivered()[2]
	if m.Channel != "chat.lobby" || m.Seq != 3 || m.Prev != 1 || m.ID != "m 2%" || m.From != "bob\r\nX: y" || string(m.Body) != "two" {
		t.Fatalf("delivered %+v", m)
	}
	if age := time.Since(time.Unix(0, m.Time)); age < 0 || age > patience {
		t.Fatalf("stored %s ago", age)
	}
	p := r.page(s, PageRequest{Channel: "chat.lobby"})
	if len(p.Messages) != 2 || p.Through != 3 || p.More || p.LostTo != 0 || p.Messages[1].Prev != 1 {
		t.Fatalf("page %+v", p)
	}
}

func TestDedup(t *testing.T) {
	r := newRig(t, nil)
	pub := Publication{Channel: "chat.lobby", QoS: 2, ID: "m1", From: "alice", Body: []byte("x")}
	a, err := r.publish(pub)
	if err != nil || a.Seq != 1 || a.Duplicate {
		t.Fatal(a, err)
	}
	for range 3 {
		if a, err = r.publish(pub); err != nil || a.Seq != 1 || !a.Duplicate {
			t.Fatal(a, err)
		}
	}
	for _, other := range []Publication{
		{Channel: "chat.lobby", QoS: 2, ID: "m1", From: "bob"},
		{Channel: "chat.den", QoS: 2, ID: "m1", From: "alice"},
		{Channel: "chat.lobby", QoS: 2, ID: "m2", From: "alice"},
		{Channel: "chat.lobby", QoS: 1, ID: "m1", From: "alice"}, // QoS 1 does not ask for it
	} {
		if a, err = r.publish(other); err != nil || a.Duplicate {
			t.Fatalf("%+v: %+v, %v", other, a, err)
		}
	}
	if a.Seq != 5 {
		t.Fatalf("last stored at %d", a.Seq)
	}
}

func TestRefused(t *testing.T) {
	r := newRig(t, func(o *Options) { o.MaxMessageSize = 100 })
	for _, c := range []struct {
		p    Publication
		want error
	}{
		{Publication{Channel: "chat"}, ErrBadChannel},
		{Publication{Channel: ""}, ErrBadChannel},
		{Publication{Channel: "chat..x"}, ErrBadChannel},
		{Publication{Channel: "_INBOX.x"}, ErrBadChannel}, // a stream there would take every answer in the account
		{Publication{Channel: "chat.x."}, ErrBadChannel},
		{Publication{Channel: ".x"}, ErrBadChannel},
		{Publication{Channel: "chat.*"}, ErrBadChannel},
		{Publication{Channel: "chat.>"}, ErrBadChannel},
		{Publication{Channel: "chat.a b"}, ErrBadChannel},
		{Publication{Channel: "chat.$x"}, ErrBadChannel},
		{Publication{Channel: "chat.é"}, ErrBadChannel},
		{Publication{Channel: "jetwire.x"}, ErrBadChannel},
		{Publication{Channel: "$JS.x"}, ErrBadChannel},
		{Publication{Channel: "ch/at.x"}, ErrBadChannel},
		{Publication{Channel: "chat." + string(make([]byte, 300))}, ErrBadChannel},
		{Publication{Channel: "chat.x", QoS: 2}, ErrBadPublication},
		{Publication{Channel: "chat.x", QoS: 3}, ErrBadPublication},
		{Publication{Channel: "chat.x", QoS: 1, ID: string(make([]byte, 300))}, ErrBadPublication},
		{Publication{Channel: "chat.x", QoS: 1, Body: make([]byte, 101)}, ErrTooLarge},
		{Publication{Channel: "chat.x", QoS: 0, Body: make([]byte, 101)}, ErrTooLarge},
	} {
		if _, err := r.publish(c.p); !errors.Is(err, c.want) {
			t.Errorf("%+v: %v", c.p, err)
		}
	}
	if a := r.store("chat.x", string(make([]byte, 100))); a.Seq != 1 {
		t.Errorf("a refused message was stored: %+v", a)
	}
}

func TestQoS0(t *testing.T) {
	srv := natstest.Run(t)
	a, b := rigOn(t, srv, nil), rigOn(t, srv, nil)
	b.stream("chat.lobby")
	ack, err := a.publish(Publication{Channel: "chat.lobby", From: "alice", ID: "t1", Body: []byte("typing")})
	if err != nil || ack.Seq != 0 || ack.Durability != DurabilityNone {
		t.Fatal(ack, err)
	}
	count := func(r *rig) int {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.live)
	}
	if count(a) != 1 {
		t.Fatal("the publishing goroutine did not deliver")
	}
	eventually(t, "delivery elsewhere", func() bool { return count(b) == 1 })
	if m := b.live[0]; m.Channel != "chat.lobby" || m.Seq != 0 || m.From != "alice" || m.ID != "t1" || string(m.Body) != "typing" {
		t.Fatalf("%+v", m)
	}
	// A backend publishes too; by then an echo of the first would have come back.
	nc := srv.Conn()
	for _, subject := range []string{"jetwire.live.chat.lobby", "jetwire.live.chat.$bad", "jetwire.live.chat.lobby"} {
		if err := nc.Publish(subject, []byte("hi")); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the backend's", func() bool { return count(a) == 3 && count(b) == 3 })
	if s := a.stream("chat.lobby"); s.Head() != 0 {
		t.Fatal("it was stored")
	}
}

// A server that no other program can reach need not be told of what is not stored.
func TestQoS0Alone(t *testing.T) {
	srv := natstest.Run(t)
	for alone, want := range map[bool]int{false: 1, true: 0} {
		r := rigOn(t, srv, func(o *Options) { o.Alone = alone })
		nc := srv.Conn()
		heard, err := nc.SubscribeSync(livePrefix + ">")
		if err != nil {
			t.Fatal(err)
		}
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := r.publish(Publication{Channel: "chat.lobby", Body: []byte("typing")}); err != nil {
			t.Fatal(err)
		}
		r.store("chat.lobby", "") // on the same connection: what was sent before has arrived
		if err := nc.Flush(); err != nil {
			t.Fatal(err)
		}
		r.mu.Lock()
		live := len(r.live)
		r.mu.Unlock()
		if n, _, err := heard.Pending(); n != want || live != 1 || err != nil {
			t.Errorf("alone %t: %d were sent, %d delivered, %v", alone, n, live, err)
		}
	}
}

func TestNamespaces(t *testing.T) {
	srv := natstest.Run(t)
	r := rigOn(t, srv, func(o *Options) {
		o.Policies = []Policy{{Namespace: "listed", Storage: Memory, DedupWindow: time.Minute}}
		o.MaxUnlisted = 2
	})
	if w := r.log.RetryWindow(); w != time.Minute {
		t.Errorf("retry window %s", w)
	}
	if a := r.store("listed.a", ""); a.Durability != DurabilityMemory {
		t.Errorf("%+v", a)
	}
	r.store("one.a", "")
	r.store("two.a", "")
	if _, err := r.publish(Publication{Channel: "three.a", QoS: 1}); !errors.Is(err, ErrTooManyNamespaces) {
		t.Fatal(err)
	}
	closed := rigOn(t, srv, func(o *Options) { o.Default = nil })
	if _, err := closed.publish(Publication{Channel: "one.a", QoS: 1}); !errors.Is(err, ErrUnknownNamespace) {
		t.Fatal(err)
	}
	// The two exist for another gateway too, and it may use them.
	other := rigOn(t, srv, func(o *Options) { o.MaxUnlisted = 3 })
	if a := other.store("two.a", ""); a.Seq != 2 {
		t.Errorf("%+v", a)
	}
}

// Clients name channels, and so namespaces: each name that there was no place for had NATS list its streams, and was remembered.
func TestInventedNamespacesCostNothing(t *testing.T) {
	srv := natstest.Run(t)
	r := rigOn(t, srv, func(o *Options) { o.MaxUnlisted = 2 })
	r.store("one.a", "")
	r.store("two.a", "")
	const invented = 500
	for i := range invented {
		if _, err := r.publish(Publication{Channel: fmt.Sprintf("n%d.a", i), QoS: 1}); !errors.Is(err, ErrTooManyNamespaces) {
			t.Fatal(err)
		}
	}
	if n := len(*r.log.spaces.Load()); n > invented/2 { // one a second
		t.Errorf("%d namespaces are remembered", n)
	}
	// Who comes to a crowd may have what is there.
	other := rigOn(t, srv, func(o *Options) { o.MaxUnlisted = 2 })
	if _, err := other.publish(Publication{Channel: "three.a", QoS: 1}); !errors.Is(err, ErrTooManyNamespaces) {
		t.Error(err)
	}
	if a := other.store("one.a", ""); a.Seq != 2 {
		t.Errorf("%+v", a)
	}
}

func TestWithKeepsOrder(t *testing.T) {
	r := newRig(t, nil)
	const n = 500
	var mu sync.Mutex
	var order []int
	for i := range n {
		r.log.With("chat.lobby", func(s *Stream, err error) {
			if err != nil {
				t.Error(err)
			}
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
		})
		if i%50 == 0 {
			time.Sleep(time.Duration(i) * time.Microsecond) // spread over the opening
		}
	}
	eventually(t, "all calls", func() bool { mu.Lock(); defer mu.Unlock(); return len(order) == n })
	for i, v := range order {
		if i != v {
			t.Fatalf("call %d came at place %d", v, i)
		}
	}
}

func TestStoreFull(t *testing.T) {
	srv := natstest.RunWith(t, func(o *server.Options) { o.JetStreamMaxStore = 256 << 10 })
	r := rigOn(t, srv, nil)
	body := make([]byte, 16<<10)
	var err error
	stored := 0
	for ; err == nil && stored < 100; stored++ {
		_, err = r.publish(Publication{Channel: "chat.lobby", QoS: 1, Body: body})
	}
	if !errors.Is(err, ErrStoreFull) {
		t.Fatalf("after %d messages: %v", stored, err)
	}
	s := r.stream("chat.lobby")
	r.atHead(s, uint64(stored-1))
	if p := r.page(s, PageRequest{Channel: "chat.lobby", Limit: 1000}); len(p.Messages) != stored-1 {
		t.Fatalf("%d acknowledged, %d stored", stored-1, len(p.Messages))
	}
}
