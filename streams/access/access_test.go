package access

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	wait = 30 * time.Second
	use  = "connect"
)

// gate is a store's way to NATS, which a test can close.
type gate struct {
	mu     sync.Mutex
	closed bool
	conns  []net.Conn
}

func (g *gate) Dial(network, addr string) (net.Conn, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return nil, errors.New("the gate is closed")
	}
	c, err := net.Dial(network, addr)
	if err == nil {
		g.conns = append(g.conns, c)
	}
	return c, err
}

func (g *gate) set(open bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = !open
	if !open {
		for _, c := range g.conns {
			_ = c.Close()
		}
		g.conns = nil
	}
}

// start opens a store, and returns it with the gate that it passes.
func start(t testing.TB, ns *natstest.Server, change func(*Options)) (*Store, *gate) {
	t.Helper()
	g := &gate{}
	o := Options{Memory: true, Connect: func(name string, extra ...nats.Option) (*nats.Conn, error) {
		return ns.Connect(name, append(extra, nats.SetCustomDialer(g), nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))...)
	}}
	if change != nil {
		change(&o)
	}
	s, err := open(t.Context(), o, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s, g
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(wait); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still waiting for %s", what)
		}
	}
}

func redeem(t testing.TB, s *Store, use, ticket string) (string, error) {
	t.Helper()
	type result struct {
		value []byte
		err   error
	}
	c := make(chan result, 2)
	s.Redeem(use, ticket, func(value []byte, err error) { c <- result{value, err} })
	select {
	case r := <-c:
		return string(r.value), r.err
	case <-time.After(wait):
		t.Fatal("no answer")
		return "", nil
	}
}

func issue(t testing.TB, s *Store, value string) string {
	t.Helper()
	ticket, err := s.Issue(t.Context(), use, []byte(value), time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return ticket
}

// A ticket that many try on two gateways at once is redeemed by one of them.
func TestTicketsAreUsedOnce(t *testing.T) {
	ns := natstest.Run(t)
	a, _ := start(t, ns, nil)
	b, _ := start(t, ns, nil)
	for range 20 {
		ticket := issue(t, a, "alice")
		var won atomic.Int32
		var all sync.WaitGroup
		for i := range 8 {
			s := []*Store{a, b}[i%2]
			all.Add(1)
			s.Redeem(use, ticket, func(value []byte, err error) {
				defer all.Done()
				switch {
				case err == nil && string(value) == "alice":
					won.Add(1)
				case !errors.Is(err, ErrInvalid):
					t.Errorf("%q, %v", value, err)
				}
			})
		}
		all.Wait()
		if n := won.Load(); n != 1 {
			t.Fatalf("redeemed %d times", n)
		}
	}
}

// What nobody issued, what has ended and what is for something else costs no message to NATS.
func TestJunkCostsNoRoundTrip(t *testing.T) {
	s, _ := start(t, natstest.Run(t), nil)
	good := issue(t, s, "alice")
	var old [rawTicket]byte
	putEnd(old[:], time.Now())
	mac := s.mac(use, old[:macFrom])
	copy(old[macFrom:], mac[:])
	if err := s.Check(use, good); err != nil || !IsTicket(good) || len(good) != TicketLen {
		t.Fatalf("%q: %v", good, err)
	}
	before := s.nc.Stats().OutMsgs
	for _, c := range []struct{ use, ticket string }{
		{use, ""}, {use, TicketPrefix}, {use, good[:len(good)-1]}, {use, good + "A"}, {use, "jw2_" + good[4:]}, {use, strings.ToLower(good)},
		{use, good[:10] + flip(good[10]) + good[11:]}, {use, TicketPrefix + strings.Repeat("A", len(good)-4)},
		{use, TicketPrefix + ticketText.EncodeToString(old[:])}, {"other", good}, {"", good},
	} {
		if err := s.Check(c.use, c.ticket); !errors.Is(err, ErrInvalid) {
			t.Errorf("Check %q %q: %v", c.use, c.ticket, err)
		}
		if _, err := redeem(t, s, c.use, c.ticket); !errors.Is(err, ErrInvalid) {
			t.Errorf("%q %q: %v", c.use, c.ticket, err)
		}
	}
	if after := s.nc.Stats().OutMsgs; after != before {
		t.Errorf("%d messages went to NATS", after-before)
	}
	if v, err := redeem(t, s, use, good); v != "alice" || err != nil {
		t.Errorf("%q, %v", v, err)
	}
}

func flip(c byte) string {
	if c == 'A' {
		return "B"
	}
	return "A"
}

// What the bucket shows is not enough to use a ticket, and it is gone when that ends.
func TestBucketHoldsNoTicket(t *testing.T) {
	ns := natstest.Run(t)
	s, _ := start(t, ns, nil)
	ticket, err := s.Issue(t.Context(), use, []byte("alice"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := ticketText.DecodeString(ticket[len(TicketPrefix):])
	kv, keys := s.buckets.ticketKV(), []string{}
	lister, err := kv.ListKeys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for k := range lister.Keys() {
		e, err := kv.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
		id := raw[endBytes:macFrom]
		if strings.Contains(k, ticketText.EncodeToString(id)) || bytes.Contains(e.Value(), id) || bytes.Contains(e.Value(), []byte(ticket)) {
			t.Errorf("%s shows the ticket", k)
		}
	}
	if len(keys) != 2 {
		t.Errorf("the bucket holds %v", keys)
	}
	eventually(t, "the ticket to be forgotten", func() bool {
		info, err := s.buckets.js.Stream(t.Context(), "KV_"+ticketBucket)
		return err == nil && info.CachedInfo().State.Msgs == 1
	})
	if _, err := redeem(t, s, use, ticket); !errors.Is(err, ErrInvalid) {
		t.Error(err)
	}
}

func TestBounds(t *testing.T) {
	ns := natstest.Run(t)
	s, _ := start(t, ns, nil)
	for name, err := range map[string]error{
		"no time":       issueErr(s, 1, 0),
		"long time":     issueErr(s, 1, MaxTTL+1),
		"large":         issueErr(s, MaxValue+1, time.Minute),
		"nothing":       s.Revoke(t.Context(), Revocation{}),
		"both":          s.Revoke(t.Context(), Revocation{User: "a", TokenID: "b"}),
		"id and before": s.Revoke(t.Context(), Revocation{TokenID: "b", Before: time.Now()}),
		"long name":     s.Revoke(t.Context(), Revocation{User: strings.Repeat("x", maxName+1)}),
		"before 1970":   s.Revoke(t.Context(), Revocation{User: "a", Until: time.Unix(-1, 0)}),
	} {
		if !errors.Is(err, ErrBadRequest) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := s.Revoke(t.Context(), Revocation{User: "a", Until: time.Now().Add(-time.Second)}); err != nil || s.Revocations() != 0 {
		t.Errorf("one that holds no longer: %v", err)
	}
	c := s.buckets.js
	for _, name := range []string{ticketBucket, revokedBucket} {
		stream, err := c.Stream(t.Context(), "KV_"+name)
		if err != nil {
			t.Fatal(err)
		}
		full := stream.CachedInfo().Config
		full.MaxMsgs = 1
		if _, err := c.UpdateStream(t.Context(), full); err != nil {
			t.Fatal(err)
		}
	}
	if err := issueErr(s, 1, time.Minute); !errors.Is(err, ErrFull) { // the key is there already
		t.Error(err)
	}
	if err := errors.Join(s.Revoke(t.Context(), Revocation{User: "a"})); err != nil {
		t.Error(err)
	}
	if err := s.Revoke(t.Context(), Revocation{User: "b"}); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	later, _ := start(t, ns, nil) // makes the buckets what they should be
	if err := errors.Join(issueErr(later, 1, time.Minute), s.Revoke(t.Context(), Revocation{User: "b"})); err != nil {
		t.Error(err)
	}
}

func issueErr(s *Store, size int, ttl time.Duration) error {
	_, err := s.Issue(context.Background(), use, make([]byte, size), ttl)
	return err
}

// Whatever is logged, tickets and their values are not in it.
func TestLogsShowNothing(t *testing.T) {
	var logged bytes.Buffer
	ns := natstest.Run(t)
	s, _ := start(t, ns, func(o *Options) {
		o.Logger = slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	ticket := issue(t, s, "what-it-stands-for")
	_, _ = redeem(t, s, use, ticket)
	_, err := redeem(t, s, use, ticket)
	if err == nil || strings.Contains(err.Error(), ticket[5:20]) {
		t.Errorf("%v", err)
	}
	if _, err := s.buckets.revokedKV().Put(t.Context(), "x", []byte(`{"id":"what-it-stands-for","until":"?"}`)); err != nil {
		t.Fatal(err)
	}
	if err := s.Revoke(t.Context(), Revocation{TokenID: "after"}); err != nil {
		t.Fatal(err)
	}
	_ = s.Close()
	if strings.Contains(logged.String(), ticket[5:20]) || strings.Contains(logged.String(), "what-it-stands-for") {
		t.Error(logged.String())
	}
}

func TestCloseEndsWhatIsUnderWay(t *testing.T) {
	ns := natstest.Run(t)
	s, gate := start(t, ns, nil)
	ticket := issue(t, s, "alice")
	gate.set(false)
	if _, err := redeem(t, s, use, ticket); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without NATS: %v", err)
	}
	if err := issueErr(s, 1, time.Minute); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without NATS: %v", err)
	}
	if err := s.Revoke(t.Context(), Revocation{User: "a"}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without NATS: %v", err)
	}
	_ = s.Close()
	if _, err := redeem(t, s, use, ticket); !errors.Is(err, ErrUnavailable) {
		t.Errorf("closed: %v", err)
	}
}

func TestStorageThatCannotChange(t *testing.T) {
	ns := natstest.Run(t)
	start(t, ns, nil)
	_, err := Open(t.Context(), Options{Connect: ns.Connect})
	if !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "nats kv del") {
		t.Error(err)
	}
	js, _ := jetstream.New(ns.Conn())
	if _, err := js.KeyValue(t.Context(), ticketBucket); err != nil {
		t.Error(err)
	}
}

// FuzzTicket: no text but what was issued is a ticket.
func FuzzTicket(f *testing.F) {
	s := &Store{}
	s.key.Store(&sharedKey{1})
	var raw [rawTicket]byte
	putEnd(raw[:], time.UnixMilli(1<<47)) // the same in each process of a fuzzer
	mac := s.mac(use, raw[:macFrom])
	copy(raw[macFrom:], mac[:])
	good := TicketPrefix + ticketText.EncodeToString(raw[:])
	if s.Check(use, good) != nil {
		f.Fatal("a good one is refused")
	}
	f.Add(good)
	f.Add("jw1_")
	f.Fuzz(func(t *testing.T, text string) {
		if err := s.Check(use, text); err == nil && text != good {
			t.Errorf("%q is taken for a ticket", text)
		}
	})
}
