package client

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

type commanded struct {
	reply CommandReply
	err   error
}

func command(ctx context.Context, c *Client, o CommandOptions) <-chan commanded {
	got := make(chan commanded, 1)
	go func() {
		r, err := c.Command(ctx, "billing.refund", []byte(`{"x":1}`), o)
		got <- commanded{r, err}
	}()
	return got
}

func (pc *peerConn) commanded(seq uint64, duplicate bool) wire.Task {
	pc.t.Helper()
	c := pc.expect(wire.OpCommand)
	pc.send(`{"id":%d,"command":{"destination":%q,"seq":%d,"duplicate":%v,"durability":"file"}}`, c.ID, c.Task.Destination, seq, duplicate)
	return c.Task
}

type calledBack struct {
	answer string
	err    error
}

func call(ctx context.Context, c *Client, o CallOptions) <-chan calledBack {
	got := make(chan calledBack, 1)
	go func() {
		answer, err := c.Call(ctx, "billing.quote", []byte("hi"), o)
		got <- calledBack{string(answer), err}
	}()
	return got
}

// A command is sent again, as it was, until it is known that it is stored; it has an id whether the caller gives one or not.
func TestCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		for _, id := range []string{"r1", ""} {
			got := command(t.Context(), c, CommandOptions{ID: id})
			for _, code := range []wire.Code{wire.Timeout, wire.Unavailable, wire.RateLimited} {
				pc.refuse(pc.expect(wire.OpCommand), code)
			}
			first := pc.expect(wire.OpCommand).Task
			pc.cut()
			pc = p.welcome()
			again := pc.commanded(4, true)
			if again.ID != first.ID || again.ID == "" || id != "" && again.ID != id || string(again.Data) != `{"x":1}` || again.Destination != "billing.refund" {
				t.Errorf("sent as %+v and again as %+v", first, again)
			}
			if r := <-got; r.err != nil || r.reply != (CommandReply{Destination: "billing.refund", Seq: 4, Duplicate: true, Durability: "file"}) {
				t.Errorf("%+v", r)
			}
		}
		got := command(t.Context(), c, CommandOptions{})
		pc.refuse(pc.expect(wire.OpCommand), wire.PermissionDenied)
		if r := <-got; codeOf(r.err) != wire.PermissionDenied || errors.Is(r.err, ErrOutcomeUnknown) {
			t.Error(r.err)
		}
		for _, bad := range []string{"", "billing", "billing.*", "jetwire.x"} {
			if _, err := c.Command(t.Context(), bad, nil, CommandOptions{}); codeOf(err) != wire.BadChannel {
				t.Errorf("%q: %v", bad, err)
			}
			if _, err := c.Call(t.Context(), bad, nil, CallOptions{}); codeOf(err) != wire.BadChannel {
				t.Errorf("%q: %v", bad, err)
			}
		}
		if _, err := c.Command(t.Context(), "a.b", nil, CommandOptions{ID: strings.Repeat("x", 200)}); err == nil {
			t.Error("an id that is too long")
		}
		if _, err := c.Call(t.Context(), "a.b", nil, CallOptions{ID: "a b"}); err == nil {
			t.Error("an id with a space")
		}
		pc.quiet()
	})
}

// After the retry window (100 s, less a tenth) sending a command again could store it twice.
func TestCommandBeyondTheRetryWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		got := command(t.Context(), c, CommandOptions{ID: "r1"})
		pc.expect(wire.OpCommand)
		down := errors.New("down")
		p.refuse.Store(&down)
		pc.cut()
		if r := <-got; !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Error(r.err)
		}
	})
}

// A call is sent once, whatever becomes of it.
func TestCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		got := call(t.Context(), c, CallOptions{ID: "q1", Timeout: 1500 * time.Millisecond})
		cmd := pc.expect(wire.OpCall)
		if q := cmd.Call; q.Destination != "billing.quote" || q.ID != "q1" || q.Timeout != 1.5 || string(q.Data) != `"hi"` || q.Encoding != wire.Text {
			t.Errorf("sent %+v", q)
		}
		pc.send(`{"id":%d,"call":{"destination":"billing.quote","data":"/wA=","encoding":"base64"}}`, cmd.ID)
		if r := <-got; r.err != nil || r.answer != "\xff\x00" {
			t.Errorf("%+v", r)
		}
		for code, unknown := range map[wire.Code]bool{
			wire.NoService: false, wire.Refused: false, wire.RateLimited: false, wire.Unavailable: false, wire.Timeout: true, wire.Internal: true,
		} {
			got := call(t.Context(), c, CallOptions{})
			pc.refuse(pc.expect(wire.OpCall), code)
			if r := <-got; codeOf(r.err) != code || errors.Is(r.err, ErrOutcomeUnknown) != unknown {
				t.Errorf("%v: %v", code, r.err)
			}
		}
		got = call(t.Context(), c, CallOptions{})
		pc.expect(wire.OpCall)
		pc.cut()
		if r := <-got; !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Errorf("over a lost connection: %v", r.err)
		}
		if r := <-call(t.Context(), c, CallOptions{}); !errors.Is(r.err, ErrNotConnected) {
			t.Errorf("without one: %v", r.err)
		}
		p.welcome().quiet()
	})
}

// The context's end is the call's, and a backend may take longer than the server for anything else.
func TestCallTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		o := p.options()
		o.ReplyTimeout = 5 * time.Second
		c, pc := p.dial(o)
		defer c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		got := call(ctx, c, CallOptions{})
		if q := pc.expect(wire.OpCall).Call; q.Timeout != 3 {
			t.Errorf("sent %+v", q)
		}
		if r := <-got; !errors.Is(r.err, context.DeadlineExceeded) || !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Error(r.err)
		}
		got = call(t.Context(), c, CallOptions{Timeout: 8 * time.Second})
		cmd := pc.expect(wire.OpCall)
		time.Sleep(7 * time.Second)
		pc.send(`{"id":%d,"call":{"destination":"billing.quote","data":1}}`, cmd.ID)
		if r := <-got; r.err != nil || r.answer != "1" {
			t.Errorf("%+v", r)
		}
		got = call(t.Context(), c, CallOptions{Timeout: 3 * time.Second})
		pc.expect(wire.OpCall)
		began := time.Now()
		if r := <-got; !errors.Is(r.err, ErrOutcomeUnknown) {
			t.Error(r.err)
		}
		if d := time.Since(began); d < 8*time.Second || d > 10*time.Second {
			t.Errorf("given up after %v", d)
		}
	})
}
