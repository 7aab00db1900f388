package commands

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// within bounds a test's waiting for one thing.
const within = 30 * time.Second

func open(t testing.TB, s *natstest.Server, change func(*Options)) *Queue {
	t.Helper()
	o := Options{Connect: func(name string, extra ...nats.Option) (*nats.Conn, error) {
		return s.Connect(name, append(extra, nats.ReconnectWait(10*time.Millisecond), nats.ReconnectJitter(0, 0))...)
	}}
	if change != nil {
		change(&o)
	}
	q, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Close() })
	return q
}

func stream(t testing.TB, s *natstest.Server) jetstream.JetStream {
	t.Helper()
	js, err := jetstream.New(s.Conn())
	if err != nil {
		t.Fatal(err)
	}
	return js
}

func (q *Queue) put(t testing.TB, c Command) (Receipt, error) {
	t.Helper()
	type result struct {
		r   Receipt
		err error
	}
	ended := make(chan result, 1)
	q.Put(c, func(r Receipt, err error) { ended <- result{r, err} })
	select {
	case r := <-ended:
		return r.r, r.err
	case <-time.After(within):
		t.Fatal("no answer to a command")
		return Receipt{}, nil
	}
}

func (q *Queue) mustPut(t testing.TB, c Command) Receipt {
	t.Helper()
	r, err := q.put(t, c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (q *Queue) ask(t testing.TB, c Call) (string, error) {
	t.Helper()
	type result struct {
		answer string
		err    error
	}
	ended := make(chan result, 1)
	q.Call(c, func(answer []byte, err error) { ended <- result{string(answer), err} })
	select {
	case r := <-ended:
		return r.answer, r.err
	case <-time.After(within):
		t.Fatal("no answer to a call")
		return "", nil
	}
}

// until waits for a condition.
func until(t testing.TB, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it does not come true: " + what)
		}
	}
}

func messages(t testing.TB, js jetstream.JetStream, name string) uint64 {
	t.Helper()
	st, err := js.Stream(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	return st.CachedInfo().State.Msgs
}

func TestPut(t *testing.T) {
	s := natstest.Run(t)
	q, other := open(t, s, nil), open(t, s, nil)
	js := stream(t, s)
	c := Command{Destination: "billing.refund", ID: "r1", From: "alice", Body: []byte(`{"order":1}`)}
	if r := q.mustPut(t, c); r != (Receipt{1, false, "file"}) {
		t.Errorf("%+v", r)
	}
	for i, again := range []*Queue{q, other, q} {
		if r := again.mustPut(t, c); r != (Receipt{1, true, "file"}) {
			t.Errorf("again, %d: %+v", i, r)
		}
	}
	// An id is its sender's, at its destination.
	c.From = "bob"
	if r := q.mustPut(t, c); r.Seq != 2 || r.Duplicate {
		t.Errorf("another sender: %+v", r)
	}
	c.Destination = "billing.refunds"
	if r := q.mustPut(t, c); r.Seq != 3 || r.Duplicate {
		t.Errorf("another destination: %+v", r)
	}
	for range 2 {
		if r := q.mustPut(t, Command{Destination: "a.b", From: "x\r\nJw-From: root"}); r.Duplicate {
			t.Errorf("no id: %+v", r)
		}
	}
	st, err := js.Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	m, err := st.GetMsg(t.Context(), 1)
	if err != nil || m.Subject != "jetwire.command.billing.refund" || string(m.Data) != `{"order":1}` || m.Header.Get("Jw-From") != "alice" || m.Header.Get("Jw-Id") != "r1" {
		t.Errorf("%+v, %v", m, err)
	}
	m, err = st.GetMsg(t.Context(), 5)
	if err != nil || !slices.Equal(m.Header["Jw-From"], []string{"x%0D%0AJw-From: root"}) || len(m.Header) != 1 {
		t.Errorf("what is no name came as %+v, %v", m.Header, err)
	}
	if got := q.Stats(); got.Stored != 7 || got.InFlight != 0 {
		t.Errorf("%+v", got)
	}
}

// TestRetryOfWhatWasHandled: a backend was quicker than the answer. The command is not stored once more.
func TestRetryOfWhatWasHandled(t *testing.T) {
	s := natstest.Run(t)
	js := stream(t, s)
	q, other := open(t, s, nil), open(t, s, nil)
	c := consumer(t, js, "a.b", nil)
	r1 := Command{Destination: "a.b", ID: "r1", From: "alice"}
	q.mustPut(t, r1)
	fetch(t, c, 1, func(m jetstream.Msg) error { return m.DoubleAck(t.Context()) })
	until(t, "it has left the queue", func() bool { return messages(t, js, Stream) == 0 })
	for _, q := range []*Queue{q, other} {
		if r := q.mustPut(t, r1); r != (Receipt{1, true, "file"}) {
			t.Errorf("%+v", r)
		}
	}
	if n := messages(t, js, Stream); n != 0 {
		t.Errorf("%d commands", n)
	}
}

// TestPutsKeepTheirOrder: what one caller puts one after the other is stored in that order.
func TestPutsKeepTheirOrder(t *testing.T) {
	s := natstest.Run(t)
	q := open(t, s, nil)
	const n = 500
	var wg sync.WaitGroup
	var mu sync.Mutex
	seqs := make([]uint64, n)
	for i := range n {
		wg.Add(1)
		q.Put(Command{Destination: "a.b", ID: fmt.Sprint(i), Body: []byte("x")}, func(r Receipt, err error) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			if seqs[i] = r.Seq; err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for i, seq := range seqs {
		if seq != uint64(i+1) {
			t.Fatalf("command %d has the sequence %d", i, seq)
		}
	}
}

func TestPutIsRefused(t *testing.T) {
	s := natstest.Run(t)
	full := errors.New("no space")
	var fault error
	q := open(t, s, func(o *Options) {
		o.MaxBytes, o.MaxMessageSize, o.InFlight = 5000, 2000, 1
		o.Fault = func(string) error { return fault }
	})
	if _, err := q.put(t, Command{Destination: "a.b", Body: make([]byte, 2001)}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("too large: %v", err)
	}
	fault = full
	if _, err := q.put(t, Command{Destination: "a.b"}); !errors.Is(err, ErrStoreFull) || !errors.Is(err, full) {
		t.Errorf("a broken disk: %v", err)
	}
	fault = nil
	q.inFlight.Add(1)
	if _, err := q.put(t, Command{Destination: "a.b"}); !errors.Is(err, ErrBusy) {
		t.Errorf("more than may be in flight: %v", err)
	}
	q.inFlight.Add(-1)
	q.mustPut(t, Command{Destination: "a.b", Body: make([]byte, 2000)})
	if _, err := q.put(t, Command{Destination: "a.b", Body: make([]byte, 2000)}); err != nil {
		t.Errorf("the second: %v", err)
	}
	if _, err := q.put(t, Command{Destination: "a.b", Body: make([]byte, 2000)}); !errors.Is(err, ErrStoreFull) {
		t.Errorf("a full queue: %v", err)
	}
	if messages(t, stream(t, s), Stream) != 2 {
		t.Error("a command that waits was dropped for another")
	}
	if err := q.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := q.put(t, Command{Destination: "a.b"}); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnavailable) {
		t.Errorf("closed: %v", err)
	}
	if _, err := q.ask(t, Call{Destination: "a.b"}); !errors.Is(err, ErrClosed) && !errors.Is(err, ErrUnavailable) {
		t.Errorf("closed: %v", err)
	}
}

// TestSynced: where the store is synced from here, a receipt waits for that, and a failed one is no receipt.
func TestSynced(t *testing.T) {
	s := natstest.Run(t)
	waiting := make(chan func(error), 1)
	q := open(t, s, func(o *Options) { o.Synced = func(then func(error)) { waiting <- then } })
	for _, fails := range []error{nil, errors.New("disk")} {
		ended := make(chan error, 1)
		q.Put(Command{Destination: "a.b"}, func(r Receipt, err error) {
			if err == nil && r.Durability != "file+sync" {
				err = errors.New(r.Durability)
			}
			ended <- err
		})
		then := <-waiting
		select {
		case err := <-ended:
			t.Fatalf("answered before it was synced: %v", err)
		default:
		}
		then(fails)
		if err := <-ended; (fails == nil) != (err == nil) || fails != nil && !errors.Is(err, ErrTimeout) {
			t.Errorf("%v: %v", fails, err)
		}
	}
}

func TestDurability(t *testing.T) {
	sync := func(func(error)) {}
	for want, o := range map[string]Options{
		"memory": {Memory: true, Synced: sync}, "file": {}, "file+sync": {Synced: sync}, "replicated": {Replicas: 3}, "replicated+sync": {Replicas: 3, ServerSyncs: true},
	} {
		if got := o.durability(); got != want {
			t.Errorf("%+v: %s, want %s", o, got, want)
		}
	}
}

// TestStoreIsMissed: the streams are made anew when somebody has deleted them, or a server has lost what it had in memory.
func TestStoreIsMissed(t *testing.T) {
	s := natstest.Run(t)
	q := open(t, s, func(o *Options) { o.Memory, o.Dead.Memory = true, true })
	q.mustPut(t, Command{Destination: "a.b"})
	if err := stream(t, s).DeleteStream(t.Context(), Stream); err != nil {
		t.Fatal(err)
	}
	again := func() bool {
		_, err := q.put(t, Command{Destination: "a.b"})
		if err != nil && !errors.Is(err, ErrUnavailable) && !errors.Is(err, ErrTimeout) {
			t.Fatal(err)
		}
		return err == nil
	}
	until(t, "commands are stored again", again)
	s.Shutdown()
	until(t, "it is seen that NATS is away", func() bool {
		_, err := q.put(t, Command{Destination: "a.b"})
		return errors.Is(err, ErrUnavailable)
	})
	if _, err := q.ask(t, Call{Destination: "a.b"}); !errors.Is(err, ErrUnavailable) {
		t.Error(err)
	}
	s.Restart()
	until(t, "commands are stored after a restart", again)
}

func TestStreamsAreWhatTheOptionsSay(t *testing.T) {
	s := natstest.Run(t)
	open(t, s, nil)
	open(t, s, func(o *Options) { o.MaxBytes, o.DedupWindow = 1<<20, time.Minute })
	st, err := stream(t, s).Stream(t.Context(), Stream)
	if err != nil {
		t.Fatal(err)
	}
	if c := st.CachedInfo().Config; c.MaxBytes != 1<<20 || c.Duplicates != time.Minute || c.Retention != jetstream.WorkQueuePolicy || c.Discard != jetstream.DiscardNew {
		t.Errorf("%+v", c)
	}
	for why, change := range map[string]func(*Options){
		"storage":     func(o *Options) { o.Memory = true },
		"maximum age": func(o *Options) { o.MaxAge = time.Hour },
	} {
		o := Options{Connect: s.Connect}
		change(&o)
		if _, err := Open(t.Context(), o); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), why) {
			t.Errorf("%s: %v", why, err)
		}
	}
	open(t, s, func(o *Options) { o.MaxAge, o.AllowShrink = time.Hour, true })
}
