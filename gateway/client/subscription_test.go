package client

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// connected runs f in a bubble with a client that is connected to a script.
func connected(t *testing.T, change func(*Options), f func(t *testing.T, p *peer, c *Client, pc *peerConn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		o := p.options()
		if change != nil {
			change(&o)
		}
		c, pc := p.dial(o)
		defer c.Close()
		f(t, p, c, pc)
	})
}

func TestSubscribeFromTheHead(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		sub := subscribe(t, c, pc, "a.b", "e1", 10, s.options())
		if sub.Position() != (Position{"e1", 10}) {
			t.Error(sub.Position())
		}
		pc.message("a.b", 11, 10)
		pc.message("a.b", 14, 11)
		pc.message("a.b", 14, 11) // again
		pc.message("a.b", 11, 10)
		pc.send(`{"message":{"channel":"a.b","data":"live"}}`) // at most once: no place in the log
		pc.message("x.y", 15, 14)                              // nobody asked
		s.want(t, "11", "14", `"live"`)
		if sub.Position() != (Position{"e1", 14}) || c.Stats().Duplicates != 2 {
			t.Error(sub.Position(), c.Stats())
		}
		pc.quiet()
	})
}

// After a reconnect every subscription goes on behind what it has, and drops what comes twice.
func TestResumeAfterReconnect(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s, live, lossy sink
		subscribe(t, c, pc, "a.a", "e1", 0, s.options())
		subscribe(t, c, pc, "a.b", "e2", 7, live.options())
		o := lossy.options()
		o.QoS = AtMostOnce
		subscribe(t, c, pc, "a.c", "e3", 5, o)
		pc.message("a.a", 3, 0)
		pc.message("a.c", 9, 8) // skipped: that is what at most once means
		s.want(t, "3")
		lossy.want(t, "9")
		pc.cut()
		pc = p.welcome()
		for _, want := range []wire.Subscribe{
			{Channel: "a.a", QoS: 1, Since: 3, Resume: true, Epoch: "e1"},
			{Channel: "a.b", QoS: 1, Since: 7, Resume: true, Epoch: "e2"},
			{Channel: "a.c"},
		} {
			epochs := map[string]string{"a.a": "e1", "a.b": "e2", "a.c": "e3"}
			if got := pc.subscribed(epochs[want.Channel], 20); got != want {
				t.Errorf("asked for %+v, want %+v", got, want)
			}
		}
		pc.message("a.a", 3, 0)
		pc.message("a.a", 5, 3)
		pc.message("a.b", 8, 6)
		pc.message("a.c", 30, 29)
		s.want(t, "5")
		live.want(t, "8")
		lossy.want(t, "30")
	})
}

// A missing message: the subscription is made anew from its position. What was on its way before the new one is judged by itself.
func TestGapIsRepaired(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		subscribe(t, c, pc, "a.b", "e1", 10, s.options())
		pc.message("a.b", 11, 10)
		pc.message("a.b", 13, 12)
		pc.message("a.b", 14, 13) // on its way
		un := pc.expect(wire.OpUnsubscribe)
		s.want(t, "11")
		pc.send(`{"id":%d,"unsubscribe":{"channel":"a.b"}}`, un.ID)
		if got := pc.subscribed("e1", 14); got.Since != 11 || got.Epoch != "e1" || !got.Resume {
			t.Errorf("repaired from %+v", got)
		}
		pc.message("a.b", 12, 11)
		pc.message("a.b", 13, 12)
		pc.message("a.b", 14, 13)
		s.want(t, "12", "13", "14")
		if n := c.Stats(); n.Gaps != 1 || n.Repairs != 1 {
			t.Errorf("%+v", n)
		}
		pc.quiet()
	})
}

// An unsubscribe of the client's own that the server refused for now leaves the old subscription in the way of the new one.
func TestRepairInTheWayOfItself(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		subscribe(t, c, pc, "a.b", "e1", 10, s.options())
		pc.message("a.b", 13, 12)
		pc.refuse(pc.expect(wire.OpUnsubscribe), wire.Unavailable)
		pc.refuse(pc.expect(wire.OpSubscribe), wire.AlreadySubscribed)
		pc.expect(wire.OpUnsubscribe)
		pc.subscribed("e1", 13)
		pc.message("a.b", 12, 10)
		s.want(t, "12")
		pc.quiet()
	})
}

// If a repair brings the same again, the log has nothing there: the loss is named, and the subscription goes on.
func TestGapThatCannotBeRepaired(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		subscribe(t, c, pc, "a.b", "e1", 10, s.options())
		pc.message("a.b", 13, 12)
		pc.expect(wire.OpUnsubscribe)
		pc.subscribed("e1", 13)
		pc.message("a.b", 13, 12)
		pc.message("a.b", 14, 13)
		s.want(t, "gap retention e1 11-12", "13", "14")
		pc.quiet()
		pc.message("a.b", 16, 15) // a new one is repaired again
		pc.expect(wire.OpUnsubscribe)
		pc.expect(wire.OpSubscribe)
	})
}

func TestGapPushes(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		o := s.options()
		o.Since, o.Epoch = ptr(uint64(5)), "e1"
		sub := subscribe(t, c, pc, "a.b", "e1", 100, o)
		pc.send(`{"gap":{"channel":"a.b","epoch":"e1","from":6,"to":40,"reason":"retention"}}`)
		pc.message("a.b", 42, 40)
		pc.send(`{"gap":{"channel":"a.b","epoch":"e1","from":6,"to":40,"reason":"retention"}}`) // known
		pc.send(`{"gap":{"channel":"a.c","epoch":"e1","from":6,"to":40,"reason":"retention"}}`) // not ours
		s.want(t, "gap retention e1 6-40", "42")
		pc.send(`{"gap":{"channel":"a.b","epoch":"e2","from":0,"reason":"epoch"}}`)
		pc.message("a.b", 1, 0)
		s.want(t, "gap epoch e2 0-0", "1")
		if sub.Position() != (Position{"e2", 1}) {
			t.Error(sub.Position())
		}
		pc.cut()
		pc = p.welcome()
		if got := pc.subscribed("e2", 1); got.Since != 1 || got.Epoch != "e2" {
			t.Errorf("resumed from %+v", got)
		}
		pc.quiet()
	})
}

// The stream was made anew while the client was away: told by the reply, by a push, or by both, it is one gap.
func TestEpochChangedMeanwhile(t *testing.T) {
	for _, pushed := range []bool{false, true} {
		connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
			var s sink
			sub := subscribe(t, c, pc, "a.b", "e1", 10, s.options())
			pc.cut()
			pc = p.welcome()
			pc.subscribed("e2", 3)
			if pushed {
				pc.send(`{"gap":{"channel":"a.b","epoch":"e2","from":0,"reason":"epoch"}}`)
			}
			pc.message("a.b", 2, 0)
			pc.message("a.b", 3, 2)
			s.want(t, "gap epoch e2 0-0", "2", "3")
			if sub.Position() != (Position{"e2", 3}) {
				t.Error(sub.Position())
			}
			pc.quiet()
		})
	}
}

func TestWrongEpochRefused(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		sub := subscribe(t, c, pc, "a.b", "e1", 10, s.options())
		pc.cut()
		pc = p.welcome()
		pc.refuse(pc.expect(wire.OpSubscribe), wire.WrongEpoch)
		if got := pc.subscribed("e2", 3); got.Since != 0 || !got.Resume || got.Epoch != "" {
			t.Errorf("asked for %+v", got)
		}
		pc.message("a.b", 3, 0)
		s.want(t, "gap epoch  0-0", "3")
		if sub.Position() != (Position{"e2", 3}) {
			t.Error(sub.Position())
		}
	})
}

func TestSubscribeRefusals(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		done := make(chan error)
		ask := func(ctx context.Context) {
			go func() {
				_, err := c.Subscribe(ctx, "a.b", SubscribeOptions{})
				done <- err
			}()
		}
		ask(t.Context())
		pc.refuse(pc.expect(wire.OpSubscribe), wire.PermissionDenied)
		if err := <-done; codeOf(err) != wire.PermissionDenied {
			t.Error(err)
		}
		ask(t.Context())
		pc.refuse(pc.expect(wire.OpSubscribe), wire.Unavailable) // later
		pc.subscribed("e1", 0)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if _, err := c.Subscribe(t.Context(), "a.b", SubscribeOptions{}); codeOf(err) != wire.AlreadySubscribed {
			t.Error(err)
		}
		for channel, o := range map[string]SubscribeOptions{"a": {}, "a.c": {QoS: 7}, "a.d": {QoS: AtMostOnce, Since: ptr(uint64(1))}} {
			if _, err := c.Subscribe(t.Context(), channel, o); err == nil {
				t.Errorf("%s %+v is accepted", channel, o)
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		go func() {
			_, err := c.Subscribe(ctx, "a.e", SubscribeOptions{})
			done <- err
		}()
		pc.expect(wire.OpSubscribe)
		if err := <-done; !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		pc.expect(wire.OpUnsubscribe) // the server may have made it
		pc.quiet()
	})
}

// Permission taken away while the client was not connected: what was received is handed on, then the subscription ends.
func TestSubscriptionEndedByTheServer(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		sub := subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		pc.message("a.b", 1, 0)
		pc.message("a.b", 2, 1)
		synctest.Wait()
		pc.cut()
		pc = p.welcome()
		pc.refuse(pc.expect(wire.OpSubscribe), wire.PermissionDenied)
		<-sub.Done()
		if codeOf(sub.Err()) != wire.PermissionDenied {
			t.Error(sub.Err())
		}
		close(s.hold)
		s.want(t, "1", "2", "error permission_denied: scripted")
		if c.State() != Connected {
			t.Error(c.State())
		}
	})
}

func TestSubscribeWithAnExpiredToken(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		var s sink
		sub := subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		pc.cut()
		for range 2 {
			pc = p.welcome()
			pc.refuse(pc.expect(wire.OpSubscribe), wire.ExpiredToken)
		}
		<-sub.Done()
		s.want(t, "error expired_token: scripted")
	})
}

func TestUnsubscribe(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		s := sink{hold: make(chan struct{})}
		sub := subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		pc.message("a.b", 1, 0)
		synctest.Wait()
		pc.messages("a.b", 1, 4) // one batch
		synctest.Wait()
		s.hold <- struct{}{}
		s.want(t, "1")
		done := make(chan error)
		go func() { done <- sub.Unsubscribe(t.Context()) }()
		un := pc.expect(wire.OpUnsubscribe)
		pc.message("a.b", 5, 4) // on its way
		pc.send(`{"id":%d,"unsubscribe":{"channel":"a.b"}}`, un.ID)
		if err := <-done; err != nil {
			t.Error(err)
		}
		close(s.hold)
		s.want(t, "2") // its callback ran already
		if !errors.Is(sub.Err(), ErrUnsubscribed) {
			t.Error(sub.Err())
		}
		if err := sub.Unsubscribe(t.Context()); err != nil {
			t.Error(err)
		}
		subscribe(t, c, pc, "a.b", "e1", 3, SubscribeOptions{})
		pc.cut()
		pc = p.welcome()
		if got := pc.subscribed("e1", 3); got.Since != 3 {
			t.Errorf("%+v", got)
		}
		pc.quiet()
	})
}

func TestAck(t *testing.T) {
	connected(t, nil, func(t *testing.T, p *peer, c *Client, pc *peerConn) {
		sub := subscribe(t, c, pc, "a.b", "e1", 9, SubscribeOptions{})
		done := make(chan error)
		go func() { done <- sub.Ack(t.Context(), 9) }()
		cmd := pc.expect(wire.OpAck)
		if cmd.Ack != (wire.Ack{Channel: "a.b", Seq: 9, Epoch: "e1"}) {
			t.Errorf("%+v", cmd.Ack)
		}
		pc.send(`{"id":%d,"ack":{"channel":"a.b","seq":9}}`, cmd.ID)
		if err := <-done; err != nil {
			t.Error(err)
		}
		go func() { done <- sub.Ack(t.Context(), 8) }()
		pc.refuse(pc.expect(wire.OpAck), wire.AckAhead)
		if err := <-done; codeOf(err) != wire.AckAhead {
			t.Error(err)
		}
	})
}
