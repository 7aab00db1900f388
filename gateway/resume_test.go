package gateway_test

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/streams/natstest"
)

// published collects what publishers were told: sequence to body.
type published struct {
	mu   sync.Mutex
	told map[uint64]string
}

func (p *published) add(seq uint64, body string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if other, twice := p.told[seq]; twice && other != body {
		return fmt.Errorf("sequence %d was given to %s and to %s", seq, other, body)
	}
	p.told[seq] = body
	return nil
}

// check compares what a subscriber got from the beginning on with what publishers were told.
func (p *published) check(t *testing.T, who string, b *inbox) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	last := uint64(0)
	for _, m := range b.got {
		if m.Seq <= last {
			t.Fatalf("%s got %d after %d", who, m.Seq, last)
		}
		last = m.Seq
		if p.told[m.Seq] != string(m.Body) {
			t.Fatalf("%s got %s at %d, the publisher of %q was told so", who, m.Body, m.Seq, p.told[m.Seq])
		}
	}
	if len(b.got) != len(p.told) || len(b.gaps) != 0 {
		t.Fatalf("%s got %d of %d messages, gaps %+v", who, len(b.got), len(p.told), b.gaps)
	}
}

// Publishers publish, everybody's connection is cut at random, and everybody gets every message once.
func TestResumeJoinsLive(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, func(o *gateway.Options) {
			change(o)
			o.Limits.QueueBytes = 2 << 10 // sockets fall behind, too
		})
		const publishers, each, subscribers = 3, 400, 6
		told := &published{told: map[uint64]string{}}
		zero := uint64(0)
		boxes, clients := make([]*inbox, subscribers), make([]*client.Client, subscribers)
		for i := range boxes {
			boxes[i], clients[i] = &inbox{}, g.dial(fmt.Sprintf("sub%d", i))
			o := boxes[i].options()
			o.Since = &zero
			if _, err := clients[i].Subscribe(t.Context(), "chat.a", o); err != nil {
				t.Fatal(err)
			}
		}
		var work sync.WaitGroup
		var done atomic.Int32
		for p := range publishers {
			c := g.dial(fmt.Sprintf("pub%d", p))
			work.Go(func() {
				defer done.Add(1)
				var acks sync.WaitGroup
				for n := range each {
					body := fmt.Sprintf(`"%d-%d"`, p, n)
					acks.Go(func() {
						r, err := c.Publish(t.Context(), "chat.a", []byte(body), client.PublishOptions{QoS: client.ExactlyOnce})
						if err == nil {
							err = told.add(r.Seq, body)
						}
						if err != nil {
							t.Error(err)
						}
					})
					if n%20 == 19 {
						acks.Wait()
					}
				}
				acks.Wait()
			})
		}
		rnd := rand.New(rand.NewPCG(1, 2))
		for cuts := 0; done.Load() < publishers || cuts < 20; cuts++ {
			before := boxes[cuts%subscribers].n.Load()
			eventually(t, "some progress between cuts", func() bool {
				return boxes[cuts%subscribers].n.Load() > before || done.Load() == publishers
			})
			g.cut(func() bool { return rnd.IntN(3) == 0 })
		}
		work.Wait()
		if len(told.told) != publishers*each {
			t.Fatalf("%d messages were stored", len(told.told))
		}
		for i, b := range boxes {
			eventually(t, "every message", func() bool { return b.n.Load() >= publishers*each })
			told.check(t, fmt.Sprintf("subscriber %d", i), b)
			// The client drops duplicates and repairs gaps: the server had sent neither.
			if st := clients[i].Stats(); st.Gaps != 0 || st.Duplicates != 0 {
				t.Errorf("subscriber %d: %+v", i, st)
			}
		}
	})
}

// Subscriptions begin at positions behind a head that moves all the time: each is joined to it without seam.
func TestJoinsUnderLoad(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, change)
		const sockets, joins, each = 4, 40, 40
		g.signIn("first").publish("chat.a", `0`) // the stream is there, and all of it is one channel
		js, err := jetstream.New(ns.Conn(), jetstream.WithPublishAsyncMaxPending(64))
		if err != nil {
			t.Fatal(err)
		}
		var work, publisher sync.WaitGroup
		var done atomic.Bool
		publisher.Go(func() {
			for !done.Load() {
				if _, err := js.PublishAsync("chat.a", []byte(`"on and on"`), jetstream.WithStallWait(wait)); err != nil {
					t.Error(err)
					return
				}
				if js.PublishAsyncPending() > 16 { // so that the sockets are at the head at times
					<-js.PublishAsyncComplete()
				}
			}
		})
		for i := range sockets {
			r := g.signIn("joiner")
			work.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(i), 5))
				pos := uint64(0)
				for range joins {
					from := pos - min(pos, rnd.Uint64N(20))
					head := r.must("subscribe", fmt.Sprintf(`"channel":"chat.a","since":%d`, from)).Subscribe.Seq
					if head > from+2*each { // so far behind one would read all day
						from = head
						r.must("unsubscribe", `"channel":"chat.a"`)
						r.queued = nil
						r.must("subscribe", fmt.Sprintf(`"channel":"chat.a","since":%d`, from))
					}
					for pos = from; pos < from+each; pos++ {
						if m := r.message(); m.Seq != pos+1 || m.Prev != pos {
							t.Errorf("%d behind %d came at %d", m.Seq, m.Prev, pos)
							return
						}
					}
					r.must("unsubscribe", `"channel":"chat.a"`)
					r.queued = nil
				}
			})
		}
		work.Wait()
		done.Store(true)
		publisher.Wait()
		<-js.PublishAsyncComplete()
		if n := g.metric("jetwire_holes_total"); n != 0 {
			t.Errorf("%v holes in a feed without a loss", n)
		}
	})
}

// A socket that reads nothing while much arrives is not thrown out and costs others nothing; afterwards it gets everything.
func TestSlowReader(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		const messages, size = 20_000, 256
		g := start(t, ns, change)
		slow := g.signIn("slow")
		_ = slow.conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		slow.must("subscribe", `"channel":"chat.a"`)
		var live [3]*inbox
		for i := range live {
			live[i] = &inbox{}
			if _, err := g.dial("live").Subscribe(t.Context(), "chat.a", live[i].options()); err != nil {
				t.Fatal(err)
			}
		}
		js, err := jetstream.New(ns.Conn(), jetstream.WithPublishAsyncMaxPending(1000))
		if err != nil {
			t.Fatal(err)
		}
		for n := range messages {
			body := fmt.Sprintf("\"%*d\"", size-2, n)
			for {
				_, err := js.PublishAsync("chat.a", []byte(body), jetstream.WithStallWait(wait))
				if err == nil {
					break
				}
				t.Fatal(err)
			}
		}
		for i, b := range live {
			eventually(t, "live subscribers to have all", func() bool { return b.n.Load() == messages })
			for n, m := range b.got {
				if string(m.Body) != fmt.Sprintf("\"%*d\"", size-2, n) {
					t.Fatalf("live %d: message %d is %s", i, n, m.Body)
				}
			}
		}
		if n := g.metric("jetwire_slow_sockets_total"); n < 1 {
			t.Errorf("the slow socket was never full: %v", n)
		}
		last := uint64(0)
		for n := range messages {
			m := slow.message()
			if string(m.Body) != fmt.Sprintf("\"%*d\"", size-2, n) || m.Prev != last {
				t.Fatalf("message %d behind %d: %d behind %d, %s", n, last, m.Seq, m.Prev, m.Body)
			}
			last = m.Seq
		}
		slow.publish("chat.a", `"live again"`)
		if m := slow.message(); string(m.Body) != `"live again"` {
			t.Errorf("%s", m.Body)
		}
	})
}
