package wsock

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gobwas/ws"
)

func BenchmarkFeed(b *testing.B) {
	for _, kind := range []string{"ascii", "greek"} {
		for _, n := range []int{64, 256, 4096, 65536} {
			s := strings.Repeat("x", n)
			if kind == "greek" {
				s = strings.Repeat("κ", n/2)
			}
			b.Run(fmt.Sprintf("%s/%d", kind, n), func(b *testing.B) { benchFeed(b, text(s).encode(true), 1, 0) })
		}
	}
	small := text(strings.Repeat("x", 100)).encode(true)
	b.Run("16 in one read", func(b *testing.B) { benchFeed(b, bytes.Repeat(small, 16), 16, 0) })
	b.Run("cut in two", func(b *testing.B) { benchFeed(b, small, 1, 50) })
	b.Run("bytes", func(b *testing.B) { benchFeed(b, small, 1, 1) })
	b.Run("1 MiB in reads of 1500", func(b *testing.B) { benchFeed(b, text(strings.Repeat("x", 1<<20)).encode(true), 1, 1500) })
	b.Run("1 MiB in bytes", func(b *testing.B) { benchFeed(b, text(strings.Repeat("x", 1<<20)).encode(true), 1, 1) })
}

func benchFeed(b *testing.B, stream []byte, messages, piece int) {
	work := make([]byte, len(stream))
	var r Reader
	h := &hooks{}
	if piece == 0 {
		piece = len(stream)
	}
	b.SetBytes(int64(len(stream)))
	b.ReportAllocs()
	for b.Loop() {
		copy(work, stream)
		for at := 0; at < len(work); at += piece {
			if err := r.Feed(server, work[at:min(at+piece, len(work))], h); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*messages), "ns/message")
}

func BenchmarkAppend(b *testing.B) {
	payload := bytes.Repeat([]byte("x"), 200)
	dst := make([]byte, 0, 512)
	b.Run("frame", func(b *testing.B) {
		for b.Loop() {
			dst = AppendFrame(dst[:0], ws.OpText, payload)
		}
	})
	b.Run("masked", func(b *testing.B) {
		for b.Loop() {
			dst = AppendMasked(dst[:0], ws.OpText, payload)
		}
	})
}

const chrome = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nPragma: no-cache\r\nCache-Control: no-cache\r\n" +
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
	"Upgrade: websocket\r\nOrigin: https://good.example\r\nSec-WebSocket-Version: 13\r\nAccept-Encoding: gzip, deflate, br\r\n" +
	"Accept-Language: en-US,en;q=0.9\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" +
	"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: jetwire.v1.json\r\n\r\n"

func BenchmarkHandshake(b *testing.B) {
	b.Run("accepted", func(b *testing.B) {
		buf := []byte(chrome)
		b.ReportAllocs()
		for b.Loop() {
			if st, _, _, _, err := shake.Parse(buf); st != Accepted {
				b.Fatal(st, err)
			}
		}
	})
	b.Run("not an upgrade", func(b *testing.B) {
		buf := []byte("GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
		b.ReportAllocs()
		for b.Loop() {
			if st, _, _, _, err := shake.Parse(buf); st != NotUpgrade {
				b.Fatal(st, err)
			}
		}
	})
	h := shake
	h.MaxBytes = 64 << 10
	for _, n := range []int{8 << 10, 64 << 10} { // linear: the time for a byte stays
		b.Run(fmt.Sprintf("%d KiB by bytes", n>>10), func(b *testing.B) {
			buf := []byte("GET /ws HTTP/1.1\r\nX: " + strings.Repeat("x", n))[:n-1]
			for b.Loop() {
				for i := 1; i <= len(buf); i++ {
					if st, _, _, _, err := h.Resume(buf[:i], i-1); st != More {
						b.Fatal(st, err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(buf)), "ns/byte")
		})
	}
}
