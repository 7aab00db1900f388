package gateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

var attackSecret = []byte("0123456789abcdef0123456789abcdef")

// attacked is a gateway whose inside the test sees.
func attacked(t *testing.T, change func(*Options)) (*Gateway, string) {
	t.Helper()
	ns := natstest.Run(t)
	v, err := auth.NewVerifier(attackSecret)
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Verifier: v, Streams: streams.Options{
		Connect: func(name string, extra ...nats.Option) (*nats.Conn, error) {
			return nats.Connect(ns.URL(), append(extra, nats.Name(name))...)
		},
		Default: &streams.Policy{Storage: streams.Memory},
	}}
	if change != nil {
		change(&o)
	}
	g, err := New(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	addr, err := g.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { defer close(ended); _ = g.Serve() }()
	t.Cleanup(func() {
		if err := g.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return g, addr.String()
}

// peer is a client that does as it likes.
type peer struct {
	net.Conn
	t *testing.T
}

func attacker(t *testing.T, addr string) *peer {
	t.Helper()
	c, br, _, err := ws.Dial(t.Context(), "ws://"+addr+Path)
	if err != nil {
		t.Fatal(err)
	}
	if br != nil {
		t.Fatal("bytes behind the handshake")
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(60 * time.Second))
	token, err := auth.Sign(attackSecret, auth.Grant{User: "eve", Expires: time.Now().Add(time.Hour).UnixMilli()})
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{Conn: c, t: t}
	p.send(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, token))
	p.receive()
	return p
}

func (p *peer) send(s string) {
	p.t.Helper()
	if err := wsutil.WriteClientText(p, []byte(s)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) receive() string {
	p.t.Helper()
	b, _, err := wsutil.ReadServerData(p)
	if err != nil {
		p.t.Fatal(err)
	}
	return string(b)
}

// A client that asks for much history in one frame and does not read makes the gateway hold about one page, not all of
// it, and gets every page once it reads.
func TestHistoryWaitsForTheSocket(t *testing.T) {
	for _, portable := range []bool{false, true} {
		t.Run(fmt.Sprintf("portable=%v", portable), func(t *testing.T) {
			g, addr := attacked(t, func(o *Options) { o.Portable = portable })
			p := attacker(t, addr)
			body := strings.Repeat("x", 60_000)
			for i := range 8 {
				p.send(fmt.Sprintf(`{"id":%d,"publish":{"channel":"big.a","data":%q}}`, i+2, body))
				p.receive()
			}
			for s := ""; strings.Count(s, `"seq"`) < 8; s = p.receive() { // the tail may be behind the acknowledgement
				p.send(`{"id":50,"history":{"channel":"big.a"}}`)
			}
			const asked = 60 // of half a megabyte each
			var frame strings.Builder
			for i := range asked {
				fmt.Fprintf(&frame, `{"id":%d,"history":{"channel":"big.a"}}`, i+100)
			}
			p.send(frame.String())

			var cl *client
			g.sockets.Each(func(c *transport.Conn) { cl = c.Receiver().(*client) })
			// Until it waits: pages are left, nobody reads.
			deadline := time.Now().Add(20 * time.Second)
			for stopped := false; !stopped; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatal("everything was read")
				}
				if r := cl.rare.Load(); r != nil {
					p := &r.pages
					p.mu.Lock()
					stopped = len(p.waiting) > 0 && len(p.waiting) < asked-2 && !p.reading
					p.mu.Unlock()
				}
			}
			for i := range asked {
				var r struct {
					ID      int
					History struct{ Messages []json.RawMessage }
				}
				if err := json.Unmarshal([]byte(p.receive()), &r); err != nil || r.ID != i+100 || len(r.History.Messages) != 8 {
					t.Fatalf("page %d: id %d, %d messages, %v", i, r.ID, len(r.History.Messages), err)
				}
			}
		})
	}
}

// A walk may end beyond the log's end, also where a signed number ends: each page's cursor is taken back.
func TestWalkUntilTheGreatestSequence(t *testing.T) {
	_, addr := attacked(t, nil)
	p := attacker(t, addr)
	for i := range 5 {
		p.send(fmt.Sprintf(`{"id":%d,"publish":{"channel":"walk.a","data":%d}}`, i+2, i))
		p.receive()
	}
	for s := ""; strings.Count(s, `"seq"`) < 5; s = p.receive() {
		p.send(`{"id":50,"history":{"channel":"walk.a"}}`)
	}
	for _, order := range []string{"oldest", "newest"} {
		request := fmt.Sprintf(`{"id":9,"history":{"channel":"walk.a","until":18446744073709551615,"limit":2,"order":%q}}`, order)
		seen := 0
		for pages := 0; request != ""; pages++ {
			p.send(request)
			answer := p.receive()
			var r struct {
				History *struct {
					Messages []json.RawMessage
					Next     string
				}
			}
			if err := json.Unmarshal([]byte(answer), &r); err != nil || r.History == nil || pages > 5 {
				t.Fatalf("%s, page %d: %s", order, pages, answer)
			}
			seen += len(r.History.Messages)
			if request = ""; r.History.Next != "" {
				request = fmt.Sprintf(`{"id":9,"history":{"channel":"walk.a","limit":2,"cursor":%q}}`, r.History.Next)
			}
		}
		if seen != 5 {
			t.Errorf("%s: %d messages", order, seen)
		}
	}
}

// Draining sends away who connects after it began, and does not wait for idle HTTP connections.
func TestDrainReachesLateClients(t *testing.T) {
	g, addr := attacked(t, nil)
	late, br, _, err := ws.Dial(t.Context(), "ws://"+addr+Path) // has not said who it is
	if err != nil || br != nil {
		t.Fatal(err)
	}
	defer late.Close()
	idle, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	_, _ = fmt.Fprintf(idle, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
	_, _ = idle.Read(make([]byte, 1))
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(ctx) }()
	<-g.draining
	time.Sleep(300 * time.Millisecond)
	token, _ := auth.Sign(attackSecret, auth.Grant{User: "eve", Expires: time.Now().Add(time.Hour).UnixMilli()})
	p := &peer{Conn: late, t: t}
	_ = late.SetDeadline(time.Now().Add(20 * time.Second))
	p.send(fmt.Sprintf(`{"id":1,"connect":{"token":%q}}`, token))
	var got string
	for !strings.Contains(got, `"reconnect"`) {
		b, _, err := wsutil.ReadServerData(late)
		if err != nil {
			t.Fatalf("after %q: %v", got, err)
		}
		got += string(b)
	}
	_, _, _ = wsutil.ReadServerData(late) // answers the close
	if err := <-drained; err != nil {
		t.Errorf("Drain: %v", err)
	}
}
