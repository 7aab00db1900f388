package client

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// A handler that is stuck: the reader waits, then gives the subscription back, and pings are answered all the time. When the handler
// goes on, so does the subscription, with nothing lost and nothing twice.
func TestSlowHandler(t *testing.T) {
	small := func(o *Options) { o.QueueMessages = 10 }
	connected(t, small, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		sub := subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		for i := range uint64(30) {
			pc.message("a.b", i+1, i)
		}
		for range 5 {
			began := time.Now()
			pc.raw(ws.NewPingFrame(nil))
			<-pc.pongs
			if d := time.Since(began); d > 10*time.Second {
				t.Fatalf("a ping was answered after %v", d)
			}
			time.Sleep(20 * time.Second)
		}
		pc.expect(wire.OpUnsubscribe)
		pc.quiet() // it is asked for again when the queue is empty
		c.mu.Lock()
		if n := len(sub.queue); n > 10 {
			t.Errorf("%d messages are queued", n)
		}
		c.mu.Unlock()
		close(s.hold)
		got := pc.subscribed("e1", 30)
		for i := got.Since; i < 30; i++ {
			pc.message("a.b", i+1, i)
		}
		synctest.Wait()
		if all := s.take(); len(all) != 30 || all[0] != "1" || all[29] != "30" {
			t.Errorf("handed on %v", all)
		}
		if n := c.Stats(); n.Sheds != 1 || n.Gaps != 0 {
			t.Errorf("%+v", n)
		}
	})
}

// A handler that is merely slower than the server: the reader waits for it, and nothing is sent twice.
func TestBackPressure(t *testing.T) {
	small := func(o *Options) { o.QueueMessages = 10 }
	connected(t, small, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		o := s.options()
		hand := o.OnMessage
		o.OnMessage = func(m Message) { time.Sleep(time.Millisecond); hand(m) }
		subscribe(t, c, pc, "a.b", "e1", 0, o)
		for i := range uint64(200) {
			pc.message("a.b", i+1, i)
		}
		time.Sleep(time.Second)
		if all := s.take(); len(all) != 200 || c.Stats().Sheds != 0 {
			t.Errorf("%d messages, %+v", len(all), c.Stats())
		}
		pc.quiet()
	})
}

// A handler may wait for the server although the queue behind it is full.
func TestHandlerPublishes(t *testing.T) {
	small := func(o *Options) { o.QueueMessages = 4 }
	connected(t, small, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		o := s.options()
		hand := o.OnMessage
		o.OnMessage = func(m Message) {
			if _, err := c.Publish(t.Context(), "a.c", m.Body, PublishOptions{}); err != nil {
				t.Error(err)
			}
			hand(m)
		}
		subscribe(t, c, pc, "a.b", "e1", 0, o)
		pc.messages("a.b", 0, 20) // the log, sent from wherever a subscribe asks; the answers to publishes are behind it
		began := time.Now()
		for answered := 0; answered < 20; {
			cmd := <-pc.commands
			switch cmd.Op {
			case wire.OpPublish:
				answered++
				pc.answer(cmd, 1, false)
			case wire.OpSubscribe:
				pc.send(`{"id":%d,"subscribe":{"channel":"a.b","epoch":"e1","seq":20,"qos":1}}`, cmd.ID)
				pc.messages("a.b", cmd.Subscribe.Since, 20)
			}
		}
		var want []string
		for i := range 20 {
			want = append(want, fmt.Sprint(i+1))
		}
		s.want(t, want...)
		if d := time.Since(began); d > 5*time.Second || c.Stats().Sheds == 0 {
			t.Errorf("it took %v, %+v", d, c.Stats())
		}
	})
}

// Messages that are not stored cannot be sent again: when the queue is full they are dropped and counted.
func TestLiveMessagesAreDroppedWhenTheQueueIsFull(t *testing.T) {
	small := func(o *Options) { o.QueueMessages = 4 }
	connected(t, small, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		for i := range 10 {
			pc.send(`{"message":{"channel":"a.b","data":%d}}`, i)
			synctest.Wait()
		}
		close(s.hold)
		s.want(t, "0", "1", "2", "3", "4")
		if n := c.Stats().Dropped; n != 5 {
			t.Errorf("%d were dropped", n)
		}
	})
}

// What was received before the connection was lost is still handed on, and the resumption is behind it.
func TestQueueOutlivesItsConnection(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		sub := subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		for i := range uint64(5) {
			pc.message("a.b", i+1, i)
		}
		synctest.Wait()
		pc.cut()
		pc = p.welcome()
		if got := pc.subscribed("e1", 5); got.Since != 5 {
			t.Errorf("resumed from %+v", got)
		}
		if sub.Position().Seq != 0 {
			t.Errorf("nothing was handed on, and the position is %v", sub.Position())
		}
		close(s.hold)
		s.want(t, "1", "2", "3", "4", "5")
	})
}

// A connection that ends while the reader waits for room: the rest of what was read is not taken for a gap in what the server sent.
func TestAConnectionThatEndsWhileTheQueueIsFull(t *testing.T) {
	small := func(o *Options) { o.QueueMessages = 4 }
	connected(t, small, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		pc.message("a.b", 1, 0)
		synctest.Wait() // the handler holds it
		var frame []byte
		for i := range uint64(10) {
			m := wire.Message{Channel: "a.b", Seq: i + 2, Prev: i + 1, Body: fmt.Append(nil, i+2)}
			frame = wire.AppendMessagePush(frame, &m)
		}
		pc.raw(ws.NewTextFrame(frame))
		synctest.Wait()
		c.mu.Lock()
		cn := c.conn
		c.mu.Unlock()
		cn.fail(errSilent)
		pc = p.welcome()
		if got := pc.subscribed("e1", 11); got.Since != 5 {
			t.Errorf("resumed from %+v", got)
		}
		close(s.hold)
		for i := uint64(5); i < 11; i++ {
			pc.message("a.b", i+1, i)
		}
		s.want(t, "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11")
		if n := c.Stats(); n.Gaps != 0 || n.Repairs != 0 {
			t.Errorf("%+v", n)
		}
	})
}
