package devices

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) {
	if f := flag.Lookup("rapid.checks"); f != nil {
		_ = f.Value.Set("1000")
	}
	goleak.VerifyTestMain(m)
}

// patience bounds every wait of these tests.
const patience = 20 * time.Second

func quiet() *slog.Logger {
	if os.Getenv("JETWIRE_TEST_LOG") != "" {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.NewTextHandler(io.Discard, nil))
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("in vain waited for: %s", what)
		}
	}
}

// session is a holder whose positions the test sets.
type session struct {
	t     testing.TB
	owner string
	dev   *Device
	was   Record

	mu       sync.Mutex
	at       []Position
	taken    atomic.Int32
	released atomic.Bool
}

func (h *session) Positions() []Position {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]Position(nil), h.at...)
}

func (h *session) TakenOver() {
	if h.taken.Add(1) > 1 {
		h.t.Errorf("%s was taken over twice", h.owner)
	}
}

// first is the first position's sequence.
func (h *session) first() uint64 {
	if at := h.Positions(); len(at) > 0 {
		return at[0].Seq
	}
	return 0
}

func (h *session) set(at ...Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.at = at
}

// advance acknowledges one more message and returns its sequence.
func (h *session) advance() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.at) == 0 {
		h.at = []Position{{Channel: "user.ann", QoS: 1, Epoch: "e"}}
	}
	h.at[0].Seq++
	return h.at[0].Seq
}

func (h *session) store() error {
	h.t.Helper()
	c := make(chan error, 1)
	h.dev.Store(func(err error) { c <- err })
	return await(h.t, c)
}

func await[T any](t testing.TB, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("a callback was never called")
		panic("unreachable")
	}
}

var sessions atomic.Int64

// begin takes a device; the channel brings the session when it has it.
func begin(t testing.TB, s *Store, user, device string) (*session, <-chan error) {
	h := &session{t: t, owner: fmt.Sprintf("s%08d", sessions.Add(1))}
	c := make(chan error, 1)
	s.Take(user, device, h.owner, h, func(d *Device, was Record, err error) {
		h.dev, h.was = d, was
		h.set(was.Positions...)
		c <- err
	})
	return h, c
}

func hold(t testing.TB, s *Store, user, device string) *session {
	t.Helper()
	h, c := begin(t, s, user, device)
	if err := await(t, c); err != nil {
		t.Fatalf("Take(%s, %s): %v", user, device, err)
	}
	return h
}

func openOn(t testing.TB, srv *natstest.Server, change func(*Options)) *Store {
	t.Helper()
	return openAround(t, srv, change, func(b bucket) bucket { return b })
}

func openAround(t testing.TB, srv *natstest.Server, change func(*Options), around func(bucket) bucket) *Store {
	t.Helper()
	o := Options{Connect: srv.Connect, Logger: quiet(), Delay: 20 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := open(ctx, o, around)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// stored reads a record as an operator would.
func stored(t testing.TB, srv *natstest.Server, user, device string) (record, bool) {
	t.Helper()
	nc, err := srv.Connect("operator")
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := bucketOf(t, nc).Get(ctx, encodeToken(user)+"."+encodeToken(device))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return record{}, false
	}
	if err != nil {
		t.Fatal(err)
	}
	r, err := decode(e.Value())
	if err != nil {
		t.Fatalf("%v: %s", err, e.Value())
	}
	return r, true
}

func jsOf(t testing.TB, nc *nats.Conn) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func bucketOf(t testing.TB, nc *nats.Conn) jetstream.KeyValue {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	kv, err := jsOf(t, nc).KeyValue(ctx, bucketName)
	if err != nil {
		t.Fatal(err)
	}
	return kv
}

func TestTakeStoreReturn(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, nil)
	a := hold(t, s, "ann", "phone")
	if a.was.Found || len(a.was.Positions) > 0 {
		t.Fatalf("%+v", a.was)
	}
	want := []Position{{"user.ann", 2, "e1", 7}, {"orders.*.status", 1, "e2", 1 << 60}}
	a.set(want...)
	if err := a.store(); err != nil {
		t.Fatal(err)
	}
	r, ok := stored(t, srv, "ann", "phone")
	if !ok || r.owner != a.owner || !reflect.DeepEqual(r.positions, want) || time.Since(r.seen) > time.Minute {
		t.Fatalf("%v %+v", ok, r)
	}
	a.dev.Release()
	eventually(t, "no device held", func() bool { return s.Stats().Held == 0 && len(s.cellsNow()) == 0 })
	for range 2 { // from the bucket, then from a bucket opened anew
		b := hold(t, s, "ann", "phone")
		if !b.was.Found || !reflect.DeepEqual(b.was.Positions, want) || time.Since(b.was.Seen) > time.Minute {
			t.Fatalf("%+v", b.was)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		s = openOn(t, srv, nil)
	}
	if other := hold(t, s, "ann", "tablet"); other.was.Found {
		t.Fatalf("%+v", other.was)
	}
}

func (s *Store) cellsNow() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for k := range s.cells {
		out = append(out, k)
	}
	return out
}

func TestChangedIsWrittenBehind(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, nil)
	a := hold(t, s, "ann", "phone")
	before := s.Stats().Writes
	for range 100 {
		a.advance()
		a.dev.Changed()
	}
	eventually(t, "the last change", func() bool {
		r, _ := stored(t, srv, "ann", "phone")
		return len(r.positions) == 1 && r.positions[0].Seq == 100
	})
	if n := s.Stats().Writes - before; n > 3 {
		t.Errorf("%d writes of 100 changes", n)
	}
	// A change just before the end is not lost.
	a.advance()
	a.dev.Changed()
	a.dev.Release()
	b := hold(t, s, "ann", "phone")
	if !b.was.Found || b.was.Positions[0].Seq != 101 {
		t.Fatalf("%+v", b.was)
	}
	b.advance()
	b.dev.Changed()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if r, _ := stored(t, srv, "ann", "phone"); r.positions[0].Seq != 102 {
		t.Fatalf("%+v", r)
	}
}

// Behind a release nothing more can change: what has is written without waiting for more.
func TestReleaseWritesAtOnce(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, func(o *Options) { o.Delay = time.Hour })
	a := hold(t, s, "ann", "phone")
	a.advance()
	a.dev.Changed()
	a.dev.Release()
	eventually(t, "the last change", func() bool {
		r, _ := stored(t, srv, "ann", "phone")
		return len(r.positions) == 1
	})
}

func TestTakenOverHere(t *testing.T) {
	s := openOn(t, natstest.Run(t), nil)
	a := hold(t, s, "ann", "phone")
	a.advance()
	reads := s.Stats().Reads
	b := hold(t, s, "ann", "phone")
	if a.taken.Load() != 1 || len(b.was.Positions) != 1 || b.was.Positions[0].Seq != 1 || !b.was.Found {
		t.Fatalf("%d %+v", a.taken.Load(), b.was)
	}
	if n := s.Stats().Reads - reads; n != 0 {
		t.Errorf("%d reads", n)
	}
	if err := a.store(); !errors.Is(err, ErrTaken) {
		t.Errorf("%v", err)
	}
	a.dev.Changed()
	a.dev.Release()
	b.dev.Release()
	if err := b.store(); !errors.Is(err, ErrClosed) {
		t.Errorf("%v", err)
	}
	if b.taken.Load() != 0 {
		t.Error("taken over by nobody")
	}
}

func TestTakenOverByAnotherGateway(t *testing.T) {
	srv := natstest.Run(t)
	one, two := openOn(t, srv, nil), openOn(t, srv, nil)
	h := hold(t, one, "ann", "phone")
	for i, s := range []*Store{two, one, two, one} {
		seq := h.advance()
		if err := h.store(); err != nil {
			t.Fatal(err)
		}
		next := hold(t, s, "ann", "phone")
		if !next.was.Found || next.was.Positions[0].Seq != seq {
			t.Fatalf("%d: %+v", i, next.was)
		}
		eventually(t, "the older one to end", func() bool { return h.taken.Load() == 1 })
		if err := h.store(); !errors.Is(err, ErrTaken) {
			t.Fatal(err)
		}
		h = next
	}
	if st := two.Stats(); st.TakenOver != 2 || st.Announced != 2 {
		t.Errorf("%+v", st)
	}
}

// TestFencing lets no announcement through: the older holder finds out by its next write.
func TestFencing(t *testing.T) {
	srv := natstest.Run(t)
	one := openOn(t, srv, nil)
	two := openAround(t, srv, nil, func(b bucket) bucket { return mute{b} })
	for i := range 20 {
		user := fmt.Sprint("user", i)
		a := hold(t, one, user, "phone")
		a.advance()
		if err := a.store(); err != nil {
			t.Fatal(err)
		}
		b := hold(t, two, user, "phone")
		if a.taken.Load() != 0 {
			t.Fatal("told by nobody")
		}
		a.advance()
		if i%2 == 0 {
			if err := a.store(); !errors.Is(err, ErrTaken) {
				t.Fatal(err)
			}
		} else {
			a.dev.Changed()
		}
		eventually(t, "the older one to end", func() bool { return a.taken.Load() == 1 })
		if r, _ := stored(t, srv, user, "phone"); r.owner != b.owner || r.positions[0].Seq != 1 {
			t.Fatalf("%+v", r)
		}
		if b.taken.Load() != 0 {
			t.Fatal("the newer one was ended")
		}
	}
	if st := one.Stats(); st.Held != 0 || st.Conflicts != 20 {
		t.Errorf("%+v", st)
	}
}

// TestStoredDuringTake: the older holder stores once more between the read and the write of a Take. What it was answered must not be lost.
// (It was: the Take kept what it had read when the record had the same owner.)
func TestStoredDuringTake(t *testing.T) {
	srv := natstest.Run(t)
	one := openOn(t, srv, nil)
	a := hold(t, one, "ann", "phone")
	late := &interloper{}
	two := openAround(t, srv, nil, func(b bucket) bucket {
		late.bucket = b
		return late
	})
	for range 3 {
		var seq uint64
		late.before(func() {
			seq = a.advance()
			if err := a.store(); err != nil {
				t.Error(err)
			}
		})
		b := hold(t, two, "ann", "phone")
		if seq == 0 || b.first() != seq {
			t.Fatalf("given %d, %d had been stored", b.first(), seq)
		}
		eventually(t, "the takeover", func() bool { return a.taken.Load() == 1 })
		a = hold(t, one, "ann", "phone")
	}
}

// interloper is a bucket where something happens before the next write.
type interloper struct {
	bucket
	mu sync.Mutex
	do func()
}

func (l *interloper) before(do func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.do = do
}

func (l *interloper) put(key string, value []byte, rev uint64, done func(uint64, error)) {
	l.mu.Lock()
	do := l.do
	l.do = nil
	l.mu.Unlock()
	if do != nil {
		do()
	}
	l.bucket.put(key, value, rev, done)
}

// TestOlderWroteFirst: the record was deleted, and an older holder that had not heard of the newer one wrote it first. The newer one
// takes it back, and tells. (It did not tell: both went on until the older one wrote again.)
func TestOlderWroteFirst(t *testing.T) {
	srv := natstest.Run(t)
	one := openOn(t, srv, nil)
	two := openAround(t, srv, nil, func(b bucket) bucket { return &muteOnce{bucket: b} })
	a := hold(t, one, "ann", "phone")
	b := hold(t, two, "ann", "phone")
	if err := bucketOf(t, srv.Conn()).Purge(context.Background(), encodeToken("ann")+"."+encodeToken("phone")); err != nil {
		t.Fatal(err)
	}
	for _, h := range []*session{a, b} {
		h.advance()
		if err := h.store(); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the older one to end", func() bool { return a.taken.Load() == 1 })
	if r, _ := stored(t, srv, "ann", "phone"); r.owner != b.owner || b.taken.Load() != 0 {
		t.Fatalf("%+v", r)
	}
}

// muteOnce is a bucket that keeps the first announcement back.
type muteOnce struct {
	bucket
	told atomic.Bool
}

func (m *muteOnce) announce(key string, by mark) {
	if m.told.Swap(true) {
		m.bucket.announce(key, by)
	}
}

// mute is a bucket that announces nothing.
type mute struct{ bucket }

func (mute) announce(string, mark) {}
