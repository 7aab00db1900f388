package client

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

type published struct {
	reply PublishReply
	err   error
}

// publish publishes in a goroutine of its own.
func publish(ctx context.Context, c *Client, o PublishOptions) <-chan published {
	got := make(chan published, 1)
	go func() {
		r, err := c.Publish(ctx, "a.b", []byte(`{"x":1}`), o)
		got <- published{r, err}
	}()
	return got
}

func TestPublish(t *testing.T) {
	tests := []struct {
		name string
		o    PublishOptions
		id   string
		qos  wire.QoS
	}{
		{"plain", PublishOptions{}, "", wire.AtLeastOnce},
		{"with an id", PublishOptions{ID: "m1"}, "m1", wire.ExactlyOnce},
		{"with an id, at least once", PublishOptions{ID: "m1", QoS: AtLeastOnce}, "m1", wire.AtLeastOnce},
		{"at most once", PublishOptions{QoS: AtMostOnce}, "", wire.AtMostOnce},
		{"exactly once without an id", PublishOptions{QoS: ExactlyOnce}, "*", wire.ExactlyOnce},
	}
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		for i, tt := range tests {
			got := publish(t.Context(), c, tt.o)
			cmd := pc.published(uint64(i+1), false)
			if cmd.Publish.QoS != tt.qos || cmd.Publish.ID != tt.id && (tt.id != "*" || cmd.Publish.ID == "") {
				t.Errorf("%s: sent %+v", tt.name, cmd.Publish)
			}
			if r := <-got; r.err != nil || r.reply.Seq != uint64(i+1) || r.reply.Durability != "file" {
				t.Errorf("%s: %+v", tt.name, r)
			}
		}
	})
}

func TestPublishRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		for _, code := range []wire.Code{wire.PermissionDenied, wire.TooLarge, wire.Unavailable, wire.StoreFull} {
			got := publish(t.Context(), c, PublishOptions{})
			pc.refuse(pc.expect(wire.OpPublish), code)
			if r := <-got; codeOf(r.err) != code || errors.Is(r.err, ErrOutcomeUnknown) {
				t.Errorf("%v: %v", code, r.err)
			}
		}
		for _, code := range []wire.Code{wire.Timeout, wire.Internal} {
			got := publish(t.Context(), c, PublishOptions{})
			pc.refuse(pc.expect(wire.OpPublish), code)
			if r := <-got; codeOf(r.err) != code || !errors.Is(r.err, ErrOutcomeUnknown) {
				t.Errorf("%v: %v", code, r.err)
			}
		}
		// What cannot be right is not sent.
		for _, bad := range []struct {
			channel string
			o       PublishOptions
		}{{"", PublishOptions{}}, {"a", PublishOptions{}}, {"a.*", PublishOptions{}}, {"a.b", PublishOptions{ID: strings.Repeat("x", 200)}}, {"a.b", PublishOptions{QoS: 9}}} {
			if _, err := c.Publish(t.Context(), bad.channel, nil, bad.o); err == nil {
				t.Errorf("%+v is accepted", bad)
			}
		}
		if _, err := c.Publish(t.Context(), "a.b", make([]byte, 70000), PublishOptions{}); codeOf(err) != wire.TooLarge {
			t.Errorf("more than the server takes: %v", err)
		}
		pc.quiet()
	})
}

// Everything that waits while the writer is at work leaves in one write, as few frames.
func TestPublishesAreJoined(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		<-pc.frames // connect's
		const n = 500
		var mu sync.Mutex
		var order []uint64
		c.mu.Lock() // the writer waits
		conn := c.conn
		c.mu.Unlock()
		conn.writing.Lock()
		for i := range n {
			body := fmt.Appendf(nil, "%d", i)
			err := c.PublishAsync("a.b", body, PublishOptions{ID: fmt.Sprint("m", i)}, func(r PublishReply, err error) {
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				order = append(order, r.Seq)
			})
			clear(body) // it is the caller's again
			if err != nil {
				t.Fatal(err)
			}
		}
		conn.writing.Unlock()
		for i := range n {
			if cmd := pc.published(uint64(i), false); string(cmd.Publish.Data) != fmt.Sprint(i) {
				t.Fatalf("publish %d is %+v", i, cmd.Publish)
			}
		}
		synctest.Wait()
		if len(order) != n || order[0] != 0 || order[n-1] != n-1 {
			t.Errorf("answers %v", order)
		}
		if f := len(pc.frames); f > n/maxInFrame+1 {
			t.Errorf("%d commands came in %d frames", n, f)
		}
	})
}

func TestPendingIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		o := p.options()
		o.MaxPending = 2
		c, pc := p.dial(o)
		defer c.Close()
		async := func() error {
			return c.PublishAsync("a.b", []byte("1"), PublishOptions{}, func(PublishReply, error) {})
		}
		if err := errors.Join(async(), async()); err != nil {
			t.Fatal(err)
		}
		if err := async(); !errors.Is(err, ErrTooManyPending) {
			t.Errorf("a third is accepted: %v", err)
		}
		waits := publish(t.Context(), c, PublishOptions{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if r := <-publish(ctx, c, PublishOptions{}); !errors.Is(r.err, context.DeadlineExceeded) || errors.Is(r.err, ErrOutcomeUnknown) {
			t.Errorf("without room: %v", r.err)
		}
		pc.published(1, false)
		pc.published(2, false)
		pc.published(3, false)
		if r := <-waits; r.err != nil {
			t.Error(r.err)
		}
	})
}

// At most once without a callback asks for no reply, and holds its slot only until it is written.
func TestFireAndForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		o := p.options()
		o.MaxPending = 1
		c, pc := p.dial(o)
		defer c.Close()
		for range 3 {
			if err := c.PublishAsync("a.b", []byte("typing"), PublishOptions{QoS: AtMostOnce}, nil); err != nil {
				t.Fatal(err)
			}
			if cmd := pc.expect(wire.OpPublish); cmd.ID != 0 || cmd.Publish.Encoding != wire.Text {
				t.Errorf("%+v", cmd)
			}
			synctest.Wait()
		}
	})
}

// Close waits for nothing but what it must: what was sent has an unknown outcome.
func TestCloseInMidPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		got := publish(t.Context(), c, PublishOptions{ID: "m1"})
		pc.expect(wire.OpPublish)
		_ = c.Close()
		if r := <-got; !errors.Is(r.err, ErrOutcomeUnknown) || !errors.Is(r.err, ErrClosed) {
			t.Error(r.err)
		}
	})
}

func TestPing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		done := make(chan error)
		go func() { done <- c.Ping(t.Context()) }()
		pc.send(`{"id":%d,"ping":{}}`, pc.expect(wire.OpPing).ID)
		if err := <-done; err != nil {
			t.Error(err)
		}
		go func() { done <- c.Ping(t.Context()) }()
		pc.expect(wire.OpPing)
		pc.cut()
		if err := <-done; !errors.Is(err, ErrNotConnected) {
			t.Error(err)
		}
	})
}
