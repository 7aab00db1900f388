package transport

import (
	"bytes"
	"net/url"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

func mustURL(s string) *url.URL {
	u, err := url.Parse(s)
	if err != nil {
		panic(err)
	}
	return u
}

// A socket that does not read is offered frames until one is refused; nothing that was taken is lost, and Drained is
// called when it has read everything.
func TestSlowSocketIsRefusedThenDrained(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.QueueBytes = 64 << 10
		s := serve(t, o)
		conn := dial(t, s.addr)
		c := <-s.conns
		frame := wsock.AppendFrame(nil, ws.OpBinary, bytes.Repeat([]byte{7}, 10_000))
		taken := 0
		for {
			ok, flush := c.Offer(frame)
			if flush {
				Flush([]*Conn{c})
			}
			if !ok {
				break
			}
			taken++
		}
		for range taken {
			if got, _, err := wsutil.ReadServerData(conn); err != nil || len(got) != 10_000 {
				t.Fatalf("%d bytes, %v", len(got), err)
			}
		}
		for c.recv.(*echo).drained.Load() != 1 {
			time.Sleep(time.Millisecond)
		}
		if ok, flush := c.Offer(frame); !ok {
			t.Fatal("refused after it had drained")
		} else if flush {
			Flush([]*Conn{c})
		}
	})
}

func TestPeerThatNeverReadsIsEnded(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.PingInterval, o.StallTimeout = 100*time.Millisecond, 100*time.Millisecond
		s := serve(t, o)
		_ = dial(t, s.addr)
		c := <-s.conns
		c.Establish()
		frame := wsock.AppendFrame(nil, ws.OpBinary, make([]byte, 100_000))
		for {
			select {
			case code := <-s.ends:
				if code != wire.SlowConsumer {
					t.Fatalf("Closed was told %d", code)
				}
				return
			case <-time.After(time.Millisecond):
			}
			for ok := true; ok; {
				var flush bool
				if ok, flush = c.Offer(frame); flush {
					Flush([]*Conn{c})
				}
				ok = ok && c.isOpen()
			}
		}
	})
}

// A peer that asks and never reads the answers stops being read, instead of making the queue grow.
func TestPeerThatFloodsIsPaused(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.QueueBytes = 32 << 10
		s := serve(t, o)
		conn := dial(t, s.addr)
		c := <-s.conns
		_ = conn.SetWriteDeadline(time.Now().Add(2 * time.Second))
		msg := bytes.Repeat([]byte("x"), 8<<10)
		sent := 0
		for wsutil.WriteClientBinary(conn, msg) == nil {
			sent++
			c.mu.Lock()
			waits := 0
			if c.out != nil {
				waits = c.out.bytes
			}
			c.mu.Unlock()
			if waits > o.QueueBytes+64<<10+2*len(msg) {
				t.Fatalf("%d bytes wait", waits)
			}
		}
		_ = conn.SetDeadline(time.Now().Add(20 * time.Second))
		for range sent - 1 { // the last write was cut
			if _, _, err := wsutil.ReadServerData(conn); err != nil {
				t.Fatalf("of %d: %v", sent, err)
			}
		}
	})
}

func TestQueueJoinsAndCuts(t *testing.T) {
	q, s := queues.Get().(*queue), getScratch()
	defer s.release()
	var want, got []byte
	for i := range 300 {
		f := bytes.Repeat([]byte{byte(i)}, 1+i*7)
		q.push(f)
		want = append(want, f...)
	}
	for n := 1; len(q.frames) > 0; n = n*3 + 1 {
		head := s.head(q)
		if len(head) > scratchBytes {
			t.Fatalf("%d bytes in one write", len(head))
		}
		n = min(n, len(head))
		got = append(got, head[:n]...)
		q.written(n)
	}
	if !bytes.Equal(got, want) || q.bytes != 0 || q.offset != 0 {
		t.Fatalf("%d of %d bytes, %d left at %d", len(got), len(want), q.bytes, q.offset)
	}
	q.release()
}

func TestTableReturnsEachOnceInItsTurn(t *testing.T) {
	w := newTable(time.Second)
	var conns []*Conn
	for i := range 500 {
		c := new(Conn)
		conns = append(conns, c)
		w.add(c, time.Duration(i)*time.Millisecond)
	}
	w.remove(conns[3])
	w.set(conns[4], 900*time.Millisecond) // moved
	seen := make(map[*Conn]time.Duration)
	for turn := 1; turn < tableTicks; turn++ {
		for _, c := range w.advance(nil) {
			if _, twice := seen[c]; twice {
				t.Fatal("returned twice")
			}
			seen[c] = time.Duration(turn) * w.tick
		}
	}
	for i, c := range conns {
		want := time.Duration(i) * time.Millisecond
		if i == 4 {
			want = 900 * time.Millisecond
		}
		at, ok := seen[c]
		if ok == (i == 3) || ok && (at < want || at > want+2*w.tick) {
			t.Errorf("conn %d came at %v, wanted %v", i, at, want)
		}
	}
}
