package transport

import (
	"net"
	"sync"
	"testing"
	"time"
)

// Closing while sockets come in ends, and counts every socket out.
func TestCloseWhileSocketsComeIn(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		for range 20 {
			s, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			addr, err := s.Listen("127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			served := make(chan struct{})
			go func() { defer close(served); _ = s.Serve() }()
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 4 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						c, err := net.Dial("tcp", addr.String())
						if err != nil {
							continue
						}
						_ = c.(*net.TCPConn).SetLinger(0)
						_ = c.Close()
					}
				})
			}
			for s.Stats().Accepted < 20 {
				time.Sleep(time.Millisecond)
			}
			closed := make(chan struct{})
			go func() { defer close(closed); _ = s.StopAccepting(); _ = s.Close() }()
			select {
			case <-closed:
			case <-time.After(10 * time.Second):
				t.Fatal("Close hangs")
			}
			close(stop)
			wg.Wait()
			<-served
			if n := s.Stats().Connections; n != 0 {
				t.Fatalf("%d connections are counted after Close", n)
			}
		}
	})
}
