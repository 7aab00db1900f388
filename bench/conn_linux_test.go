package bench

import (
	"bytes"
	"io"
	"testing"

	"github.com/gobwas/ws"
	"golang.org/x/sys/unix"

	"github.com/jetwire/jetwire/gateway/wire"
)

// reading returns a joined connection that reads from the other end of a pair.
func reading(t *testing.T, ch *channel) (c *conn, peer int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = unix.Close(fds[0])
		_ = unix.Close(fds[1])
	})
	flow := newFlow(&Load{}, newFleet(&Load{Target: &Target{}}, 1), []*channel{ch}, 1)
	l := &loop{fleet: flow.fleet, dialect: jetwire{}, sink: flow.newSink(), buf: make([]byte, 512)}
	return &conn{loop: l, fd: fds[0], phase: joined, tracks: []track{{ch: ch}}}, fds[1]
}

// TestFramesInPieces cuts a stream of frames everywhere: small ones, one larger than the loop's buffer, and one in
// fragments with a ping between them.
func TestFramesInPieces(t *testing.T) {
	ch := &channel{name: "a.b"}
	var stream []byte
	for n := uint64(1); n <= 4; n++ {
		size := 64
		if n == 3 {
			size = 2000
		}
		text := wire.AppendMessagePush(nil, &wire.Message{Channel: "a.b", Seq: n, Prev: n - 1, Body: appendPayload(nil, 1, n, size)})
		if n == 4 {
			first, last := ws.NewFrame(ws.OpText, false, text[:10]), ws.NewFrame(ws.OpContinuation, true, text[10:])
			stream = append(stream, ws.MustCompileFrame(first)...)
			stream = append(stream, ws.MustCompileFrame(ws.NewPingFrame([]byte("ping")))...)
			stream = append(stream, ws.MustCompileFrame(last)...)
			break
		}
		stream = append(stream, ws.MustCompileFrame(ws.NewTextFrame(text))...)
	}
	for _, piece := range []int{1, 2, 3, 7, 100, 511, 513, len(stream)} {
		c, peer := reading(t, ch)
		for p := range chunks(stream, piece) {
			if _, err := unix.Write(peer, p); err != nil {
				t.Fatal(err)
			}
			for waiting(t, c.fd) > 0 {
				if err := c.readable(); err != nil {
					t.Fatalf("pieces of %d: %v", piece, err)
				}
			}
		}
		if got := c.loop.sink.(*deliveries).counts; got != (deliveryCounts{Received: 4}) || c.tracks[0].lost(4, 0) != 0 {
			t.Errorf("pieces of %d: %+v", piece, got)
		}
		if c.rest != nil || c.part != nil || c.out != nil {
			t.Errorf("pieces of %d: an idle connection holds %d, %d and %d bytes", piece, len(c.rest), len(c.part), len(c.out))
		}
		var pong [64]byte
		n, err := unix.Read(peer, pong[:])
		if err != nil {
			t.Fatal(err)
		}
		f, err := ws.ReadFrame(bytes.NewReader(pong[:n]))
		if err != nil || f.Header.OpCode != ws.OpPong || !f.Header.Masked || string(ws.UnmaskFrame(f).Payload) != "ping" {
			t.Errorf("pieces of %d: answered the ping with %+v, %v", piece, f.Header, err)
		}
	}
}

func waiting(t *testing.T, fd int) int {
	t.Helper()
	n, err := unix.IoctlGetInt(fd, unix.TIOCINQ)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func chunks(p []byte, size int) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		for len(p) > 0 {
			n := min(size, len(p))
			if !yield(p[:n]) {
				return
			}
			p = p[n:]
		}
	}
}

func TestConnEnds(t *testing.T) {
	for name, bytes := range map[string][]byte{
		"close":  ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(4020, "too slow"))),
		"masked": {0x81, 0x80, 0, 0, 0, 0},
		"opcode": {0x83, 0x00},
		"json":   ws.MustCompileFrame(ws.NewTextFrame([]byte("no json"))),
		"error":  ws.MustCompileFrame(ws.NewTextFrame(wire.AppendErrorReply(nil, 0, wire.StoreFull.Err()))),
		"moved":  ws.MustCompileFrame(ws.NewTextFrame(wire.AppendReconnectPush(nil, 1, "draining"))),
	} {
		c, peer := reading(t, &channel{name: "a.b"})
		if _, err := unix.Write(peer, bytes); err != nil {
			t.Fatal(err)
		}
		if err := c.readable(); err == nil || err == io.EOF {
			t.Errorf("%s: %v", name, err)
		}
	}
	c, peer := reading(t, &channel{name: "a.b"})
	if err := unix.Shutdown(peer, unix.SHUT_WR); err != nil {
		t.Fatal(err)
	}
	if err := c.readable(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}
