package requests

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/link"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

func dial(t testing.TB, s *natstest.Server, o link.Options, extra ...nats.Option) *Conn {
	t.Helper()
	o.Connect, o.Name, o.Logger = s.Connect, "test", slog.New(slog.DiscardHandler)
	c, err := Dial(o, extra...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func subscribe(t testing.TB, s *natstest.Server, subject string, f func(*nats.Msg)) *nats.Conn {
	t.Helper()
	nc := s.Conn()
	if _, err := nc.Subscribe(subject, f); err != nil {
		t.Fatal(err)
	}
	if err := nc.Flush(); err != nil {
		t.Fatal(err)
	}
	return nc
}

func to(body string) *nats.Msg { return &nats.Msg{Subject: "test", Data: []byte(body)} }

func respond(t testing.TB, m *nats.Msg, body string) {
	if err := m.Respond([]byte(body)); err != nil {
		t.Error(err)
	}
}

// begin asks, and returns where the end of it comes.
func begin(c *Conn, body string, patience time.Duration) <-chan error {
	ended := make(chan error, 2)
	c.Ask(to(body), patience, func(m *nats.Msg, err error) {
		if err == nil && string(m.Data) != "re "+body {
			err = fmt.Errorf("the answer to %q is %q", body, m.Data)
		}
		ended <- err
	})
	return ended
}

func await(t testing.TB, ended <-chan error) error {
	t.Helper()
	select {
	case err := <-ended:
		return err
	case <-time.After(patience):
		t.Fatal("it does not end")
		return nil
	}
}

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !cond(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// TestAnswers: each request gets its own answer, in whichever order they come, and requests leave in the order of asking.
func TestAnswers(t *testing.T) {
	const count = 5000
	s := natstest.Run(t)
	var asked []*nats.Msg
	subscribe(t, s, "test", func(m *nats.Msg) {
		if string(m.Data) != strconv.Itoa(len(asked)) {
			t.Errorf("%s comes as number %d", m.Data, len(asked))
		}
		if asked = append(asked, m); len(asked) < count {
			return
		}
		for _, m := range slices.Backward(asked) {
			respond(t, m, "re "+string(m.Data))
		}
	})
	c := dial(t, s, link.Options{})
	var ends []<-chan error
	for i := range count {
		ends = append(ends, begin(c, strconv.Itoa(i), patience))
	}
	for i, e := range ends {
		if err := await(t, e); err != nil {
			t.Fatal(i, err)
		}
	}
	if len(c.waiting) != 0 {
		t.Error(len(c.waiting), "wait")
	}
}

// TestNoAnswer: each request ends when its own patience is over, not before, and an answer that comes then meets nobody.
func TestNoAnswer(t *testing.T) {
	s := natstest.Run(t)
	late := make(chan *nats.Msg, 10)
	subscribe(t, s, "test", func(m *nats.Msg) {
		if string(m.Data) == "now" {
			respond(t, m, "re now")
			return
		}
		late <- m
	})
	c := dial(t, s, link.Options{})
	began := time.Now()
	var order []time.Duration
	done := make(chan error, 3)
	for _, patience := range []time.Duration{120 * time.Millisecond, time.Millisecond, 60 * time.Millisecond} {
		c.Ask(to("late"), patience, func(_ *nats.Msg, err error) {
			if !errors.Is(err, ErrNoAnswer) || time.Since(began) < patience {
				t.Errorf("%v after %s of %s", err, time.Since(began), patience)
			}
			order = append(order, patience) // by one goroutine
			done <- nil
		})
	}
	for range 3 {
		_ = await(t, done)
	}
	if !slices.IsSorted(order) {
		t.Error(order)
	}
	for range 3 {
		respond(t, <-late, "re late")
	}
	if err := await(t, begin(c, "now", patience)); err != nil { // comes behind the late ones
		t.Error(err)
	}
}

// TestDown: a connection that breaks ends what was sent on it at once, and nothing is asked until it stands again.
func TestDown(t *testing.T) {
	s := natstest.Run(t)
	var came, downs, ups atomic.Int64
	answer := func(m *nats.Msg) {
		if string(m.Data) == "again" {
			respond(t, m, "re again")
		}
		came.Add(1)
	}
	subscribe(t, s, "test", answer)
	c := dial(t, s, link.Options{Down: func() { downs.Add(1) }, Up: func() { ups.Add(1) }})
	sent := begin(c, "once", time.Hour)
	eventually(t, "it was sent", func() bool { return came.Load() == 1 })
	s.Shutdown()
	if err := await(t, sent); !errors.Is(err, ErrNoAnswer) {
		t.Error(err)
	}
	if err := await(t, begin(c, "meanwhile", time.Hour)); !errors.Is(err, ErrNotSent) || downs.Load() != 1 {
		t.Error(err, downs.Load())
	}
	s.Restart()
	eventually(t, "it is up", func() bool { return ups.Load() == 1 })
	subscribe(t, s, "test", answer)
	if err := await(t, begin(c, "again", patience)); err != nil {
		t.Error(err)
	}
}

// stuck is a connection that does not take bytes while its gate is locked, as with a frozen server.
type stuck struct {
	net.Conn
	gate  *sync.Mutex
	hangs *atomic.Bool
}

func (s stuck) Write(b []byte) (int, error) {
	if !s.gate.TryLock() {
		s.hangs.Store(true)
		s.gate.Lock()
	}
	defer s.gate.Unlock()
	return s.Conn.Write(b)
}

// Dial makes it a nats.CustomDialer.
func (s stuck) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	return stuck{c, s.gate, s.hangs}, err
}

// TestHang: a connection that takes no bytes stops nobody who asks, and what did not get its turn in time is known not to be sent.
func TestHang(t *testing.T) {
	s := natstest.Run(t)
	var came []string
	subscribe(t, s, "test", func(m *nats.Msg) {
		came = append(came, string(m.Data))
		if string(m.Data) == "first" || string(m.Data) == "last" {
			respond(t, m, "re "+string(m.Data))
		}
	})
	var gate sync.Mutex
	var hangs atomic.Bool
	c := dial(t, s, link.Options{}, nats.SetCustomDialer(stuck{gate: &gate, hangs: &hangs}))
	if err := await(t, begin(c, "first", patience)); err != nil {
		t.Fatal(err)
	}
	const short = time.Second
	gate.Lock()
	open := sync.OnceFunc(gate.Unlock)
	defer open()
	inTheBuffer := begin(c, "in the buffer", short)
	eventually(t, "the connection hangs", hangs.Load)
	inTheSender := begin(c, "in the sender", short)
	eventually(t, "the sender hangs", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return c.sent == 3
	})
	queued := begin(c, "queued", short)
	for _, sent := range []<-chan error{inTheBuffer, inTheSender} {
		if err := await(t, sent); !errors.Is(err, ErrNoAnswer) {
			t.Error(err)
		}
	}
	if err := await(t, queued); !errors.Is(err, ErrNotSent) {
		t.Error(err)
	}
	last := begin(c, "last", patience)
	open()
	if err := await(t, last); err != nil {
		t.Error(err)
	}
	if want := []string{"first", "in the buffer", "in the sender", "last"}; !slices.Equal(came, want) {
		t.Errorf("%q came, want %q", came, want)
	}
}

// TestNotSent: what nats.go refuses is not sent, and says why.
func TestNotSent(t *testing.T) {
	c := dial(t, natstest.Run(t), link.Options{})
	err := await(t, begin(c, string(make([]byte, 2<<20)), patience))
	if !errors.Is(err, ErrNotSent) || !errors.Is(err, nats.ErrMaxPayload) {
		t.Error(err)
	}
}

func TestTell(t *testing.T) {
	s := natstest.Run(t)
	replies := make(chan string, 1)
	subscribe(t, s, "test", func(m *nats.Msg) { replies <- m.Reply })
	c := dial(t, s, link.Options{})
	c.Tell(to("news"))
	select {
	case reply := <-replies:
		if reply != "" {
			t.Error(reply)
		}
	case <-time.After(patience):
		t.Error("it does not come")
	}
}

// TestClose ends every request once, and lets none begin.
func TestClose(t *testing.T) {
	s := natstest.Run(t)
	var came atomic.Int64
	subscribe(t, s, "test", func(*nats.Msg) { came.Add(1) })
	c := dial(t, s, link.Options{})
	sent := begin(c, "", time.Hour)
	eventually(t, "it was sent", func() bool { return came.Load() == 1 })
	var ended atomic.Int64
	var all sync.WaitGroup
	const each = 1000
	for range 4 {
		all.Go(func() {
			for range each {
				c.Ask(to(""), time.Hour, func(_ *nats.Msg, err error) {
					if !errors.Is(err, ErrNoAnswer) && !errors.Is(err, ErrNotSent) && !errors.Is(err, ErrClosed) {
						t.Error(err)
					}
					ended.Add(1)
				})
			}
		})
	}
	c.Close()
	c.Close()
	select {
	case err := <-sent:
		if !errors.Is(err, ErrNoAnswer) {
			t.Error(err)
		}
	default:
		t.Error("closed, and a request has not ended")
	}
	all.Wait()
	if n := ended.Load(); n != 4*each {
		t.Errorf("%d of %d have ended", n, 4*each)
	}
	if err := await(t, begin(c, "", time.Hour)); err == nil {
		t.Error("asked on a closed connection")
	}
}
