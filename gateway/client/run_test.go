package client

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestBackoffIsFullJitter(t *testing.T) {
	b := backoff{min: 100 * time.Millisecond, max: 2 * time.Second}
	for _, ms := range []int{100, 200, 400, 800, 1600, 2000, 2000} {
		ceiling := time.Duration(ms) * time.Millisecond
		low, high := ceiling, time.Duration(0)
		for range 500 {
			try := b
			d := try.next()
			low, high = min(low, d), max(high, d)
		}
		if high > ceiling || high < ceiling*9/10 || low > ceiling/10 {
			t.Errorf("attempt %d waits %v to %v, want anything up to %v", b.attempt, low, high, ceiling)
		}
		b.next()
	}
	b.attempt = 1000
	if b.ceiling() != b.max {
		t.Errorf("attempt 1000 waits up to %v", b.ceiling())
	}
	b.reset()
	if b.ceiling() != b.min {
		t.Errorf("after a reset the ceiling is %v", b.ceiling())
	}
}

func TestSeconds(t *testing.T) {
	for in, want := range map[float64]time.Duration{-1: 0, 0: 0, 1.5: 1500 * time.Millisecond, 1e300: time.Hour} {
		if got := seconds(in); got != want {
			t.Errorf("seconds(%v) = %v, want %v", in, got, want)
		}
	}
}

func TestDialSendsWhoItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		got := make(map[string]string)
		var protocol string
		p.upgrade.OnHeader = func(k, v []byte) error { got[string(k)] = string(v); return nil }
		p.upgrade.Protocol = func(b []byte) bool { protocol = string(b); return true }
		o := p.options()
		o.Header = http.Header{"Origin": {"https://app.test"}}
		var states []State
		o.OnState = func(s State) { states = append(states, s) }
		go func() {
			c, err := Dial(t.Context(), o)
			if err != nil {
				t.Error(err)
				return
			}
			_ = c.Close()
		}()
		pc, cmd := p.accept()
		if cmd.Connect.Token != "token" || cmd.Connect.Client != "test" || got["Origin"] != "https://app.test" || protocol != wire.Subprotocol {
			t.Errorf("connect %+v, headers %v, protocol %q", cmd.Connect, got, protocol)
		}
		pc.send(`{"id":%d,"connect":{"session":"s","user":"u","ping":20,"retry_window":100,"max_message":65536}}`, cmd.ID)
		<-pc.ended
		synctest.Wait()
		if pc.code != ws.StatusNormalClosure {
			t.Errorf("the client closed with %d", pc.code)
		}
		if want := []State{Connecting, Connected, Closed}; !slices.Equal(states, want) {
			t.Errorf("states %v, want %v", states, want)
		}
	})
}

// What a client does after a connection has ended, by the code that it ended with.
func TestComebackOfCloseCodes(t *testing.T) {
	tests := []struct {
		code  wire.Code
		after Comeback
	}{
		{wire.GoingAway, again}, {wire.Draining, again}, {wire.SlowConsumer, again}, {wire.Internal, again}, {4999, again},
		{wire.BadRequest, ends}, {wire.MessageTooBig, ends}, {wire.ProtocolError, ends},
		{wire.ExpiredToken, newToken}, {wire.BadToken, newToken},
	}
	for _, tt := range tests {
		t.Run(tt.code.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				o := p.options()
				asked := 0
				o.Token = func(context.Context) (string, error) { asked++; return fmt.Sprint("token", asked), nil }
				c, pc := p.dial(o)
				defer c.Close()
				pc.close(tt.code, "why")
				if tt.after == ends {
					<-c.Done()
					var closed *CloseError
					if !errors.As(c.Err(), &closed) || closed.Reason != "why" || codeOf(c.Err()) != tt.code {
						t.Errorf("ended with %v", c.Err())
					}
					if _, err := c.Publish(t.Context(), "a.b", []byte("1"), PublishOptions{}); codeOf(err) != tt.code {
						t.Errorf("a publish afterwards: %v", err)
					}
					return
				}
				_, cmd := p.accept()
				want := "token1"
				if tt.after == newToken {
					want = "token2"
				}
				if cmd.Connect.Token != want {
					t.Errorf("came back with %q, want %q", cmd.Connect.Token, want)
				}
			})
		})
	}
}

type Comeback int

const (
	again Comeback = iota
	ends
	newToken
)

func TestTheSameRefusalTwiceEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		pc.close(wire.ExpiredToken, "")
		pc, cmd := p.accept()
		pc.refuse(cmd, wire.BadToken) // another refusal than before: once more
		pc, cmd = p.accept()
		pc.refuse(cmd, wire.BadToken)
		<-c.Done()
		if codeOf(c.Err()) != wire.BadToken || c.State() != Closed {
			t.Errorf("ended with %v, %v", c.Err(), c.State())
		}
	})
}

// A token that expires again and again is replaced again and again.
func TestRefusalsAreForgottenOnceConnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		for range 5 {
			pc.close(wire.ExpiredToken, "")
			pc = p.welcome()
		}
	})
}

func TestDialFails(t *testing.T) {
	dial := func(t *testing.T, p *peer, o Options, script func()) error {
		got := make(chan error)
		go func() {
			_, err := Dial(t.Context(), o)
			got <- err
		}()
		script()
		return <-got
	}
	bubble := func(name string, f func(t *testing.T, p *peer)) {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, newPeer(t)) }) })
	}
	bubble("at once when refused for good", func(t *testing.T, p *peer) {
		err := dial(t, p, p.options(), func() {
			pc, cmd := p.accept()
			pc.refuse(cmd, wire.PermissionDenied)
		})
		if codeOf(err) != wire.PermissionDenied {
			t.Error(err)
		}
	})
	bubble("without a token", func(t *testing.T, p *peer) {
		o := p.options()
		o.Token = nil
		err := dial(t, p, o, func() {
			pc, cmd := p.accept()
			pc.refuse(cmd, wire.Unauthenticated)
			pc.close(wire.Unauthenticated, "")
		})
		if codeOf(err) != wire.Unauthenticated {
			t.Error(err)
		}
	})
	bubble("when the token source fails", func(t *testing.T, p *peer) {
		o := p.options()
		broken := errors.New("broken")
		o.Token = func(context.Context) (string, error) { return "", broken }
		if err := dial(t, p, o, func() {}); !errors.Is(err, broken) {
			t.Error(err)
		}
	})
	bubble("at once with FailFast", func(t *testing.T, p *peer) {
		o := p.options()
		o.FailFast = true
		down := errors.New("connection refused")
		p.refuse.Store(&down)
		if err := dial(t, p, o, func() {}); !errors.Is(err, down) {
			t.Error(err)
		}
	})
	bubble("when its context ends", func(t *testing.T, p *peer) {
		down := errors.New("connection refused")
		p.refuse.Store(&down)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := Dial(ctx, p.options())
		if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, down) {
			t.Error(err)
		}
	})
	bubble("when the origin is refused", func(t *testing.T, p *peer) {
		p.upgrade.OnBeforeUpgrade = func() (ws.HandshakeHeader, error) {
			return nil, ws.RejectConnectionError(ws.RejectionStatus(403))
		}
		var status ws.StatusError
		if _, err := Dial(t.Context(), p.options()); !errors.As(err, &status) || status != 403 {
			t.Error(err)
		}
	})
	for _, url := range []string{"", "ftp://a/b", "ws://", "://", "127.0.0.1:80"} {
		if _, err := Dial(t.Context(), Options{URL: url}); err == nil {
			t.Errorf("URL %q is accepted", url)
		}
	}
}

func TestDialTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		down := errors.New("connection refused")
		p.refuse.Store(&down)
		time.AfterFunc(5*time.Minute, func() { p.refuse.Store(nil) })
		c, _ := p.dial(p.options())
		defer c.Close()
		if !errors.Is(c.LastError(), down) {
			t.Error(c.LastError())
		}
	})
}

// A server that refuses the handshake for now may say for how long.
func TestDialHeedsRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		began := time.Now()
		attempts := 0
		p.upgrade.OnBeforeUpgrade = func() (ws.HandshakeHeader, error) {
			if attempts++; attempts > 1 {
				return nil, nil
			}
			return nil, ws.RejectConnectionError(ws.RejectionStatus(http.StatusTooManyRequests),
				ws.RejectionHeader(ws.HandshakeHeaderHTTP(http.Header{"Retry-After": {"60"}})))
		}
		c, _ := p.dialTo(p.options(), func() *peerConn { <-p.dials; return p.welcome() })
		defer c.Close()
		if d := time.Since(began); d < time.Minute || d > 2*time.Minute {
			t.Errorf("came back after %v", d)
		}
	})
}

// A connection that does not hold leaves the back-off where it was; one that held starts it anew.
func TestBackoffGrowsUntilAConnectionHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		for range 12 {
			pc.cut()
			pc = p.welcome()
		}
		if a := c.backoff.attempt; a < 12 {
			t.Errorf("%d attempts are counted after 12 short connections", a)
		}
		time.Sleep(DefaultStableAfter + time.Second)
		began := time.Now()
		pc.cut()
		p.welcome()
		if d := time.Since(began); d > DefaultBackoffMin {
			t.Errorf("after a stable connection the client waited %v", d)
		}
	})
}

func TestReconnectPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		// Closed at once, as a draining gateway does: the client stays away for as long as it was told.
		began := time.Now()
		pc.send(`{"reconnect":{"after":30,"reason":"draining"}}`)
		pc.close(wire.Draining, "draining")
		pc = p.welcome()
		if d := time.Since(began); d < 30*time.Second || d > 40*time.Second {
			t.Errorf("came back after %v", d)
		}
		// Left open: the client goes by itself, when what it has in flight is answered.
		began = time.Now()
		pc.send(`{"reconnect":{"after":5,"reason":"rebalance"}}`)
		<-pc.ended
		if d := time.Since(began); d < 5*time.Second || d > 8*time.Second || pc.code != ws.StatusNormalClosure {
			t.Errorf("left after %v with %d", d, pc.code)
		}
		p.welcome()
	})
}

func TestExpiredPushBringsANewToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		o := p.options()
		asked := 0
		o.Token = func(context.Context) (string, error) { asked++; return fmt.Sprint("token", asked), nil }
		c, pc := p.dial(o)
		defer c.Close()
		began := time.Now()
		pc.send(`{"expired":{"grace":20}}`)
		if _, cmd := p.accept(); cmd.Connect.Token != "token2" || time.Since(began) > 12*time.Second {
			t.Errorf("came back after %v with %q", time.Since(began), cmd.Connect.Token)
		}
	})
}

// A connection that has gone dead is noticed within a little more than two intervals, after the client asked for a sign of life.
func TestSilence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		for range 10 { // pings keep it alive
			time.Sleep(20 * time.Second)
			pc.raw(ws.NewPingFrame([]byte("x")))
			if got := <-pc.pongs; got != "x" {
				t.Fatalf("pong %q", got)
			}
		}
		for range 3 { // so does the answer to the client's own ping
			<-pc.pings
		}
		if n := c.Stats().Connects; n != 1 {
			t.Fatalf("%d connections", n)
		}
		pc.deaf.Store(true)
		began := time.Now()
		next := p.welcome()
		if d := time.Since(began); d < 20*time.Second || d > 50*time.Second {
			t.Errorf("silence was noticed after %v", d)
		}
		if !errors.Is(c.LastError(), errSilent) {
			t.Error(c.LastError())
		}
		<-pc.ended
		next.cut()
	})
}

func TestCloseWhileBackingOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		var mu sync.Mutex
		var states []State
		o := p.options()
		o.OnState = func(s State) { mu.Lock(); states = append(states, s); mu.Unlock() }
		c, pc := p.dial(o)
		down := errors.New("down")
		p.refuse.Store(&down)
		pc.cut()
		time.Sleep(time.Minute)
		done := make(chan error)
		go func() {
			_, err := c.Publish(context.Background(), "a.b", []byte("1"), PublishOptions{ID: "x"})
			done <- err
		}()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if err := <-done; !errors.Is(err, ErrClosed) || errors.Is(err, ErrOutcomeUnknown) {
			t.Errorf("what was never sent ended with %v", err)
		}
		if !errors.Is(c.Err(), ErrClosed) || states[len(states)-1] != Closed || !slices.Contains(states, BackingOff) {
			t.Errorf("%v, states %v", c.Err(), states)
		}
		if _, err := c.Publish(context.Background(), "a.b", nil, PublishOptions{}); !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
}
