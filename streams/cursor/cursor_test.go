package cursor

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// wait bounds a test's waiting for one thing.
const wait = 40 * time.Second

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wait); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func open(t testing.TB, ns *natstest.Server, owner string, change func(*Options)) *Store {
	t.Helper()
	js, err := jetstream.New(ns.Conn())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{JetStream: js, Owner: owner, Memory: true, Lease: 2 * time.Second}
	if change != nil {
		change(&o)
	}
	s, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (s *Store) makeStream(t testing.TB, change func(*jetstream.StreamConfig)) {
	t.Helper()
	c := jetstream.StreamConfig{Name: "EV", Subjects: []string{"ev.>"}, Storage: jetstream.MemoryStorage}
	if change != nil {
		change(&c)
	}
	if _, err := s.js.CreateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func (s *Store) publish(t testing.TB, subject string, from, to int) {
	t.Helper()
	for i := from; i <= to; i++ {
		if _, err := s.js.Publish(t.Context(), subject, fmt.Append(nil, i)); err != nil {
			t.Fatal(err)
		}
	}
}

// log keeps what a reader hands on. With hold, nothing is done by itself.
type log struct {
	hold bool

	mu   sync.Mutex
	got  []string
	done []func()
}

func (l *log) handle(m Message) {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := string(m.Data)
	if m.Lost != nil {
		text = fmt.Sprintf("lost %s %d-%d", m.Lost.Reason, m.Lost.From, m.Lost.To)
	}
	l.got = append(l.got, text)
	if l.hold {
		l.done = append(l.done, m.Done)
	} else {
		m.Done()
	}
}

func (l *log) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.got)
}

func numbers(from, to int) (all []string) {
	for i := from; i <= to; i++ {
		all = append(all, fmt.Sprint(i))
	}
	return all
}

// read runs a reader of the stream EV until stop is called.
func (s *Store) read(l *log, subjects ...string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	r := s.NewReader("shop", []Source{{Stream: "EV", Subjects: subjects}}, l.handle)
	var work sync.WaitGroup
	work.Go(func() { r.Run(ctx); r.Save() })
	return func() { cancel(); work.Wait() }
}

func expect(t testing.TB, l *log, want []string) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d messages", len(want)), func() bool { return len(l.all()) >= len(want) })
	if got := l.all(); !slices.Equal(got, want) {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestGoesOnWhereItWas(t *testing.T) {
	s := open(t, natstest.Run(t), "a", nil)
	s.makeStream(t, nil)
	s.publish(t, "ev.x", 1, 3) // before the cursor is there
	if err := s.Begin(t.Context(), "shop", "EV"); err != nil {
		t.Fatal(err)
	}
	s.publish(t, "ev.x", 4, 10)
	var first log
	stop := s.read(&first, "ev.x")
	s.publish(t, "ev.other", 1, 1)
	s.publish(t, "ev.x", 11, 20)
	expect(t, &first, numbers(4, 20))
	stop()
	if err := s.Begin(t.Context(), "shop", "EV"); err != nil { // it has a position: that stays
		t.Fatal(err)
	}
	s.publish(t, "ev.x", 21, 600) // more than a window
	var second log
	stop = s.read(&second, "ev.x")
	defer stop()
	expect(t, &second, numbers(21, 600))
}

func TestWhatIsNotDoneComesAgain(t *testing.T) {
	s := open(t, natstest.Run(t), "a", func(o *Options) { o.Window = 4 })
	s.makeStream(t, nil)
	s.publish(t, "ev.x", 1, 10)
	first := log{hold: true}
	stop := s.read(&first)
	expect(t, &first, numbers(1, 4)) // the window is full
	first.done[0]()
	first.done[2]() // the second is not done
	expect(t, &first, numbers(1, 5))
	stop()
	var second log
	stop = s.read(&second)
	defer stop()
	expect(t, &second, numbers(2, 10))
}

func TestLossIsTold(t *testing.T) {
	s := open(t, natstest.Run(t), "a", nil)
	s.makeStream(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 })
	if err := s.Begin(t.Context(), "shop", "EV"); err != nil {
		t.Fatal(err)
	}
	s.publish(t, "ev.x", 1, 12)
	var l log
	stop := s.read(&l)
	expect(t, &l, append([]string{"lost retention 1-7"}, numbers(8, 12)...))
	if err := s.js.DeleteStream(t.Context(), "EV"); err != nil {
		t.Fatal(err)
	}
	s.makeStream(t, nil)
	s.publish(t, "ev.x", 1, 2)
	expect(t, &l, append(append([]string{"lost retention 1-7"}, numbers(8, 12)...), "lost epoch 0-0", "1", "2"))
	stop()
}

// What others let go of, while this cursor had nothing to read, is no loss.
func TestQuietCursorLosesNothing(t *testing.T) {
	s := open(t, natstest.Run(t), "a", nil)
	s.makeStream(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = 5 })
	var l log
	stop := s.read(&l, "ev.x")
	s.publish(t, "ev.other", 1, 4)
	eventually(t, "the position to move", func() bool {
		p, _, err := s.load(t.Context(), "position.shop.EV")
		return err == nil && p.Seq == 4
	})
	stop()
	s.publish(t, "ev.other", 5, 7)
	s.publish(t, "ev.x", 1, 1)
	stop = s.read(&l, "ev.x")
	defer stop()
	expect(t, &l, []string{"1"})
}

func TestReadsOnAfterARestartOfTheServer(t *testing.T) {
	ns := natstest.Run(t)
	s := open(t, ns, "a", func(o *Options) { o.Memory = false })
	s.makeStream(t, func(c *jetstream.StreamConfig) { c.Storage = jetstream.FileStorage })
	var l log
	stop := s.read(&l)
	defer stop()
	s.publish(t, "ev.x", 1, 5)
	expect(t, &l, numbers(1, 5))
	ns.Restart()
	eventually(t, "the server", func() bool { _, err := s.js.Stream(t.Context(), "EV"); return err == nil })
	s.publish(t, "ev.x", 6, 9)
	expect(t, &l, numbers(1, 9))
}

func TestPositionIsNotTakenBack(t *testing.T) {
	s := open(t, natstest.Run(t), "a", nil)
	s.makeStream(t, nil)
	old := log{hold: true}
	s.publish(t, "ev.x", 1, 5)
	ended := make(chan struct{})
	r := s.NewReader("shop", []Source{{Stream: "EV"}}, old.handle)
	go func() { r.Run(t.Context()); r.Save(); close(ended) }()
	expect(t, &old, numbers(1, 5))
	var l log
	other := s.read(&l) // as if the other's lease had lapsed
	expect(t, &l, numbers(1, 5))
	other()
	old.done[0]()
	select {
	case <-ended:
	case <-time.After(wait):
		t.Fatal("the old reader goes on")
	}
	if p, _, err := s.load(t.Context(), "position.shop.EV"); err != nil || p.Seq != 5 {
		t.Errorf("position %+v, %v", p, err)
	}
}

// What JetStream has sent, and did not come, is read again, also if nothing follows it.
func TestWhatIsLostOnItsWay(t *testing.T) {
	for _, follows := range []bool{false, true} {
		t.Run(fmt.Sprint("follows=", follows), func(t *testing.T) { testLostOnItsWay(t, follows) })
	}
}

func testLostOnItsWay(t *testing.T, follows bool) {
	s := open(t, natstest.Run(t), "a", nil)
	s.makeStream(t, nil)
	var l log
	stop := s.read(&l)
	defer stop()
	s.publish(t, "ev.x", 1, 1)
	expect(t, &l, numbers(1, 1))
	st, err := s.js.Stream(t.Context(), "EV")
	if err != nil {
		t.Fatal(err)
	}
	info := <-st.ListConsumers(t.Context()).Info()
	consumer, err := st.Consumer(t.Context(), info.Name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	thief, err := consumer.Fetch(1, jetstream.FetchContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	last := 1
	eventually(t, "a message to be stolen", func() bool {
		last++
		s.publish(t, "ev.x", last, last)
		select {
		case <-thief.Messages():
			return true
		case <-time.After(50 * time.Millisecond):
			return false
		}
	})
	if follows {
		last++
		s.publish(t, "ev.x", last, last)
	}
	expect(t, &l, numbers(1, last))
}

// TestLossBetweenLooksIsTold: messages that go while others are being read are told, too, however soon after they were stored.
func TestLossBetweenLooksIsTold(t *testing.T) {
	for name, subjects := range map[string][]string{"all": nil, "some": {"ev.x"}} {
		t.Run(name, func(t *testing.T) {
			s := open(t, natstest.Run(t), "a", nil)
			s.makeStream(t, func(c *jetstream.StreamConfig) { c.MaxMsgs = 10 })
			if err := s.Begin(t.Context(), "shop", "EV"); err != nil {
				t.Fatal(err)
			}
			var l log
			stop := s.read(&l, subjects...)
			defer stop()
			s.publish(t, "ev.x", 1, 1)
			expect(t, &l, numbers(1, 1))
			for i := 2; i <= 3000; i++ { // faster than they are read
				if err := s.js.Conn().Publish("ev.x", fmt.Append(nil, i)); err != nil {
					t.Fatal(err)
				}
			}
			accounted := func() (next int) {
				next = 1
				for _, text := range l.all() {
					var from, to, n int
					if _, err := fmt.Sscanf(text, "lost retention %d-%d", &from, &to); err == nil {
						if from > next {
							t.Fatalf("%d to %d were lost, and nobody was told: %q", next, from-1, l.all())
						}
						next = max(next, to+1)
					} else if _, err := fmt.Sscan(text, &n); err != nil || n != next {
						t.Fatalf("%s comes where %d is awaited", text, next)
					} else {
						next++
					}
				}
				return next
			}
			eventually(t, "everything to be read, or told", func() bool { return accounted() > 3000 })
		})
	}
}
