package client

import (
	"flag"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Every run tries the same programs, so that none fails by chance; -rapid.seed=0 tries others.
func init() { _ = flag.Set("rapid.seed", "1") }

// model is a server of one durable subscription whose every misfortune is drawn: a log, what is acknowledged, and what has been sent.
type model struct {
	t   *testing.T
	p   *peer
	pc  *peerConn
	qos int

	app *taken // nil while there is none

	mu    sync.Mutex // of log, fault and the application's; short, since it stops a bubble's clock
	fault string     // what went wrong first

	log    []uint64 // sequences, with holes
	first  int      // index of the oldest that the log holds
	seq    uint64
	acked  uint64
	stored uint64 // what of acked outlives a crash
	cursor uint64 // everything up to here was sent, or passed over
	shown  uint64 // where the cursor was before it began to pass over in silence; not below it: it has not
	top    uint64 // the highest ever sent on this connection
	held   bool   // the record has the subscription
	closed bool   // the client's process is gone
}

const modelChannel, modelUnacked = "a.b", 16

func (m *model) failf(format string, args ...any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failLocked(format, args...)
}

func (m *model) failLocked(format string, args ...any) {
	if m.fault == "" {
		m.fault = fmt.Sprintf(format, args...)
	}
}

// prev returns the sequence before log[i].
func (m *model) prev(i int) uint64 {
	if i == 0 {
		return 0
	}
	return m.log[i-1]
}

// send sends up to n messages, or passes over them in silence.
func (m *model) send(n int, silently bool) {
	m.pass()
	unacked := 0
	for i := m.first; i < len(m.log) && n > 0; i++ {
		switch {
		case m.log[i] <= m.acked:
		case unacked >= modelUnacked:
			return
		case m.log[i] <= m.cursor:
			unacked++
		default:
			if silently {
				m.shown = min(m.shown, m.cursor)
			} else {
				m.shown = m.log[i]
				m.pc.message(modelChannel, m.log[i], m.prev(i))
			}
			m.cursor = m.log[i]
			m.top = max(m.top, m.cursor)
			unacked++
			n--
		}
	}
}

// pass tells of what the log has lost before the cursor came to it, and of what was passed over in silence just before: a client cannot
// tell from a gap that begins further on, since sequences have holes.
func (m *model) pass() {
	if m.first == 0 {
		return
	}
	if to := m.log[m.first-1]; m.cursor < to {
		from := max(min(m.shown, m.cursor), m.acked) + 1
		m.pc.send(`{"gap":{"channel":%q,"epoch":"e1","from":%d,"to":%d,"reason":"retention"}}`, modelChannel, from, to)
		m.cursor, m.shown, m.top = to, to, max(m.top, to)
	}
}

// serve does the commands that have come, and welcomes the client back if it has gone by itself.
func (m *model) serve() {
	for {
		synctest.Wait()
		select {
		case c := <-m.pc.commands:
			m.command(c)
			continue
		default:
		}
		select {
		case <-m.pc.ended:
			if len(m.pc.commands) > 0 {
				continue
			}
			if m.closed {
				return
			}
			m.welcome()
		default:
			return
		}
	}
}

func (m *model) command(c wire.Command) {
	switch c.Op {
	case wire.OpAck:
		switch {
		case !m.held || c.Ack.Channel != modelChannel || c.Ack.Epoch != "e1":
			m.failf("the ack %+v", c.Ack)
		case c.Ack.Seq < m.acked:
			m.failf("the ack of %d is behind %d", c.Ack.Seq, m.acked)
		case c.Ack.Seq > m.top:
			m.failf("the ack of %d is beyond %d", c.Ack.Seq, m.top)
		case m.app != nil && c.Ack.Seq > m.app.upTo():
			m.failf("the ack of %d, which the application does not have", c.Ack.Seq)
		}
		m.acked = max(m.acked, c.Ack.Seq)
		m.cursor = max(m.cursor, m.acked)
		if m.qos == 2 {
			m.stored = m.acked
		}
		if c.ID != 0 {
			m.pc.send(`{"id":%d,"ack":{"channel":%q,"seq":%d}}`, c.ID, modelChannel, c.Ack.Seq)
		}
	case wire.OpSubscribe:
		if !c.Subscribe.Resume {
			c.Subscribe.Since = m.seq
		}
		m.held, m.acked, m.stored, m.cursor, m.top = true, c.Subscribe.Since, c.Subscribe.Since, c.Subscribe.Since, c.Subscribe.Since
		m.pc.send(`{"id":%d,"subscribe":{"channel":%q,"epoch":"e1","seq":%d,"qos":%d}}`, c.ID, modelChannel, m.seq, m.qos)
	default:
		m.failf("the client sent %v", c.Op)
	}
}

// welcome takes the client's next connection.
func (m *model) welcome() {
	m.acked = m.stored
	m.cursor, m.top = m.acked, m.acked
	var restored []string
	if m.held {
		restored = append(restored, held(modelChannel, m.qos, "e1", m.acked))
	}
	m.pc = m.p.resume(restored...)
}

// taken is what an application gets.
type taken struct {
	m    *model
	last uint64 // handed on up to here …
	gap  uint64 // … and lost up to here
	slow time.Duration
}

// upTo returns the sequence above which the application has nothing.
func (a *taken) upTo() uint64 {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	return max(a.last, a.gap)
}

func (a *taken) pause(d time.Duration) {
	a.m.mu.Lock()
	defer a.m.mu.Unlock()
	a.slow = d
}

func (a *taken) options(qos int) SubscribeOptions {
	return SubscribeOptions{
		QoS: QoSOf(wire.QoS(qos)),
		OnMessage: func(msg Message) {
			a.m.mu.Lock()
			slow := a.slow
			a.m.mu.Unlock()
			time.Sleep(slow)
			a.m.mu.Lock()
			defer a.m.mu.Unlock()
			want := uint64(0)
			for _, seq := range a.m.log {
				if seq > max(a.last, a.gap) {
					want = seq
					break
				}
			}
			if msg.Seq != want || msg.Redelivered {
				a.m.failLocked("handed on %d (again: %v), want %d", msg.Seq, msg.Redelivered, want)
			}
			a.last = msg.Seq
		},
		OnGap: func(g Gap) {
			a.m.mu.Lock()
			defer a.m.mu.Unlock()
			if g.From > a.last+1 && g.From > a.gap+1 {
				a.m.failLocked("the gap %+v after %d leaves something out", g, a.last)
			}
			a.gap = max(a.gap, g.To)
		},
		OnError: func(err error) { a.m.failf("ended: %v", err) },
	}
}

// Whatever is sent again, passed over, cut, forgotten and restored, the application sees each message of the log once and in order, and what it
// does not see was named as a gap; and no ack is one that a server refuses.
func TestDurableDelivery(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		qos := rapid.IntRange(1, 2).Draw(rt, "qos")
		queue := rapid.SampledFrom([]int{4, 40, 4000}).Draw(rt, "queue bytes")
		steps := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) [2]int {
			return [2]int{rapid.IntRange(0, 15).Draw(rt, "what"), rapid.IntRange(1, 20).Draw(rt, "n")}
		}), 1, 60).Draw(rt, "steps")
		fault := ""
		synctest.Test(t, func(t *testing.T) { fault = runModel(t, qos, queue, steps) })
		if fault != "" {
			rt.Fatal(fault)
		}
	})
}

// A gap that comes behind messages the client has dropped, its queue being full, must not move the position over them: they are sent again.
// Found by TestDurableDelivery.
func TestGapBehindDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := runModel(t, 2, 4, [][2]int{
			{0, 16}, {15, 1}, {0, 2}, {3, 13}, {1, 1}, {14, 10}, {0, 20}, {0, 10}, {3, 12}, {2, 15}, {0, 6}, {1, 1}, {3, 1}, {5, 13}, {3, 10},
			{5, 20}, {3, 20}, {3, 12}, {13, 3}, {5, 5}, {1, 19}, {10, 15}, {4, 2}, {5, 3}, {5, 20}, {4, 3}, {6, 19}, {15, 1},
		})
		if fault != "" {
			t.Fatal(fault)
		}
	})
}

func runModel(t *testing.T, qos, queue int, steps [][2]int) string {
	m := &model{t: t, p: newPeer(t), qos: qos}
	o := m.p.options()
	o.Device, o.QueueBytes = "laptop", queue
	dial := func() *Client {
		c, pc := m.p.dialTo(o, func() *peerConn { m.welcome(); return m.pc })
		m.pc, m.closed = pc, false
		return c
	}
	c := dial()
	app := &taken{m: m}
	m.app = app
	subscribed := make(chan error, 1)
	subscribe := func() {
		go func() {
			_, err := c.Subscribe(t.Context(), modelChannel, app.options(qos))
			subscribed <- err
		}()
		m.serve()
		if err := <-subscribed; err != nil {
			m.failf("subscribe: %v", err)
		}
	}
	subscribe()
	for _, step := range steps {
		switch what, n := step[0], step[1]; what {
		case 0, 1, 2:
			m.mu.Lock()
			for range n {
				m.seq += uint64(1 + n%3)
				m.log = append(m.log, m.seq)
			}
			m.mu.Unlock()
		case 3, 4, 5, 6:
			m.send(n, false)
		case 7: // ack_wait is over
			m.cursor = m.acked
		case 8: // messages are lost on the way
			m.send(n%3, true)
		case 9: // cut, with whatever is on its way in either direction
			m.pc.cut()
			m.welcome()
		case 10: // the server crashes: at QoS 1 acks may be lost
			m.pc.cut()
			m.welcome()
			m.send(n, false)
		case 11: // the server forgets the device
			m.serve()
			m.pc.cut()
			m.held = false
			m.welcome()
		case 12:
			time.Sleep(time.Duration(n) * 20 * time.Millisecond)
		case 13: // retention
			m.first = max(m.first, len(m.log)-10*n)
		case 14:
			app.pause(time.Duration(n%4) * 30 * time.Millisecond)
		case 15: // another process of the same device
			m.serve()
			m.pc.cut()
			m.closed = true
			c.Close()
			acked := m.acked
			for len(m.p.dials) > 0 { // it had come back already
				<-m.p.dials
			}
			c = dial()
			app = &taken{m: m, last: m.acked}
			m.app = app
			if m.acked > acked {
				m.failf("restored at %d, acknowledged %d", m.acked, acked)
			}
			subscribe()
		}
		if what := step[0]; what != 9 && what != 10 {
			m.serve()
		}
		if m.qos == 1 && step[1]%2 == 0 {
			m.stored = m.acked // the second after which acks are stored is over
		}
	}
	app.pause(0)
	end := uint64(0)
	if len(m.log) > 0 {
		end = m.log[len(m.log)-1]
	}
	for range 200 {
		m.serve()
		m.send(modelUnacked, false)
		time.Sleep(time.Second)
		m.serve()
		if m.cursor >= end && app.upTo() < end {
			m.cursor = m.acked
		}
	}
	if got := app.upTo(); got < end {
		m.failf("the application has %d of %d, the server knows of %d", got, end, m.acked)
	}
	if m.acked < end {
		m.failf("acknowledged are %d of %d", m.acked, end)
	}
	m.closed = true
	c.Close()
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.fault
}
