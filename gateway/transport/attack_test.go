package transport

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// A peer that reads slowly, but reads, is neither stale nor a slow consumer: its pong stands behind what it has yet to read.
func TestSlowReaderIsKept(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.PingInterval, o.StallTimeout = 500*time.Millisecond, 500*time.Millisecond
		ended := make(chan wire.Code, 1)
		conns := make(chan *Conn, 1)
		o.Open = func(c *Conn, _ string) Receiver { conns <- c; return &echo{closed: ended} }
		s := serve(t, o)
		conn := dial(t, s.addr)
		c := <-conns
		c.Establish()
		stop := make(chan struct{})
		var wg sync.WaitGroup
		wg.Go(func() {
			frame := wsock.AppendFrame(nil, ws.OpBinary, make([]byte, 8<<10))
			for {
				select {
				case <-stop:
					return
				case <-time.After(time.Millisecond):
				}
				for {
					ok, flush := c.Offer(frame)
					if flush {
						Flush([]*Conn{c})
					}
					if !ok || !c.isOpen() {
						break
					}
				}
			}
		})
		buf := make([]byte, 64<<10)
		deadline := time.Now().Add(5 * time.Second)
		for time.Now().Before(deadline) {
			time.Sleep(50 * time.Millisecond)
			if _, err := io.ReadFull(conn, buf); err != nil {
				t.Fatalf("the connection ended: %v, %v", err, <-ended)
			}
		}
		close(stop)
		wg.Wait()
	})
}

// blockingClose is a net.Conn whose half-close blocks, as TLS's does when the socket is full.
type blockingClose struct {
	net.Conn
	entered, release chan struct{}
}

func (c *blockingClose) CloseWrite() error {
	close(c.entered)
	<-c.release
	return nil
}

func TestHalfCloseBlocksNobodyElse(t *testing.T) {
	s := serve(t, Options{Portable: true})
	ours, theirs := net.Pipe()
	defer theirs.Close()
	if s.admit(netip.Addr{}) != nil {
		t.Fatal("not admitted")
	}
	fake := &blockingClose{Conn: ours, entered: make(chan struct{}), release: make(chan struct{})}
	s.serveNetConn(fake, netip.Addr{})
	if _, _, err := (ws.Dialer{}).Upgrade(theirs, mustURL("ws://x/")); err != nil {
		t.Fatal(err)
	}
	c := <-s.conns
	c.Close(wire.NormalClosure, "")
	if f, err := ws.ReadFrame(theirs); err != nil || f.Header.OpCode != ws.OpClose {
		t.Fatal(f, err)
	}
	<-fake.entered
	free := make(chan struct{})
	go func() { defer close(free); _, _ = c.Offer(pingFrame) }()
	select {
	case <-free:
	case <-time.After(5 * time.Second):
		t.Error("a half-close holds the lock")
	}
	close(fake.release)
	<-free
}

// A connection that ends while its handshake is looked at stays ended.
func TestEndedInHandshakeStaysEnded(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		var running atomic.Pointer[Server]
		found := make(chan struct{})
		o.Origin = func(string, string) bool {
			for _, c := range running.Load().sockets() {
				c.Kill()
			}
			close(found)
			return true
		}
		o.Open = func(*Conn, string) Receiver {
			t.Error("opened")
			return &echo{closed: make(chan wire.Code, 1)}
		}
		s := serve(t, o)
		running.Store(s.Server)
		d := ws.Dialer{Header: ws.HandshakeHeaderHTTP{"Origin": {"https://example.com"}}}
		if c, _, _, err := d.Dial(t.Context(), "ws://"+s.addr+"/"); err == nil {
			_ = c.Close()
			t.Error("the handshake went on")
		}
		<-found
	})
}

// greedy answers each message with a hundred large ones.
type greedy struct{ echo }

func (g *greedy) Receive(c *Conn, _ bool, _ []byte) {
	c.Establish()
	frame := wsock.AppendFrame(nil, ws.OpBinary, make([]byte, 100_000))
	for range 1000 {
		c.Send(frame)
		c.mu.Lock()
		waits := 0
		if c.out != nil {
			waits = c.out.bytes
		}
		c.mu.Unlock()
		if waits > mostQueued+2*len(frame) {
			panic(fmt.Sprintf("%d bytes wait", waits))
		}
	}
}

// What waits for a peer that reads nothing is bounded even within one message.
func TestMostQueued(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		ended := make(chan wire.Code, 1)
		o.Open = func(*Conn, string) Receiver { return &greedy{echo{closed: ended}} }
		s := serve(t, o)
		if err := wsutil.WriteClientText(dial(t, s.addr), []byte("more")); err != nil {
			t.Fatal(err)
		}
		if code := <-ended; code != wire.SlowConsumer {
			t.Errorf("Closed was told %d", code)
		}
	})
}
