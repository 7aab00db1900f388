package bench

import (
	"bytes"
	"io"
	"testing"

	"github.com/gobwas/ws"
)

func TestSplitFrame(t *testing.T) {
	for _, size := range []int{0, 1, 125, 126, 65535, 65536} {
		payload := bytes.Repeat([]byte{'x'}, size)
		whole := ws.MustCompileFrame(ws.NewTextFrame(payload))
		f, n, _, err := splitFrame(append(whole, 1, 2, 3))
		if err != nil || n != len(whole) || !f.fin || f.op != ws.OpText || !bytes.Equal(f.payload, payload) {
			t.Errorf("size %d: %d of %d bytes, %v", size, n, len(whole), err)
		}
		for _, cut := range []int{0, 1, min(5, len(whole)-1), len(whole) - 1} {
			if _, n, need, err := splitFrame(whole[:cut]); n != 0 || err != nil || need <= cut || need > len(whole) {
				t.Errorf("size %d cut to %d: n %d, need %d, %v", size, cut, n, need, err)
			}
		}
	}
}

func TestSplitFrameRefuses(t *testing.T) {
	for name, p := range map[string][]byte{
		"masked":   {0x81, 0x80, 0, 0, 0, 0},
		"reserved": {0xc1, 0x00},
		"huge":     {0x82, 127, 0x7f, 0, 0, 0, 0, 0, 0, 0},
	} {
		if _, _, _, err := splitFrame(p); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// FuzzSplitFrame holds it against gobwas/ws.
func FuzzSplitFrame(f *testing.F) {
	f.Add(ws.MustCompileFrame(ws.NewTextFrame([]byte("hello"))))
	f.Add([]byte{0x89, 126, 0, 3, 'a', 'b', 'c', 0})
	f.Fuzz(func(t *testing.T, p []byte) {
		got, n, _, err := splitFrame(p)
		if err != nil {
			return
		}
		r := bytes.NewReader(p)
		h, err := ws.ReadHeader(r)
		if err != nil || int64(r.Len()) < h.Length {
			if n != 0 {
				t.Fatalf("%x: split at %d, ws says %v", p, n, err)
			}
			return
		}
		payload := make([]byte, h.Length)
		if _, err := io.ReadFull(r, payload); err != nil {
			t.Fatal(err)
		}
		if n != len(p)-r.Len() || got.op != h.OpCode || got.fin != h.Fin || !bytes.Equal(got.payload, payload) {
			t.Fatalf("%x: got %+v (%d), ws %+v", p, got, n, h)
		}
	})
}
