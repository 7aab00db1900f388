package transport

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// echo is a Receiver that sends everything back, and records how it ended.
type echo struct {
	closed  chan wire.Code
	drained atomic.Int32
	beats   atomic.Int32
}

func (e *echo) Receive(c *Conn, text bool, payload []byte) {
	c.Establish()
	op := ws.OpBinary
	if text {
		op = ws.OpText
	}
	c.Send(wsock.AppendFrame(nil, op, payload))
}
func (e *echo) Drained(*Conn)                  { e.drained.Add(1) }
func (e *echo) Beat(*Conn)                     { e.beats.Add(1) }
func (e *echo) Closed(_ *Conn, code wire.Code) { e.closed <- code }

// running is a Server under test, with the Conns that it opened.
type running struct {
	*Server
	addr  string
	conns chan *Conn
	ends  chan wire.Code
}

func serve(t *testing.T, o Options) *running {
	t.Helper()
	r := &running{conns: make(chan *Conn, 64), ends: make(chan wire.Code, 64)}
	if o.Open == nil {
		o.Open = func(c *Conn, _ string) Receiver {
			r.conns <- c
			return &echo{closed: r.ends}
		}
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Server = s
	addr, err := s.Listen("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r.addr = addr.String()
	ended := make(chan error, 1)
	go func() { ended <- s.Serve() }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("Serve ended with %v", err)
		}
		if n := s.Stats().Connections; n != 0 {
			t.Errorf("%d connections are counted after Close", n)
		}
	})
	return r
}

// both runs a test over epoll and over goroutines.
func both(t *testing.T, test func(t *testing.T, o Options)) {
	t.Run("epoll", func(t *testing.T) { test(t, Options{}) })
	t.Run("portable", func(t *testing.T) { test(t, Options{Portable: true}) })
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	conn, br, _, err := ws.Dial(context.Background(), "ws://"+addr+"/")
	if err != nil {
		t.Fatal(err)
	}
	if br != nil {
		t.Fatal("bytes behind the handshake")
	}
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func TestEcho(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := serve(t, o)
		conn := dial(t, s.addr)
		for _, size := range []int{0, 1, 125, 126, 65535, 65536, 100_000} {
			want := make([]byte, size)
			_, _ = rand.Read(want)
			if err := wsutil.WriteClientBinary(conn, want); err != nil {
				t.Fatal(err)
			}
			got, op, err := wsutil.ReadServerData(conn)
			if err != nil || op != ws.OpBinary || !bytes.Equal(got, want) {
				t.Fatalf("size %d: got %d bytes, op %v, error %v", size, len(got), op, err)
			}
		}
	})
}

func TestManyAtOnceInManyPieces(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := serve(t, o)
		var wg sync.WaitGroup
		for i := range 50 {
			conn := dial(t, s.addr)
			wg.Go(func() {
				for j := range 100 {
					text := fmt.Sprintf("%d-%d", i, j)
					frame := ws.MustCompileFrame(ws.MaskFrame(ws.NewTextFrame([]byte(text))))
					cut := j % len(frame)
					for _, part := range [][]byte{frame[:cut], frame[cut:]} {
						if _, err := conn.Write(part); err != nil {
							t.Error(err)
							return
						}
					}
					if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != text {
						t.Errorf("got %q, want %q (%v)", got, text, err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func TestHTTPOnTheSamePort(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.HTTP = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = fmt.Fprintf(w, "%s %s %d", r.Method, r.URL.Path, len(body))
		})
		s := serve(t, o)
		client := &http.Client{Transport: &http.Transport{}}
		defer client.CloseIdleConnections()
		for i := range 3 {
			r, err := client.Post("http://"+s.addr+"/x", "text/plain", bytes.NewReader(make([]byte, 20_000+i)))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := io.ReadAll(r.Body)
			_ = r.Body.Close()
			if want := fmt.Sprintf("POST /x %d", 20_000+i); string(got) != want {
				t.Fatalf("got %q, want %q", got, want)
			}
		}
	})
}

// A proxy may send the upgrade as a later request of a connection that net/http has already. Such a socket counted twice: where it was the
// last one that may be, it was refused.
func TestUpgradeOfAnHTTPConnection(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.MaxConns, o.MaxConnsPerAddr = 1, 1
		s := serve(t, o)
		conn, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		if n, err := conn.Read(buf); err != nil || !bytes.Contains(buf[:n], []byte("404")) {
			t.Fatalf("got %q, %v", buf[:n], err)
		}
		if _, _, err := (ws.Dialer{}).Upgrade(conn, mustURL("ws://"+s.addr+"/")); err != nil {
			t.Fatal(err)
		}
		if err := wsutil.WriteClientText(conn, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		if got, err := wsutil.ReadServerText(conn); err != nil || string(got) != "hi" {
			t.Fatalf("got %q, %v", got, err)
		}
		if st := s.Stats(); st.Connections != 1 || st.HTTP != 0 || st.Accepted != 1 {
			t.Errorf("%+v", st)
		}
	})
}

func TestCloseByThePeer(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := serve(t, o)
		conn := dial(t, s.addr)
		if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(4999, "bye")))); err != nil {
			t.Fatal(err)
		}
		if code := readClose(t, conn); code != 4999 {
			t.Fatalf("answered with %d", code)
		}
		if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Fatalf("the server must end the TCP connection first: %v", err)
		}
		_ = conn.Close()
		if code := <-s.ends; code != 4999 {
			t.Fatalf("Closed was told %d", code)
		}
	})
}

func TestCloseByTheServer(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := serve(t, o)
		conn := dial(t, s.addr)
		(<-s.conns).Close(wire.Draining, "go")
		if code := readClose(t, conn); code != uint16(wire.Draining) {
			t.Fatalf("closed with %d", code)
		}
		_ = ws.WriteFrame(conn, ws.MaskFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(4021, ""))))
		if code := <-s.ends; code != wire.Draining {
			t.Fatalf("Closed was told %d", code)
		}
	})
}

func TestViolationIsClosedWithItsCode(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := serve(t, o)
		conn := dial(t, s.addr)
		if err := ws.WriteFrame(conn, ws.NewTextFrame([]byte("unmasked"))); err != nil {
			t.Fatal(err)
		}
		if code := readClose(t, conn); code != 1002 {
			t.Fatalf("closed with %d", code)
		}
		_ = conn.Close()
		if code := <-s.ends; code != wire.ProtocolError {
			t.Fatalf("Closed was told %d", code)
		}
	})
}

func TestVanishedPeer(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		s := serve(t, o)
		_ = dial(t, s.addr).Close()
		if code := <-s.ends; code != AbnormalClosure {
			t.Fatalf("Closed was told %d", code)
		}
	})
}

func readClose(t *testing.T, conn net.Conn) uint16 {
	t.Helper()
	for {
		f, err := ws.ReadFrame(conn)
		if err != nil {
			t.Fatalf("no close frame: %v", err)
		}
		if f.Header.OpCode == ws.OpClose {
			code, _ := ws.ParseCloseFrameData(f.Payload)
			return uint16(code)
		}
	}
}

func TestSilentPeerIsPingedThenClosed(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.PingInterval = 200 * time.Millisecond
		s := serve(t, o)
		conn := dial(t, s.addr)
		if err := wsutil.WriteClientText(conn, []byte("hi")); err != nil {
			t.Fatal(err)
		}
		pings := 0
		for {
			f, err := ws.ReadFrame(conn)
			if err != nil {
				t.Fatal(err)
			}
			switch f.Header.OpCode {
			case ws.OpPing:
				pings++
				if pings == 1 { // answered once, then no more
					if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewPongFrame(nil))); err != nil {
						t.Fatal(err)
					}
				}
				continue
			case ws.OpClose:
				if code, _ := ws.ParseCloseFrameData(f.Payload); wire.Code(code) != wire.Stale {
					t.Fatalf("closed with %d", code)
				}
				if pings != 2 {
					t.Fatalf("closed after %d pings", pings)
				}
				return
			}
		}
	})
}

func TestHandshakeHasItsTime(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.HandshakeTimeout = 100 * time.Millisecond
		s := serve(t, o)
		slow, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer slow.Close()
		_, _ = io.WriteString(slow, "GET / HT")
		_ = slow.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := slow.Read(make([]byte, 1)); err == nil || isTimeout(err) {
			t.Fatalf("a request that never ends: %v", err)
		}
		silent := dial(t, s.addr) // upgraded, but never established
		if code := readClose(t, silent); code != uint16(wire.ConnectTimeout) {
			t.Fatalf("closed with %d", code)
		}
	})
}

func TestLimitOfConnections(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.MaxConnsPerAddr = 1
		s := serve(t, o)
		first := dial(t, s.addr)
		_, _, _, err := ws.Dial(context.Background(), "ws://"+s.addr+"/")
		if err == nil {
			t.Fatal("a second connection was accepted")
		}
		_ = first.Close()
		<-s.ends
		_ = dial(t, s.addr)
		if st := s.Stats(); st.RefusedConnections != 1 {
			t.Fatalf("%+v", st)
		}
	})
}
