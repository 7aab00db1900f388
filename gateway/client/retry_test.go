package client

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// A connection lost in mid-publish: with an id it is sent again, as it was; without one the caller is told that nobody knows.
func TestPublishOverALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		with := publish(t.Context(), c, PublishOptions{ID: "m1"})
		first := pc.expect(wire.OpPublish)
		without := publish(t.Context(), c, PublishOptions{})
		pc.expect(wire.OpPublish)
		down := errors.New("down")
		p.refuse.Store(&down)
		pc.cut()
		if r := <-without; !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Errorf("without an id: %v", r.err)
		}
		if r := <-publish(t.Context(), c, PublishOptions{}); !errors.Is(r.err, ErrNotConnected) || errors.Is(r.err, ErrOutcomeUnknown) {
			t.Errorf("without a connection: %v", r.err)
		}
		offline := publish(t.Context(), c, PublishOptions{QoS: ExactlyOnce})
		p.refuse.Store(nil)
		pc = p.welcome()
		second := pc.published(7, true)
		if second.Publish.ID != "m1" || string(second.Publish.Data) != string(first.Publish.Data) {
			t.Errorf("sent again as %+v", second.Publish)
		}
		if r := <-with; r.err != nil || r.reply.Seq != 7 || !r.reply.Duplicate {
			t.Errorf("with an id: %+v", r)
		}
		pc.published(8, false)
		if r := <-offline; r.err != nil || r.reply.Seq != 8 {
			t.Errorf("published while offline: %+v", r)
		}
		pc.quiet()
	})
}

// After the retry window (100 s, less a tenth) sending again could store the message twice.
func TestRetryWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		got := publish(t.Context(), c, PublishOptions{ID: "m1"})
		pc.expect(wire.OpPublish)
		began := time.Now()
		down := errors.New("down")
		p.refuse.Store(&down)
		pc.cut()
		r := <-got
		if !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Error(r.err)
		}
		if d := time.Since(began); d < 90*time.Second || d > 92*time.Second {
			t.Errorf("given up after %v", d)
		}
		// What was never sent may wait for longer.
		late := publish(t.Context(), c, PublishOptions{ID: "m2"})
		time.Sleep(10 * time.Minute)
		p.refuse.Store(nil)
		pc = p.welcome()
		if cmd := pc.published(1, false); cmd.Publish.ID != "m2" {
			t.Errorf("%+v", cmd)
		}
		if r := <-late; r.err != nil {
			t.Error(r.err)
		}
	})
}

// A connection lost when the window is over already: what was in flight is not sent once more.
func TestLostBehindTheRetryWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		o := p.options()
		o.ReplyTimeout = 80 * time.Second
		c, pc := p.dial(o)
		defer c.Close()
		got := publish(t.Context(), c, PublishOptions{ID: "m1"})
		pc.expect(wire.OpPublish)
		pc.expect(wire.OpPublish) // after 80 s
		for range 3 {
			time.Sleep(4 * time.Second)
			pc.raw(ws.NewPingFrame(nil))
		}
		pc.cut()
		pc = p.welcome()
		pc.quiet()
		if r := <-got; !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Error(r.err)
		}
	})
}

// A server that says nothing, on a connection that lives.
func TestNoReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		without := publish(t.Context(), c, PublishOptions{})
		pc.expect(wire.OpPublish)
		with := publish(t.Context(), c, PublishOptions{ID: "m1"})
		pc.expect(wire.OpPublish)
		if r := <-without; !errors.Is(r.err, ErrOutcomeUnknown) || !errors.Is(r.err, errNoReply) {
			t.Error(r.err)
		}
		pc.published(3, true)
		if r := <-with; r.err != nil || r.reply.Seq != 3 {
			t.Errorf("%+v", r)
		}
	})
}

func TestTemporaryErrorsAreRetriedWithAnID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		got := publish(t.Context(), c, PublishOptions{ID: "m1"})
		for _, code := range []wire.Code{wire.Unavailable, wire.Timeout, wire.StoreFull} {
			pc.refuse(pc.expect(wire.OpPublish), code)
		}
		began := time.Now()
		cmd := pc.expect(wire.OpPublish)
		pc.send(`{"id":%d,"error":{"code":"unavailable","message":"scripted","retry_after":3}}`, cmd.ID)
		pc.expect(wire.OpPublish)
		if d := time.Since(began); d < 3*time.Second {
			t.Errorf("retry_after 3 was taken for %v", d)
		}
		pc.answer(cmd, 9, false)
		if r := <-got; r.err != nil || r.reply.Seq != 9 {
			t.Errorf("%+v", r)
		}
		if n := c.Stats().Retries; n != 4 {
			t.Errorf("%d retries", n)
		}
	})
}

// When every attempt was definitely refused the outcome is known.
func TestPublishGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		refuseAll := func(code wire.Code) (stop func()) {
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				for {
					select {
					case cmd := <-pc.commands:
						pc.refuse(cmd, code)
					case <-ctx.Done():
						return
					}
				}
			}()
			return cancel
		}
		stop := refuseAll(wire.StoreFull)
		r := <-publish(t.Context(), c, PublishOptions{ID: "m1"})
		if codeOf(r.err) != wire.StoreFull || errors.Is(r.err, ErrOutcomeUnknown) {
			t.Errorf("refused until the window was over: %v", r.err)
		}
		stop()
		synctest.Wait()
		stop = refuseAll(wire.RateLimited)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r = <-publish(ctx, c, PublishOptions{ID: "m2"})
		if !errors.Is(r.err, context.DeadlineExceeded) || errors.Is(r.err, ErrOutcomeUnknown) {
			t.Errorf("refused until ctx ended: %v", r.err)
		}
		stop()
		synctest.Wait()
		stop = refuseAll(wire.Timeout)
		if r = <-publish(t.Context(), c, PublishOptions{ID: "m3"}); codeOf(r.err) != wire.Timeout || !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Errorf("timed out until the window was over: %v", r.err)
		}
		stop()
		synctest.Wait()
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		got := publish(ctx, c, PublishOptions{ID: "m4"})
		cmd := pc.expect(wire.OpPublish)
		if r = <-got; !errors.Is(r.err, context.DeadlineExceeded) || !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Errorf("ctx ended in flight: %v", r.err)
		}
		pc.answer(cmd, 1, false) // too late: nobody waits
		pc.answer(cmd, 1, false)
		synctest.Wait()
		if len(c.pending) != 0 || len(c.slots) != 0 {
			t.Errorf("%d requests and %d slots are left", len(c.pending), len(c.slots))
		}
	})
}

// An expired token in mid-flight: the client connects with a new one and sends again what it may.
func TestPublishWithAnExpiredToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		got := publish(t.Context(), c, PublishOptions{ID: "m1"})
		pc.refuse(pc.expect(wire.OpPublish), wire.ExpiredToken)
		pc = p.welcome()
		pc.published(4, false)
		if r := <-got; r.err != nil || r.reply.Seq != 4 {
			t.Errorf("%+v", r)
		}
		got = publish(t.Context(), c, PublishOptions{ID: "m2"})
		pc.refuse(pc.expect(wire.OpPublish), wire.ExpiredToken)
		pc = p.welcome()
		began := time.Now()
		pc.refuse(pc.expect(wire.OpPublish), wire.ExpiredToken)
		if r := <-got; codeOf(r.err) != wire.ExpiredToken || time.Since(began) > 0 {
			t.Errorf("%+v, after %v", r, time.Since(began))
		}
	})
}

// What is sent again is sent in its order, and before what came later.
func TestOrderAfterALostConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		async := func(id int) {
			if err := c.PublishAsync("a.b", []byte("1"), PublishOptions{ID: fmt.Sprint(id)}, func(PublishReply, error) {}); err != nil {
				t.Fatal(err)
			}
		}
		for id := range 50 {
			async(id)
			pc.expect(wire.OpPublish)
		}
		down := errors.New("down")
		p.refuse.Store(&down)
		pc.cut()
		synctest.Wait()
		for id := 50; id < 60; id++ {
			async(id)
		}
		p.refuse.Store(nil)
		pc = p.welcome()
		for id := range 60 {
			if cmd := pc.published(1, false); cmd.Publish.ID != fmt.Sprint(id) {
				t.Fatalf("message %s came when %d was due", cmd.Publish.ID, id)
			}
		}
	})
}

// A move that the server asked for loses nothing: what is in flight gets its answer, what comes meanwhile goes over the next connection.
func TestPublishOverAMove(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		inFlight := publish(t.Context(), c, PublishOptions{})
		cmd := pc.expect(wire.OpPublish)
		pc.send(`{"reconnect":{"after":0,"reason":"draining"}}`)
		for {
			c.mu.Lock()
			leaving := c.conn.leaving
			c.mu.Unlock()
			if leaving {
				break
			}
			time.Sleep(time.Millisecond)
		}
		later := publish(t.Context(), c, PublishOptions{ID: "m2"})
		time.Sleep(leaveTime / 2)
		pc.quiet()
		began := time.Now()
		pc.answer(cmd, 1, false)
		if r := <-inFlight; r.err != nil || r.reply.Seq != 1 {
			t.Errorf("in flight: %+v", r)
		}
		<-pc.ended
		if d := time.Since(began); d > 0 {
			t.Errorf("the client left %v after its last answer", d)
		}
		pc = p.welcome()
		pc.published(2, false)
		if r := <-later; r.err != nil || r.reply.Seq != 2 {
			t.Errorf("published meanwhile: %+v", r)
		}
	})
}
