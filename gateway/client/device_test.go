package client_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (s *site) device(user, device string) *client.Client {
	s.t.Helper()
	o := s.options(user)
	o.Device = device
	return s.dial(o)
}

func publish(t testing.TB, c *client.Client, channel, body string) uint64 {
	t.Helper()
	r, err := c.Publish(t.Context(), channel, []byte(body), client.PublishOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r.Seq
}

func subscribe(t testing.TB, c *client.Client, channel string, o client.SubscribeOptions) *client.Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), channel, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func (b *inbox) want(t testing.TB, bodies ...string) {
	t.Helper()
	for _, body := range bodies {
		if m := next(t, b.messages); string(m.Body) != body {
			t.Fatalf("got %+v with %q, want %q", m, m.Body, body)
		}
	}
}

// A device that was away, with another process behind it: what came meanwhile is there, once and in order, and nothing that was taken before.
func TestDeviceComesBack(t *testing.T) {
	s := newSite(t)
	bob := s.dial(s.options("bob"))
	alice := s.device("alice", "laptop")
	if d := alice.Session(); d.Resumed || len(d.Restored) != 1 || d.Restored[0].Channel != "user.alice" {
		t.Fatalf("%+v", d)
	}
	in, all := newInbox(), newInbox()
	subscribe(t, alice, "chat.lobby", in.options())
	o := all.options()
	o.QoS = client.ExactlyOnce
	subscribe(t, alice, "chat.>", o)
	publish(t, bob, "chat.lobby", "1")
	publish(t, bob, "chat.hall", "2")
	in.want(t, "1")
	all.want(t, "1", "2")
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	publish(t, bob, "chat.lobby", "3")
	publish(t, bob, "chat.hall", "4")
	s.backend("user.alice", "a parcel")
	alice = s.device("alice", "laptop")
	var names []string
	for _, r := range alice.Restored() {
		names = append(names, fmt.Sprint(r.Channel, r.QoS))
	}
	if !alice.Session().Resumed || strings.Join(names, " ") != "chat.>2 chat.lobby1 user.alice1" {
		t.Fatalf("%+v", alice.Session())
	}
	in, all = newInbox(), newInbox()
	mine := newInbox()
	subscribe(t, alice, "chat.lobby", in.options())
	sub := subscribe(t, alice, "chat.>", all.options())
	if _, err := alice.Inbox(t.Context(), mine.options()); err != nil {
		t.Fatal(err)
	}
	in.want(t, "3")
	all.want(t, "3", "4")
	mine.want(t, "a parcel")
	publish(t, bob, "chat.lobby", "5")
	in.want(t, "5")
	all.want(t, "5")
	if err := sub.Unsubscribe(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := alice.Close(); err != nil {
		t.Fatal(err)
	}
	alice = s.device("alice", "laptop")
	if r := alice.Restored(); len(r) != 2 || r[0].Channel != "chat.lobby" {
		t.Errorf("%+v", r)
	}
	if len(in.messages)+len(all.messages)+len(mine.messages) != 0 {
		t.Error("more has come")
	}
}

// backend publishes over NATS.
func (s *site) backend(channel, body string) {
	s.t.Helper()
	nc, err := nats.Connect(s.nats.URL())
	if err != nil {
		s.t.Fatal(err)
	}
	defer nc.Close()
	js, err := nc.JetStream()
	if err != nil {
		s.t.Fatal(err)
	}
	if _, err := js.Publish(channel, []byte(body)); err != nil {
		s.t.Fatal(err)
	}
}

func TestDeviceIsTakenOver(t *testing.T) {
	s := newSite(t)
	one := s.device("alice", "laptop")
	in := newInbox()
	subscribe(t, one, "chat.lobby", in.options())
	two := s.device("alice", "laptop")
	select {
	case <-one.Done():
	case <-time.After(wait):
		t.Fatal("the older one lives")
	}
	var why *wire.Error
	if err := one.Err(); !errors.As(err, &why) || why.Code != wire.TakenOver {
		t.Error(err)
	}
	if err := next(t, in.errs); !errors.As(err, &why) || why.Code != wire.TakenOver {
		t.Error(err)
	}
	if !two.Session().Resumed || len(two.Restored()) != 2 {
		t.Errorf("%+v", two.Session())
	}
}

// An application that does not acknowledge is handed the same again; one that leaves the acks to the client is not, however slow it is.
func TestNotAcknowledgedInTime(t *testing.T) {
	s := newSite(t)
	s.gateway(func(o *gateway.Options) { o.Limits.AckWait = 200 * time.Millisecond })
	c := s.device("alice", "laptop")
	manual, slow := newInbox(), newInbox()
	o := manual.options()
	o.ManualAck = true
	sub := subscribe(t, c, "chat.lobby", o)
	o = slow.options()
	o.OnMessage = func(m client.Message) {
		for c.Stats().Duplicates == 0 { // until the server has sent it again
			time.Sleep(time.Millisecond)
		}
		slow.messages <- m
	}
	subscribe(t, c, "chat.*", o)
	seq := publish(t, s.dial(s.options("bob")), "chat.lobby", "1")
	if m := next(t, manual.messages); m.Seq != seq || m.Redelivered {
		t.Errorf("%+v", m)
	}
	for range 2 {
		if m := next(t, manual.messages); m.Seq != seq || !m.Redelivered {
			t.Errorf("%+v", m)
		}
	}
	if err := sub.Ack(t.Context(), seq); err != nil {
		t.Error(err)
	}
	slow.want(t, "1")
	if len(slow.messages) != 0 {
		t.Error("handed on twice")
	}
}

// Connections are cut, and applications die without a word, while messages come: each process sees them once and in order, beginning behind what
// the one before had acknowledged, and none is missing.
func TestDevicesAreCutAndDie(t *testing.T) {
	for _, qos := range []client.QoS{client.AtLeastOnce, client.ExactlyOnce} {
		t.Run(fmt.Sprint(qos), func(t *testing.T) {
			s := newSite(t)
			s.gateway(func(o *gateway.Options) { o.Limits.Unacked = 32 })
			const n, lives = 1200, 8
			bob := s.dial(s.options("bob"))
			var publishing sync.WaitGroup
			defer publishing.Wait()
			first := s.device("alice", "laptop")
			begin := newInbox()
			o := begin.options()
			o.QoS = qos
			subscribe(t, first, "chat.>", o)
			if err := first.Close(); err != nil {
				t.Fatal(err)
			}
			publishing.Go(func() {
				for i := range n {
					channel := fmt.Sprint("chat.", i%3)
					if _, err := bob.Publish(t.Context(), channel, fmt.Append(nil, i), client.PublishOptions{QoS: client.ExactlyOnce}); err != nil {
						t.Error(err)
						return
					}
					if rand.N(200) == 0 {
						s.cut()
					}
				}
			})
			var got []uint64 // the most any process has seen, in order
			again := 0
			for life := range lives {
				c := s.device("alice", "laptop")
				in := newInbox()
				sub := subscribe(t, c, "chat.>", in.options())
				most := n / lives
				if life == lives-1 {
					most = n // to the end
				}
				last := uint64(0)
				take := func(m client.Message) {
					if m.Seq <= last {
						t.Fatalf("%d came behind %d", m.Seq, last)
					}
					last = m.Seq
					if at, known := slices.BinarySearch(got, m.Seq); known {
						again++
					} else if at != len(got) {
						t.Fatalf("%d was passed over before", m.Seq)
					} else {
						got = append(got, m.Seq)
						if want := fmt.Sprint(len(got) - 1); string(m.Body) != want {
							t.Fatalf("got %s, want %s", m.Body, want)
						}
					}
				}
				for i := 0; i < most && len(got) < n; i++ {
					take(next(t, in.messages))
				}
				s.cut() // so that nothing more is acknowledged
				if err := c.Close(); err != nil {
					t.Fatal(err)
				}
				for len(in.messages) > 0 {
					take(<-in.messages)
				}
				if len(in.gaps)+len(in.errs) != 0 || !errors.Is(sub.Err(), client.ErrClosed) || c.Stats().Gaps != 0 {
					t.Errorf("%d gaps, %v, %+v", len(in.gaps), sub.Err(), c.Stats())
				}
			}
			if len(got) != n || len(begin.messages) != 0 {
				t.Errorf("%d of %d", len(got), n)
			}
			t.Logf("%d messages, %d of them seen by two processes", n, again)
		})
	}
}

// A handler behind a queue of few bytes: what is dropped is sent again, and the subscription is never given up.
func TestBusyHandlerOfADevice(t *testing.T) {
	s := newSite(t)
	o := s.options("alice")
	o.Device, o.QueueBytes = "laptop", 400
	c := s.dial(o)
	in := newInbox()
	so := in.options()
	so.OnMessage = func(m client.Message) {
		if err := c.Ping(t.Context()); err != nil && !errors.Is(err, client.ErrNotConnected) {
			t.Error(err)
		}
		in.messages <- m
	}
	subscribe(t, c, "chat.lobby", so)
	bob := s.dial(s.options("bob"))
	const n = 300
	for i := range n {
		publish(t, bob, "chat.lobby", fmt.Sprintf("%0100d", i))
	}
	for i := range n {
		in.want(t, fmt.Sprintf("%0100d", i))
	}
	if len(in.gaps) != 0 || c.Stats().Gaps != 0 {
		t.Errorf("%d gaps, %+v", len(in.gaps), c.Stats())
	}
	t.Logf("%+v", c.Stats())
}
