package gateway_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/nats-io/nats.go"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestMain(m *testing.M) {
	// net/http lingers for half a second when it closes a connection before it has read all of a request.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// wait bounds a test's waiting for one thing.
const wait = 30 * time.Second

var secret = []byte("0123456789abcdef0123456789abcdef")

// running is a gateway under test.
type running struct {
	*gateway.Gateway
	t    testing.TB
	addr string

	mu    sync.Mutex
	conns []net.Conn // of clients, for cut
}

// start runs a gateway on a NATS server. Unlisted namespaces are kept in memory.
func start(t testing.TB, ns *natstest.Server, change func(*gateway.Options)) *running {
	t.Helper()
	v, err := auth.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	o := gateway.Options{Verifier: v, Streams: streams.Options{
		Connect: func(name string, extra ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(ns.URL(), append(extra, nats.Name(name), nats.ReconnectWait(20*time.Millisecond), nats.ReconnectJitter(0, 0))...)
		},
		Default:        &streams.Policy{Storage: streams.Memory},
		PublishTimeout: 2 * time.Second,
	}}
	if change != nil {
		change(&o)
	}
	g, err := gateway.New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	bound, err := g.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- g.Serve() }()
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if err := <-ended; !errors.Is(err, gateway.ErrClosed) {
			t.Errorf("Serve: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return &running{Gateway: g, t: t, addr: bound.String()}
}

// onBoth runs a test over epoll and over goroutines.
func onBoth(t *testing.T, test func(t *testing.T, ns *natstest.Server, change func(*gateway.Options))) {
	for _, portable := range []bool{false, true} {
		t.Run(map[bool]string{false: "epoll", true: "portable"}[portable], func(t *testing.T) {
			test(t, natstest.Run(t), func(o *gateway.Options) { o.Portable = portable })
		})
	}
}

func sign(t testing.TB, g auth.Grant) string {
	t.Helper()
	if g.Expires == 0 {
		g.Expires = time.Now().Add(time.Hour).UnixMilli()
	}
	tok, err := auth.Sign(secret, g)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// dial connects with the Go client, which comes back when cut has dropped its connection.
func (g *running) dial(user string) *client.Client {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), wait)
	defer cancel()
	c, err := client.Dial(ctx, client.Options{
		URL:        "ws://" + g.addr + gateway.Path,
		Token:      func(context.Context) (string, error) { return sign(g.t, auth.Grant{User: user}), nil },
		BackoffMin: 5 * time.Millisecond,
		BackoffMax: 50 * time.Millisecond,
		Dialer: func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := (&net.Dialer{}).DialContext(ctx, network, addr)
			if err == nil {
				g.mu.Lock()
				g.conns = append(g.conns, nc)
				g.mu.Unlock()
			}
			return nc, err
		},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = c.Close() })
	return c
}

// cut drops connections of clients: those that pick chooses.
func (g *running) cut(pick func() bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	kept := g.conns[:0]
	for _, c := range g.conns {
		if pick() {
			_ = c.Close()
		} else {
			kept = append(kept, c)
		}
	}
	g.conns = kept
}

// raw is a WebSocket that the test speaks itself.
type raw struct {
	t      testing.TB
	conn   net.Conn
	br     io.Reader
	nextID uint64
	queued []wire.Incoming
}

// open connects a socket. It is not signed in.
func (g *running) open() *raw {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(g.t.Context(), wait)
	defer cancel()
	conn, br, _, err := ws.Dialer{Protocols: []string{wire.Subprotocol}}.Dial(ctx, "ws://"+g.addr+gateway.Path)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { _ = conn.Close() })
	r := &raw{t: g.t, conn: conn, br: conn}
	if br != nil {
		r.br = io.MultiReader(io.LimitReader(br, int64(br.Buffered())), conn)
	}
	r.br = bufio.NewReader(r.br)
	return r
}

// signIn opens a socket and connects it.
func (g *running) signIn(user string) *raw {
	g.t.Helper()
	r := g.open()
	r.send(`{"id":1,"connect":{"token":"` + sign(g.t, auth.Grant{User: user}) + `"}}`)
	if in := r.next(); in.Kind != wire.KindConnect || in.Connect.User != user {
		g.t.Fatalf("connect: %+v", in)
	}
	r.nextID = 1
	return r
}

func (r *raw) send(frame string) {
	r.t.Helper()
	if err := wsutil.WriteClientText(r.conn, []byte(frame)); err != nil {
		r.t.Fatal(err)
	}
}

// read returns the next message, or the error that ended the socket: wsutil.ClosedError if that was a close frame.
func (r *raw) read() ([]byte, error) {
	_ = r.conn.SetReadDeadline(time.Now().Add(wait))
	data, _, err := wsutil.ReadServerData(struct {
		io.Reader
		io.Writer
	}{r.br, r.conn})
	return data, err
}

// next returns the next reply or push.
func (r *raw) next() wire.Incoming {
	r.t.Helper()
	for len(r.queued) == 0 {
		data, err := r.read()
		if err != nil {
			r.t.Fatalf("the socket has ended: %v", err)
		}
		if err := wire.DecodeServer(data, func(in *wire.Incoming) error {
			r.queued = append(r.queued, *in)
			return nil
		}); err != nil {
			r.t.Fatalf("%s: %v", data, err)
		}
	}
	in := r.queued[0]
	r.queued = r.queued[1:]
	return in
}

// ask sends a command and returns its reply; pushes that come before it stay for next.
func (r *raw) ask(name, fields string) wire.Incoming {
	r.t.Helper()
	r.nextID++
	r.send(fmt.Sprintf(`{"id":%d,%q:{%s}}`, r.nextID, name, fields))
	var before []wire.Incoming
	for {
		in := r.next()
		if in.ID == r.nextID {
			r.queued = append(before, r.queued...)
			return in
		}
		before = append(before, in)
	}
}

// must is ask for a command that succeeds.
func (r *raw) must(name, fields string) wire.Incoming {
	r.t.Helper()
	in := r.ask(name, fields)
	if in.Kind == wire.KindError {
		r.t.Fatalf("%s %s: %v", name, fields, in.Error.Error())
	}
	return in
}

// refused is ask for a command that is refused with a code.
func (r *raw) refused(code wire.Code, name, fields string) {
	r.t.Helper()
	if in := r.ask(name, fields); in.Kind != wire.KindError || in.Error.Code != code {
		r.t.Fatalf("%s %s: %+v, want %v", name, fields, in, code)
	}
}

// publish stores one message and returns its sequence.
func (r *raw) publish(channel, data string) uint64 {
	r.t.Helper()
	return r.must("publish", `"channel":"`+channel+`","data":`+data).Publish.Seq
}

// message returns the next push, which must be a message.
func (r *raw) message() wire.Message {
	r.t.Helper()
	in := r.next()
	if in.Kind != wire.KindMessage {
		r.t.Fatalf("got %+v, want a message", in)
	}
	return in.Message
}

// closes reads until the server's close frame and returns its code.
func (r *raw) closes() wire.Code {
	r.t.Helper()
	for {
		_, err := r.read()
		var c wsutil.ClosedError
		switch {
		case errors.As(err, &c):
			return wire.Code(c.Code)
		case err != nil:
			r.t.Fatalf("the socket ended without a close frame: %v", err)
		}
	}
}

// eventually waits until ok.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(wait); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// get asks the gateway by HTTP.
func (g *running) get(path string) (status int, body string) {
	g.t.Helper()
	req, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, "http://"+g.addr+path, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		g.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		g.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// metric returns a metric's value, labels included in the name; 0 if it is not there.
func (g *running) metric(name string) (v float64) {
	g.t.Helper()
	_, body := g.get("/metrics")
	for line := range strings.Lines(body) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			if err := json.Unmarshal([]byte(strings.TrimSpace(value)), &v); err != nil {
				g.t.Fatal(err)
			}
		}
	}
	return v
}

// inbox keeps what a subscription hands on.
type inbox struct {
	mu   sync.Mutex
	got  []client.Message
	gaps []client.Gap
	n    atomic.Int64
}

func (b *inbox) options() client.SubscribeOptions {
	return client.SubscribeOptions{
		OnMessage: func(m client.Message) {
			b.mu.Lock()
			b.got = append(b.got, m)
			b.mu.Unlock()
			b.n.Add(1)
		},
		OnGap: func(g client.Gap) {
			b.mu.Lock()
			b.gaps = append(b.gaps, g)
			b.mu.Unlock()
		},
	}
}
