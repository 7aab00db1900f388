package client_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

// These tests run the client against a real gateway on a real NATS server.

var secret = []byte("0123456789abcdef0123456789abcdef")

// site is a NATS server and the address of a gateway, which tests may change.
type site struct {
	t    testing.TB
	nats *natstest.Server
	addr atomic.Pointer[string]

	mu    sync.Mutex
	conns []net.Conn // of clients, for cut
}

func newSite(t testing.TB) *site {
	s := &site{t: t, nats: natstest.Run(t)}
	s.gateway(nil)
	return s
}

// gateway starts a gateway and sends later connections to it.
func (s *site) gateway(change func(*gateway.Options)) *gateway.Gateway {
	s.t.Helper()
	v, err := auth.NewVerifier(secret)
	if err != nil {
		s.t.Fatal(err)
	}
	o := gateway.Options{
		Verifier: v,
		Streams: streams.Options{
			Connect: func(name string, extra ...nats.Option) (*nats.Conn, error) {
				return nats.Connect(s.nats.URL(), append(extra, nats.Name(name), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))...)
			},
			Default:        &streams.Policy{},
			PublishTimeout: time.Second,
		},
	}
	if change != nil {
		change(&o)
	}
	g, err := gateway.New(s.t.Context(), o)
	if err != nil {
		s.t.Fatal(err)
	}
	bound, err := g.Listen("127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Serve() }()
	s.t.Cleanup(func() {
		_ = g.Close()
		if err := <-ended; !errors.Is(err, gateway.ErrClosed) {
			s.t.Errorf("Serve: %v", err)
		}
	})
	addr := bound.String()
	s.addr.Store(&addr)
	return g
}

func token(t testing.TB, user string, life time.Duration) string {
	t.Helper()
	tok, err := auth.Sign(secret, auth.Grant{User: user, Expires: time.Now().Add(life).UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func (s *site) options(user string) client.Options {
	return client.Options{
		URL:        "ws://gateway" + gateway.Path,
		Token:      func(context.Context) (string, error) { return token(s.t, user, time.Hour), nil },
		BackoffMin: 5 * time.Millisecond,
		BackoffMax: 50 * time.Millisecond,
		Dialer: func(ctx context.Context, network, _ string) (net.Conn, error) {
			nc, err := (&net.Dialer{}).DialContext(ctx, network, *s.addr.Load())
			if err == nil {
				s.mu.Lock()
				s.conns = append(s.conns, nc)
				s.mu.Unlock()
			}
			return nc, err
		},
	}
}

// cut drops every connection of every client.
func (s *site) cut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *site) dial(o client.Options) *client.Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	c, err := client.Dial(ctx, o)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = c.Close() })
	return c
}

// wait bounds a test's waiting for one thing.
const wait = 30 * time.Second

// inbox collects what a subscription hands on.
type inbox struct {
	messages chan client.Message
	gaps     chan client.Gap
	errs     chan error
}

func newInbox() *inbox {
	return &inbox{make(chan client.Message, 100000), make(chan client.Gap, 100), make(chan error, 1)}
}

func (b *inbox) options() client.SubscribeOptions {
	return client.SubscribeOptions{
		OnMessage: func(m client.Message) { b.messages <- m },
		OnGap:     func(g client.Gap) { b.gaps <- g },
		OnError:   func(err error) { b.errs <- err },
	}
}

func next[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(wait):
		t.Fatalf("no %T came", *new(T))
		panic("unreachable")
	}
}
