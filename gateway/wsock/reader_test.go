package wsock

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"unsafe"

	"github.com/gobwas/ws"
)

// hooks is a Handler of which a test writes what it needs.
type hooks struct {
	message func(text bool, p []byte)
	pings   int
	bytes   int
}

func (h *hooks) Message(text bool, p []byte) {
	h.bytes += len(p)
	if h.message != nil {
		h.message(text, p)
	}
}
func (h *hooks) Ping([]byte)          { h.pings++ }
func (h *hooks) Pong([]byte)          {}
func (h *hooks) Close(uint16, []byte) {}

var server = &Limits{Server: true, MaxMessage: 16 << 20}

func TestReaderIsOnePointer(t *testing.T) {
	t.Parallel()
	if n := unsafe.Sizeof(Reader{}); n != unsafe.Sizeof(uintptr(0)) {
		t.Errorf("a Reader takes %d bytes", n)
	}
}

// Every message must leave the Reader without memory, however it came.
func TestReaderIsIdleBetweenMessages(t *testing.T) {
	t.Parallel()
	frames := [][]frame{
		{text("whole")},
		{text("in").split(), cont(" parts")},
		{ping("control")},
		{text("a").split(), ping("b"), cont("c")},
	}
	for _, fs := range frames {
		stream := encode(true, fs...)
		for n := 1; n <= len(stream); n++ {
			var r Reader
			for p := range slices.Chunk(slices.Clone(stream), n) {
				if err := r.Feed(server, p, &hooks{}); err != nil {
					t.Fatal(err)
				}
			}
			if r.p != nil || !r.Idle() {
				t.Errorf("%+v in pieces of %d leaves %+v behind", fs, n, r.p)
			}
		}
	}
}

func TestReleaseWithinACallEndsTheReading(t *testing.T) {
	t.Parallel()
	last := [][]frame{{text("last")}, {text("la").split(), cont("st")}}
	for _, fs := range last {
		for _, n := range []int{1, 5, 1000} {
			var r Reader
			var got []string
			h := &hooks{message: func(_ bool, p []byte) {
				got = append(got, string(p))
				r.Release()
			}}
			stream := append(encode(true, fs...), encode(true, text("more"), ping(""), frame{op: 15})...)
			for p := range slices.Chunk(stream, n) {
				if err := r.Feed(server, p, h); err != nil {
					t.Fatalf("pieces of %d: %v", n, err)
				}
			}
			if len(got) != 1 || got[0] != "last" || h.pings != 0 {
				t.Errorf("pieces of %d: got %q and %d pings after Release", n, got, h.pings)
			}
		}
	}
}

// What a Reader keeps must be its own: the caller reads the next bytes into the same buffer.
func TestFeedKeepsNothingOfItsArgument(t *testing.T) {
	t.Parallel()
	want := strings.Repeat("0123456789abcdef€", 50)
	stream := encode(true, ping("ping"), text(want[:100]).split(), ping("inside"), cont(want[100:]), closeCode(1000, "reason"))
	for n := 1; n < 400; n += 7 {
		var r Reader
		var rec recorder
		buf := make([]byte, n)
		for p := range slices.Chunk(stream, n) {
			in := buf[:copy(buf, p)]
			if err := r.Feed(server, in, &rec); err != nil {
				t.Fatal(err)
			}
			for i := range buf {
				buf[i] = 0xAA
			}
		}
		expect := calls(`ping "ping"`, `ping "inside"`, call("text", want), `close 1000 "reason"`)
		if !slices.Equal(rec.calls, expect) {
			t.Fatalf("pieces of %d: %q", n, rec.calls)
		}
	}
}

// A handler that appends to a payload must not overwrite the frame behind it.
func TestPayloadEndsWhereItEnds(t *testing.T) {
	t.Parallel()
	var r Reader
	var got []string
	h := &hooks{message: func(_ bool, p []byte) {
		got = append(got, string(p))
		_ = append(p, "overwritten"...)
	}}
	if err := r.Feed(server, encode(true, text("one"), text("two")), h); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got, []string{"one", "two"}) {
		t.Errorf("got %q", got)
	}
}

func TestMaskAtEveryOffset(t *testing.T) {
	t.Parallel()
	rng := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		want := make([]byte, n)
		for i := range want {
			want[i] = byte(rng.Uint32())
		}
		stream := binaryFrame(string(want)).encode(true)
		got := feed(t, *server, stream, func() int { return 1 + rng.IntN(40) })
		if !slices.Equal(got.calls, calls(call("binary", string(want)))) {
			t.Fatalf("%d bytes: %q", n, got.calls)
		}
	}
}

func TestDefaultLimit(t *testing.T) {
	t.Parallel()
	l := Limits{Server: true}
	if got := feed(t, l, text(strings.Repeat("x", DefaultMaxMessage)).encode(true), pieces(1<<20)); got.code != 0 {
		t.Errorf("a message of the default limit is refused with %d", got.code)
	}
	if got := feed(t, l, text(strings.Repeat("x", DefaultMaxMessage+1)).encode(true), pieces(1<<20)); got.code != MessageTooBig {
		t.Errorf("a message over the default limit: code %d", got.code)
	}
}

func TestDeclaredLengthReservesNothing(t *testing.T) {
	t.Parallel()
	var r Reader
	head := frame{op: 2, length: 16 << 20}.encode(true)
	if err := r.Feed(server, append(head, "abc"...), &hooks{}); err != nil {
		t.Fatal(err)
	}
	if n := cap(r.p.msg); n > leastKept {
		t.Errorf("three bytes of sixteen million declared reserve %d", n)
	}
}

func TestAllocations(t *testing.T) {
	small := text(`{"id":7,"publish":{"channel":"chat.lobby","data":{"text":"hello"}}}`)
	work := make([]byte, 1<<16)
	frames := map[string][]byte{
		"a small text message":     small.encode(true),
		"eight in one read":        bytes.Repeat(small.encode(true), 8),
		"a message of 32 KiB":      binaryFrame(strings.Repeat("x", 32<<10)).encode(true),
		"ping, pong":               encode(true, ping("hello"), pong("hello")),
		"a violation, and no more": encode(true, frame{op: 7}),
	}
	h := &hooks{}
	for name, stream := range frames {
		if n := testing.AllocsPerRun(100, func() {
			var r Reader
			_ = r.Feed(server, work[:copy(work, stream)], h)
		}); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
	// Cut once: what remembers it, and the bytes.
	stream := small.encode(true)
	if n := testing.AllocsPerRun(100, func() {
		var r Reader
		in := work[:copy(work, stream)]
		_ = r.Feed(server, in[:30], h)
		_ = r.Feed(server, in[30:], h)
	}); n > 2 {
		t.Errorf("a message cut once: %v allocations", n)
	}
	dst := make([]byte, 0, 1024)
	payload := []byte(small.payload)
	if n := testing.AllocsPerRun(100, func() {
		dst = AppendFrame(dst[:0], ws.OpText, payload)
		dst = AppendMasked(dst, ws.OpText, payload)
		dst = AppendClose(dst, 1000, "bye")
		dst = AppendMaskedClose(dst, 1000, "bye")
	}); n != 0 {
		t.Errorf("writing frames: %v allocations", n)
	}
}

// A message in tiny pieces must not be copied over and over: the buffer grows by doubling, whatever cuts the message.
func TestPiecesAreNotQuadratic(t *testing.T) {
	const size = 1 << 18
	var fragments []byte
	fragments = append(fragments, binaryFrame("").split().encode(true)...)
	empty, single := cont("").split().encode(true), cont("x").split().encode(true)
	for range size {
		fragments = append(append(fragments, empty...), single...)
	}
	fragments = append(fragments, cont("").encode(true)...)
	streams := map[string][]byte{
		"bytes of one frame":    binaryFrame(strings.Repeat("x", size)).encode(true),
		"fragments of one byte": fragments,
	}
	for name, stream := range streams {
		h := &hooks{}
		work := make([]byte, len(stream))
		n := testing.AllocsPerRun(1, func() {
			var r Reader
			copy(work, stream)
			for i := range work {
				if err := r.Feed(server, work[i:i+1], h); err != nil {
					t.Fatal(err)
				}
			}
		})
		if n > 24 {
			t.Errorf("%s: %v allocations for %d bytes", name, n, size)
		}
		if h.bytes != 2*size { // AllocsPerRun runs once to warm up
			t.Errorf("%s: %d bytes arrived", name, h.bytes)
		}
	}
}
