package streams

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/natstest"
	"github.com/jetwire/jetwire/streams/tap"
)

// valve stands between a Log and its server and can stop the bytes without closing anything, as a frozen server does.
type valve struct {
	l      net.Listener
	target string

	mu     sync.Mutex
	open   *sync.Cond
	closed bool
	shut   bool
	conns  []net.Conn
	wg     sync.WaitGroup
}

func newValve(t *testing.T, url string) *valve {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	v := &valve{l: l, target: strings.TrimPrefix(url, "nats://")}
	v.open = sync.NewCond(&v.mu)
	v.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			s, err := net.Dial("tcp", v.target)
			if err != nil {
				_ = c.Close()
				continue
			}
			v.mu.Lock()
			v.conns = append(v.conns, c, s)
			v.mu.Unlock()
			v.wg.Go(func() { v.pipe(c, s) })
			v.wg.Go(func() { v.pipe(s, c) })
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		v.mu.Lock()
		v.closed = true
		for _, c := range v.conns {
			_ = c.Close()
		}
		v.open.Broadcast()
		v.mu.Unlock()
		v.wg.Wait()
	})
	return v
}

func (v *valve) pipe(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		v.mu.Lock()
		for v.shut && !v.closed {
			v.open.Wait()
		}
		v.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				_ = from.Close()
			}
			return
		}
	}
}

func (v *valve) set(shut bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.shut = shut
	v.open.Broadcast()
}

// cut closes all connections.
func (v *valve) cut() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, c := range v.conns {
		_ = c.Close()
	}
	v.conns = nil
}

// TestScanEndsWithTheConnection checks that whoever waits for a scan, and those who wait for its slot, need not wait for its patience to end.
func TestScanEndsWithTheConnection(t *testing.T) {
	srv := natstest.Run(t)
	v := newValve(t, srv.URL())
	r := &rig{t: t, srv: srv}
	r.open(func(o *Options) {
		o.Connect = func(name string, extra ...nats.Option) (*nats.Conn, error) {
			return nats.Connect("nats://"+v.l.Addr().String(), extra...)
		}
	})
	s := r.stream("chat.x")
	for range 3 {
		r.store("chat.x", "body")
	}
	for _, at := range []string{"its beginning", "its middle"} {
		frozen, ended := make(chan struct{}), make(chan error, 1)
		freeze := sync.OnceFunc(func() {
			v.set(true)
			close(frozen)
		})
		if at == "its beginning" {
			freeze()
		}
		scan := func() {
			ended <- s.scan(t.Context(), scanning{from: 1, to: 4, batch: 1, purpose: "test", each: func(*tap.Message, place) bool {
				freeze()
				return true
			}})
		}
		go scan()
		for begun := false; !begun; {
			select {
			case <-frozen:
				begun = true
			case err := <-ended: // the connection that was cut before may only now be known to be down
				if !errors.Is(err, ErrUnavailable) {
					t.Fatal(err)
				}
				eventually(t, "the connection", func() bool { return r.log.reads.Up() })
				go scan()
			}
		}
		v.cut()
		if err := <-ended; !errors.Is(err, ErrUnavailable) {
			t.Errorf("cut at %s: %v", at, err)
		}
		v.set(false)
	}
}

// TestFrozenServer stops all bytes without closing a connection. No publisher is held up, and all are answered by their deadline.
func TestFrozenServer(t *testing.T) {
	srv := natstest.Run(t)
	v := newValve(t, srv.URL())
	r := &rig{t: t, srv: srv}
	r.open(func(o *Options) {
		o.PublishTimeout = 500 * time.Millisecond
		o.Connect = func(name string, extra ...nats.Option) (*nats.Conn, error) {
			return nats.Connect("nats://"+v.l.Addr().String(), extra...)
		}
	})
	s := r.stream("chat.x")
	r.store("chat.x", "before")
	v.set(true)
	body := make([]byte, 16<<10)
	const n = 5000 // more bytes than sockets and queues take
	var answered, stored atomic.Int64
	var slowest time.Duration
	start := time.Now()
	for range n {
		at := time.Now()
		r.log.Publish(Publication{Channel: "chat.x", QoS: 1, Body: body}, func(_ Ack, err error) {
			answered.Add(1)
			switch {
			case err == nil:
				stored.Add(1)
			case !errors.Is(err, ErrTimeout) && !errors.Is(err, ErrUnavailable):
				t.Error(err)
			}
		})
		slowest = max(slowest, time.Since(at))
	}
	if slowest > 300*time.Millisecond {
		t.Errorf("a publisher was held up for %s", slowest)
	}
	eventually(t, "all answers", func() bool { return answered.Load() == n })
	if took := time.Since(start); took > 5*time.Second {
		t.Errorf("answers took %s", took)
	}
	if stored.Load() > 0 {
		t.Errorf("%d acknowledged by a frozen server", stored.Load())
	}
	v.set(false)
	eventually(t, "recovery", func() bool {
		_, err := r.publish(Publication{Channel: "chat.x", QoS: 1, Body: []byte("after")})
		return err == nil
	})
	eventually(t, "the tail", func() bool {
		got := r.delivered()
		return string(got[len(got)-1].Body) == "after" && s.Head() == got[len(got)-1].Seq
	})
	checkContinuous(t, r.delivered(), nil)
}

// TestSmallIndex has more messages than its index may hold.
func TestSmallIndex(t *testing.T) {
	r := newRig(t, func(o *Options) { o.IndexBytes, o.RingBytes = 64<<10, 1 })
	const n = 30_000
	slots := make(chan struct{}, 1000)
	for i := range n {
		slots <- struct{}{}
		r.log.Publish(Publication{Channel: fmt.Sprintf("chat.room%d", i%1000), QoS: 1, Body: fmt.Append(nil, i)}, func(_ Ack, err error) {
			if err != nil {
				t.Error(err)
			}
			<-slots
		})
	}
	s := r.stream("chat.x")
	r.atHead(s, n)
	floor := s.gen.Load().index.Floor()
	if floor < n/10 {
		t.Fatalf("the index reaches back to %d", floor)
	}
	for _, newest := range []bool{false, true} {
		var got []string
		q := PageRequest{Channel: "chat.room7", Limit: 8, Newest: newest}
		for more := true; more; {
			p := r.page(s, q)
			if p.LostTo != 0 {
				t.Fatalf("%+v", p)
			}
			for _, m := range p.Messages {
				got = append(got, string(m.Body))
			}
			q.After, more = p.Through, p.More
			if newest {
				q.After, q.Until = 0, p.Through-1
			}
		}
		if len(got) != n/1000 {
			t.Fatalf("newest %v: %d messages: %v", newest, len(got), got)
		}
		for i, b := range got {
			if newest {
				i = len(got) - 1 - i
			}
			if b != fmt.Sprint(i*1000+7) {
				t.Fatalf("newest %v: %v", newest, got)
			}
		}
	}
	if st := r.log.Stats(); st.SlowReads == 0 {
		t.Fatalf("%+v", st)
	}
	// And after a restart, when the rebuild may end for want of room.
	if err := r.log.Close(); err != nil {
		t.Fatal(err)
	}
	r.open(func(o *Options) { o.IndexBytes, o.RingBytes = 64<<10, 1 })
	s = r.stream("chat.x")
	if p := r.page(s, PageRequest{Channel: "chat.room7", Limit: 100}); len(p.Messages) != n/1000 {
		t.Fatalf("%d messages", len(p.Messages))
	}
}
