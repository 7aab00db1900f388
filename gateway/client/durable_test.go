package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// durable runs f in a bubble with a client in a durable session, of which the server knows what is restored.
func durable(t *testing.T, change func(*Options), restored []string, f func(t *testing.T, p *peer, c *Client, pc *peerConn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		o := p.options()
		o.Device = "laptop"
		if change != nil {
			change(&o)
		}
		c, pc := p.dialTo(o, func() *peerConn { return p.resume(restored...) })
		defer c.Close()
		f(t, p, c, pc)
	})
}

// acked expects acks, in one step or several, up to seq. It answers those that want an answer, and returns the last one.
func (pc *peerConn) acked(channel string, seq uint64) wire.Command {
	pc.t.Helper()
	for last := uint64(0); ; {
		c := pc.expect(wire.OpAck)
		if c.Ack.Channel != channel || c.Ack.Seq > seq || c.Ack.Seq < last {
			pc.t.Fatalf("acknowledged %+v behind %d, want %s up to %d", c.Ack, last, channel, seq)
		}
		last = c.Ack.Seq
		if c.ID != 0 {
			pc.send(`{"id":%d,"ack":{"channel":%q,"seq":%d}}`, c.ID, channel, last)
		}
		if last == seq {
			return c
		}
	}
}

// adopt subscribes to what the server has restored.
func adopt(t *testing.T, c *Client, channel string, o SubscribeOptions) *Subscription {
	t.Helper()
	s, err := c.Subscribe(t.Context(), channel, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestDeviceIsNamed(t *testing.T) {
	var sessions []Session
	change := func(o *Options) { o.OnSession = func(s Session) { sessions = append(sessions, s) } }
	durable(t, change, []string{held("user.u", 1, "e1", 4)}, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		pc.cut()
		p.resume()
		synctest.Wait()
		want := Session{ID: "s", User: "u", Device: "laptop", Resumed: true, AckWait: 30 * time.Second, MaxUnacked: 16,
			Restored: []Restored{{Channel: "user.u", QoS: 1, Epoch: "e1", Since: 4}}}
		if len(sessions) != 2 || fmt.Sprint(sessions[0]) != fmt.Sprint(want) {
			t.Fatalf("%+v", sessions)
		}
		if s := c.Session(); s.Resumed || len(s.Restored) != 0 || len(c.Restored()) != 0 || c.Stats().Connects != 2 {
			t.Errorf("the server has forgotten the device: %+v, %+v", s, c.Restored())
		}
	})
	for _, device := range []string{"a b", strings.Repeat("x", 65), "é"} {
		if _, err := Dial(t.Context(), Options{URL: "ws://x/", Device: device}); codeOf(err) != wire.BadRequest {
			t.Errorf("%q: %v", device, err)
		}
	}
}

// What is restored is held until somebody asks for it, and nothing of it is acknowledged before.
func TestRestoredIsAdopted(t *testing.T) {
	restored := []string{held("a.b", 1, "e1", 10), held("user.u", 1, "e2", 0), held("x.y", 0, "", 0)}
	durable(t, nil, restored, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		pc.message("a.b", 11, 10)
		pc.message("a.b", 12, 11)
		pc.message("user.u", 5, 0)
		time.Sleep(time.Second)
		pc.quiet()
		if got := fmt.Sprint(c.Restored()); got != "[{a.b 1 e1 10} {user.u 1 e2 0} {x.y 0  0}]" {
			t.Errorf("restored %s", got)
		}
		var s, in sink
		sub := adopt(t, c, "a.b", s.options())
		s.want(t, "11", "12")
		pc.acked("a.b", 12)
		pc.message("a.b", 14, 12)
		s.want(t, "14")
		time.Sleep(ackEvery)
		pc.acked("a.b", 14)
		if sub.Position() != (Position{"e1", 14}) {
			t.Error(sub.Position())
		}
		if _, err := c.Inbox(t.Context(), in.options()); err != nil {
			t.Fatal(err)
		}
		in.want(t, "5")
		pc.acked("user.u", 5)
		if _, err := c.Subscribe(t.Context(), "a.b", SubscribeOptions{}); codeOf(err) != wire.AlreadySubscribed {
			t.Error(err)
		}
		if got := fmt.Sprint(c.Restored()); got != "[{x.y 0  0}]" {
			t.Errorf("restored %s", got)
		}
		pc.quiet()
	})
}

// A server that sends more than anybody takes: what is held has a bound, and the rest is asked for once there is room.
func TestRestoredIsHeldWithinBounds(t *testing.T) {
	small := func(o *Options) { o.QueueBytes = 4 }
	durable(t, small, []string{held("a.b", 1, "e1", 0)}, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		pc.messages("a.b", 0, 9)
		synctest.Wait()
		c.mu.Lock()
		if n := len(c.subs["a.b"].queue); n != 4 {
			t.Errorf("%d are held", n)
		}
		c.mu.Unlock()
		var s sink
		adopt(t, c, "a.b", s.options())
		pc.acked("a.b", 4)
		<-pc.ended // to have the rest sent again at once
		pc = p.resume(held("a.b", 1, "e1", 4))
		pc.messages("a.b", 4, 8)
		s.want(t, "1", "2", "3", "4", "5", "6", "7", "8")
		if c.Stats().Gaps != 0 {
			t.Errorf("%+v", c.Stats())
		}
	})
}

// The process lives on: whatever the server sends again is known, and acknowledged anew if it was handled.
func TestRestoredGoesOn(t *testing.T) {
	for _, qos := range []QoS{AtLeastOnce, ExactlyOnce} {
		durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
			var s sink
			o := s.options()
			o.QoS = qos
			subscribe(t, c, pc, "a.b", "e1", 0, o)
			pc.messages("a.b", 0, 5)
			s.want(t, "1", "2", "3", "4", "5")
			pc.expect(wire.OpAck) // and it is lost
			pc.cut()
			pc = p.resume(held("a.b", int(qos)-1, "e1", 2))
			synctest.Wait()
			pc.quiet() // beyond what was sent on this connection nothing can be acknowledged
			pc.messages("a.b", 2, 4)
			time.Sleep(ackEvery)
			pc.acked("a.b", 4)
			pc.messages("a.b", 4, 6)
			s.want(t, "6")
			time.Sleep(ackEvery)
			if got := pc.acked("a.b", 6); (got.ID != 0) != (qos == ExactlyOnce) {
				t.Errorf("%v: the ack %+v", qos, got)
			}
			if n := c.Stats(); n.Gaps != 0 || n.Duplicates != 3 {
				t.Errorf("%+v", n)
			}
			pc.quiet()
		})
	}
}

// The server has forgotten the device, or only a subscription: it is subscribed to from what was handled.
func TestNotRestoredIsSubscribedAnew(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		subscribe(t, c, pc, "a.b", "e1", 10, s.options())
		pc.messages("a.b", 10, 14)
		s.hold <- struct{}{}
		s.want(t, "11")
		pc.cut()
		pc = p.resume()
		got := pc.subscribed("e1", 14)
		if got.Since > 11 || got.Since < 10 || got.Epoch != "e1" || !got.Resume {
			t.Errorf("asked for %+v: 12 to 14 were not handled", got)
		}
		pc.messages("a.b", got.Since, 15)
		close(s.hold)
		s.want(t, "12", "13", "14", "15")
	})
}

// A subscription that was asked for while there was no connection, or whose answer was lost, is the one that the server restores.
func TestSubscribeMeetsItsRestoration(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		done := make(chan error)
		go func() {
			_, err := c.Subscribe(t.Context(), "a.b", s.options())
			done <- err
		}()
		pc.expect(wire.OpSubscribe)
		pc.cut()
		pc = p.resume(held("a.b", 1, "e1", 7))
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		pc.message("a.b", 8, 7)
		s.want(t, "8")
		pc.acked("a.b", 8)
	})
}

// Another QoS, or another position, than the one that the server has.
func TestRestoredIsReplaced(t *testing.T) {
	restored := []string{held("a.b", 1, "e1", 10), held("a.c", 1, "e1", 10)}
	durable(t, nil, restored, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		pc.message("a.b", 11, 10)
		synctest.Wait()
		var s, u sink
		o := s.options()
		o.QoS = ExactlyOnce
		done := make(chan error)
		ask := func(channel string, o SubscribeOptions) {
			_, err := c.Subscribe(t.Context(), channel, o)
			done <- err
		}
		go ask("a.b", o)
		pc.expect(wire.OpUnsubscribe)
		if got := pc.subscribed("e1", 11); got != (wire.Subscribe{Channel: "a.b", QoS: 2, Since: 10, Resume: true, Epoch: "e1"}) {
			t.Errorf("asked for %+v", got)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		pc.message("a.b", 11, 10)
		s.want(t, "11")
		pc.acked("a.b", 11)
		o = u.options()
		o.Since, o.Epoch = ptr(uint64(3)), "e1"
		go ask("a.c", o)
		pc.expect(wire.OpUnsubscribe)
		pc.expect(wire.OpSubscribe)
		pc.cut() // it is not known what the server has done: once more
		pc = p.resume(held("a.b", 2, "e1", 11), held("a.c", 1, "e1", 10))
		pc.expect(wire.OpUnsubscribe)
		if got := pc.subscribed("e1", 11); got.Since != 3 {
			t.Errorf("asked for %+v", got)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		pc.quiet()
	})
}

func TestManualAck(t *testing.T) {
	for _, qos := range []QoS{AtLeastOnce, ExactlyOnce} {
		durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
			var s sink
			o := s.options()
			o.QoS, o.ManualAck = qos, true
			o.OnMessage = func(m Message) {
				if m.Redelivered {
					s.add("again %d", m.Seq)
					return
				}
				s.add("%d", m.Seq)
			}
			sub := subscribe(t, c, pc, "a.b", "e1", 0, o)
			pc.messages("a.b", 0, 4)
			s.want(t, "1", "2", "3", "4")
			time.Sleep(time.Minute)
			pc.quiet()
			sub.Handled(1)
			pc.acked("a.b", 1)
			sub.Handled(1) // nothing new
			sub.Handled(9) // never seen
			done := make(chan error, 1)
			go func() { done <- sub.Ack(t.Context(), 2) }()
			if got := pc.acked("a.b", 2); got.ID == 0 {
				t.Error("Ack wants an answer")
			}
			if err := <-done; err != nil {
				t.Error(err)
			}
			if err := sub.Ack(t.Context(), 1); err != nil { // it is
				t.Error(err)
			}
			if err := sub.Ack(t.Context(), 5); codeOf(err) != wire.AckAhead {
				t.Error(err)
			}
			pc.quiet()
			// ack_wait is over: everything behind 2 comes again.
			pc.messages("a.b", 2, 5)
			if qos == AtLeastOnce {
				s.want(t, "again 3", "again 4", "5")
			} else {
				s.want(t, "5")
			}
			if sub.Position().Seq != 5 {
				t.Error(sub.Position())
			}
			sub.Handled(5)
			pc.acked("a.b", 5)
			pc.messages("a.b", 2, 5) // it was on its way
			s.want(t)
			time.Sleep(ackEvery)
			pc.acked("a.b", 5)
			// After a reconnect the client knows what it has handed on, acknowledged or not.
			pc.messages("a.b", 5, 8)
			s.want(t, "6", "7", "8")
			pc.cut()
			pc = p.resume(held("a.b", int(qos)-1, "e1", 5))
			pc.messages("a.b", 5, 9)
			s.want(t, "9")
			pc.quiet()
			pc.messages("a.b", 5, 9) // ack_wait, on this connection
			if qos == AtLeastOnce {
				s.want(t, "again 6", "again 7", "again 8", "again 9")
			} else {
				s.want(t)
			}
		})
	}
}

// An application that is stuck while the server sends again and again: a message is queued for the second time only once.
func TestRedeliveriesDoNotPileUp(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		o := s.options()
		o.ManualAck = true
		sub := subscribe(t, c, pc, "a.b", "e1", 0, o)
		pc.messages("a.b", 0, 3)
		for range 3 {
			s.hold <- struct{}{}
		}
		s.want(t, "1", "2", "3")
		pc.message("a.b", 4, 3)
		synctest.Wait()
		for range 10 {
			pc.messages("a.b", 0, 4)
			synctest.Wait()
		}
		c.mu.Lock()
		if n := len(sub.queue); n != 3 {
			t.Errorf("%d are queued", n)
		}
		c.mu.Unlock()
		close(s.hold)
		s.want(t, "4", "1", "2", "3")
	})
}

// Ack outlives its connection, and is not told before the server has sent again what it covers.
func TestAckIsToldAgain(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		o := SubscribeOptions{QoS: ExactlyOnce, ManualAck: true}
		sub := subscribe(t, c, pc, "a.b", "e1", 0, o)
		pc.messages("a.b", 0, 4)
		synctest.Wait()
		done := make(chan error, 1)
		go func() { done <- sub.Ack(t.Context(), 3) }()
		pc.expect(wire.OpAck)
		pc.cut()
		pc = p.resume(held("a.b", 2, "e1", 0))
		pc.quiet()
		pc.messages("a.b", 0, 4)
		pc.refuse(pc.expect(wire.OpAck), wire.Unavailable) // not stored: later
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("not stored, and Ack returns %v", err)
		default:
		}
		pc.acked("a.b", 3)
		if err := <-done; err != nil {
			t.Error(err)
		}
		// Stored, and the answer lost: the restored position says so.
		go func() { done <- sub.Ack(t.Context(), 4) }()
		pc.expect(wire.OpAck)
		pc.cut()
		pc = p.resume(held("a.b", 2, "e1", 4))
		if err := <-done; err != nil {
			t.Error(err)
		}
		pc.message("a.b", 5, 4)
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := sub.Ack(ctx, 5); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		pc.expect(wire.OpAck)
		go func() { done <- sub.Ack(t.Context(), 5) }()
		synctest.Wait()
		pc.send(`{"gap":{"channel":"a.b","epoch":"e2","from":0,"reason":"epoch"}}`)
		if err := <-done; codeOf(err) != wire.WrongEpoch {
			t.Error(err)
		}
	})
}

// However fast messages come and are handled, acks are few: one after a quarter of what may be unacknowledged, or after a while.
func TestAcksAreCoalesced(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		o := s.options()
		o.OnMessage = func(m Message) {}
		subscribe(t, c, pc, "a.b", "e1", 0, o)
		for i := range uint64(1000) {
			pc.message("a.b", i+1, i)
			time.Sleep(20 * time.Millisecond)
		}
		time.Sleep(ackEvery)
		if n := c.Stats().Acks; n < 150 || n > 260 { // 20 s
			t.Errorf("%d acks", n)
		}
		before := c.Stats().Acks
		for i := range uint64(1000) {
			pc.message("a.b", i+1001, i+1000)
		}
		time.Sleep(ackEvery)
		if n := c.Stats().Acks - before; n > 260 {
			t.Errorf("%d acks of 1000 messages", n)
		}
		pc.acked("a.b", 2000)
	})
}

// A client that is closed in order acknowledges what was taken just before.
func TestCloseAcknowledges(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s, u sink
		subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		o := u.options()
		o.QoS = ExactlyOnce
		subscribe(t, c, pc, "a.c", "e1", 0, o)
		pc.message("a.b", 1, 0)
		pc.acked("a.b", 1)
		pc.message("a.b", 2, 1)
		pc.message("a.c", 3, 0)
		pc.expect(wire.OpAck) // not answered
		pc.message("a.c", 4, 3)
		synctest.Wait()
		go c.Close()
		pc.acked("a.b", 2)
		pc.acked("a.c", 4)
		<-pc.ended
	})
}

func TestTakenOver(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		pc.close(wire.TakenOver, "a newer connection of this device")
		<-c.Done()
		if codeOf(c.Err()) != wire.TakenOver || !strings.Contains(c.Err().Error(), "newer connection") {
			t.Error(c.Err())
		}
		s.want(t, "error client: the server closed the connection: taken_over: a newer connection of this device")
		time.Sleep(time.Hour)
		if len(p.dials) != 0 {
			t.Error("it comes back")
		}
	})
}

func TestUnsubscribedPush(t *testing.T) {
	restored := []string{held("a.b", 1, "e1", 5), held("a.c", 1, "e1", 5), held("a.d", 1, "e1", 5)}
	durable(t, nil, restored, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s, u sink
		sub := adopt(t, c, "a.b", s.options())
		pc.message("a.b", 6, 5)
		pc.send(`{"unsubscribed":{"channel":"a.b","code":"permission_denied","message":"no more"}}`)
		pc.send(`{"unsubscribed":{"channel":"a.d","code":"permission_denied","message":"no more"}}`) // nobody has asked for it
		pc.send(`{"unsubscribed":{"channel":"z.z","code":"permission_denied","message":"no more"}}`)
		s.want(t, "6", "error permission_denied: no more")
		if codeOf(sub.Err()) != wire.PermissionDenied || len(c.Restored()) != 1 {
			t.Error(sub.Err(), c.Restored())
		}
		adopt(t, c, "a.c", u.options())
		pc.send(`{"unsubscribed":{"channel":"a.c","code":"unavailable","message":"later"}}`)
		for {
			if cmd := <-pc.commands; cmd.Op == wire.OpSubscribe { // behind the ack of a.b
				if cmd.Subscribe != (wire.Subscribe{Channel: "a.c", QoS: 1, Since: 5, Resume: true, Epoch: "e1"}) {
					t.Errorf("asked for %+v", cmd.Subscribe)
				}
				pc.send(`{"id":%d,"subscribe":{"channel":"a.c","epoch":"e1","seq":9,"qos":1}}`, cmd.ID)
				break
			}
		}
		pc.message("a.c", 7, 5)
		u.want(t, "7")
	})
}

// Unsubscribe means that the server forgets: without a connection it waits for one, and does not end what is subscribed to after it.
func TestUnsubscribeOutlivesItsConnection(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s, u sink
		sub := subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		done := make(chan error, 1)
		go func() { done <- sub.Unsubscribe(t.Context()) }()
		pc.expect(wire.OpUnsubscribe)
		pc.cut()
		again := make(chan error, 1)
		go func() {
			_, err := c.Subscribe(t.Context(), "a.b", u.options())
			again <- err
		}()
		pc = p.resume(held("a.b", 1, "e1", 0))
		pc.message("a.b", 1, 0) // of the old one
		un := pc.expect(wire.OpUnsubscribe)
		pc.send(`{"id":%d,"unsubscribe":{"channel":"a.b"}}`, un.ID)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if got := pc.subscribed("e1", 1); got.Resume {
			t.Errorf("asked for %+v", got)
		}
		if err := <-again; err != nil {
			t.Error(err)
		}
		pc.message("a.b", 2, 1)
		u.want(t, "2")
		s.want(t)
	})
}

// A message is missing: nothing is unsubscribed, since the server could forget the position. The connection is made anew.
func TestDurableGapIsRepaired(t *testing.T) {
	durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		subscribe(t, c, pc, "a.b", "e1", 10, s.options())
		pc.message("a.b", 11, 10)
		pc.message("a.b", 13, 12)
		pc.message("a.b", 14, 13)
		pc.acked("a.b", 11)
		<-pc.ended
		pc = p.resume(held("a.b", 1, "e1", 11))
		s.want(t, "11")
		pc.messages("a.b", 11, 14)
		s.want(t, "12", "13", "14")
		pc.acked("a.b", 14)
		if n := c.Stats(); n.Gaps != 1 || n.Repairs != 1 {
			t.Errorf("%+v", n)
		}
		// If it brings the same again, the loss is named.
		pc.message("a.b", 17, 16)
		<-pc.ended
		pc = p.resume(held("a.b", 1, "e1", 14))
		pc.message("a.b", 17, 16)
		s.want(t, "gap retention e1 15-16", "17")
	})
}

// A handler that is stuck behind a full queue: the subscription stays with the server, which sends again what was dropped.
func TestDurableSlowHandler(t *testing.T) {
	small := func(o *Options) { o.QueueBytes = 10 }
	durable(t, small, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		for i := range uint64(9) {
			pc.message("a.b", i+1, i)
		}
		pc.messages("a.b", 9, 20)
		time.Sleep(time.Minute)
		pc.quiet()
		if n := c.Stats(); n.Sheds == 0 || n.Gaps != 0 {
			t.Errorf("%+v", n)
		}
		close(s.hold)
		synctest.Wait()
		got := s.take()
		<-pc.ended
		since := uint64(len(got))
		pc = p.resume(held("a.b", 1, "e1", since))
		pc.messages("a.b", since, 20)
		synctest.Wait()
		if got = append(got, s.take()...); len(got) != 20 || got[19] != "20" {
			t.Errorf("handed on %v", got)
		}
	})
}

// The stream was made anew while the client was away: told by the position, by a push, or by both, it is one gap.
func TestRestoredInAnotherEpoch(t *testing.T) {
	for _, position := range []string{held("a.b", 1, "e2", 0), held("a.b", 1, "e1", 10)} {
		durable(t, nil, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
			var s sink
			sub := subscribe(t, c, pc, "a.b", "e1", 10, s.options())
			pc.cut()
			pc = p.resume(position)
			pc.send(`{"gap":{"channel":"a.b","epoch":"e2","from":0,"reason":"epoch"}}`)
			pc.message("a.b", 2, 0)
			s.want(t, "gap epoch e2 0-0", "2")
			if got := pc.acked("a.b", 2); got.Ack.Epoch != "e2" || sub.Position() != (Position{"e2", 2}) {
				t.Error(got.Ack, sub.Position())
			}
		})
	}
}

// A gap that was handed on is handled: the server is told, and does not begin before it next time.
func TestGapIsAcknowledged(t *testing.T) {
	durable(t, nil, []string{held("a.b", 1, "e1", 5)}, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		adopt(t, c, "a.b", s.options())
		pc.send(`{"gap":{"channel":"a.b","epoch":"e1","from":6,"to":40,"reason":"retention"}}`)
		s.want(t, "gap retention e1 6-40")
		pc.acked("a.b", 40)
	})
}

// A pattern's subscription has a position of its own, and a channel's beside it another.
func TestPatternsOverlap(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var one, all sink
		subscribe(t, c, pc, "o.1.s", "e1", 0, one.options())
		o := all.options()
		o.OnMessage = func(m Message) { all.add("%s %s %d", m.Pattern, m.Channel, m.Seq) }
		sub := subscribe(t, c, pc, "o.*.s", "e1", 0, o)
		pattern := func(channel string, seq, prev uint64) {
			pc.send(`{"message":{"channel":%q,"pattern":"o.*.s","seq":%d,"prev":%d,"data":1}}`, channel, seq, prev)
		}
		pc.message("o.1.s", 2, 0)
		pattern("o.1.s", 2, 0)
		pattern("o.2.s", 3, 2)
		pc.message("o.1.s", 4, 2)
		pattern("o.1.s", 4, 3)
		one.want(t, "2", "4")
		all.want(t, "o.*.s o.1.s 2", "o.*.s o.2.s 3", "o.*.s o.1.s 4")
		pattern("o.3.s", 7, 6) // 6 is missing in the pattern
		if un := pc.expect(wire.OpUnsubscribe); un.Unsubscribe.Channel != "o.*.s" {
			t.Errorf("%+v", un.Unsubscribe)
		}
		if got := pc.subscribed("e1", 7); got.Channel != "o.*.s" || got.Since != 4 {
			t.Errorf("asked for %+v", got)
		}
		pattern("o.3.s", 6, 4)
		pc.send(`{"gap":{"channel":"o.*.s","epoch":"e1","from":7,"to":9,"reason":"retention"}}`)
		all.want(t, "o.*.s o.3.s 6", "gap retention e1 7-9")
		one.want(t)
		if sub.Channel() != "o.*.s" || sub.Position().Seq != 9 {
			t.Error(sub.Channel(), sub.Position())
		}
		for _, bad := range []string{"*.b", ">", "a.>.b", "a.b*"} {
			if _, err := c.Subscribe(t.Context(), bad, SubscribeOptions{}); codeOf(err) != wire.BadChannel {
				t.Errorf("%s: %v", bad, err)
			}
		}
	})
}

// Restored subscriptions that make no sense are passed over.
func TestGarbageIsNotRestored(t *testing.T) {
	restored := []string{held("a", 1, "e1", 5), held("*.b", 1, "e1", 5), held("a.b", 1, "e1", 5), held("a.b", 1, "e1", 9), `{}`}
	durable(t, nil, restored, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		if got := fmt.Sprint(c.Restored()); got != "[{a.b 1 e1 9}]" {
			t.Errorf("restored %s", got)
		}
	})
}
