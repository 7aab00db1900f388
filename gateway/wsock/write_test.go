package wsock

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// What is written must read back, through gobwas's reader and through this package's own.
func TestFramesReadBack(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 125, 126, 127, 65535, 65536, 1 << 20} {
		payload := bytes.Repeat([]byte("é"), (n+1)/2)[:n]
		for _, op := range []ws.OpCode{ws.OpText, ws.OpBinary, ws.OpPing} {
			if op == ws.OpText && n%2 == 1 || op == ws.OpPing && n > maxControl {
				continue
			}
			before := bytes.Clone(payload)
			plain, masked := AppendFrame([]byte("kept"), op, payload), AppendMasked([]byte("kept"), op, payload)
			if !bytes.Equal(payload, before) {
				t.Fatal("the payload was changed")
			}
			want := frame{op: byte(op), payload: string(payload)}.encode(false)
			if !bytes.Equal(plain, append([]byte("kept"), want...)) {
				t.Errorf("opcode %d, %d bytes: the frame differs", op, n)
			}
			f, err := ws.ReadFrame(bytes.NewReader(masked[4:]))
			if err != nil || !f.Header.Masked || !f.Header.Fin || f.Header.OpCode != op || !bytes.Equal(ws.UnmaskFrame(f).Payload, payload) {
				t.Errorf("opcode %d, %d bytes: masked, gobwas reads %+v, %v", op, n, f.Header, err)
			}
			kind := map[ws.OpCode]string{ws.OpText: "text", ws.OpBinary: "binary", ws.OpPing: "ping"}[op]
			for server, stream := range map[bool][]byte{true: masked[4:], false: plain[4:]} {
				got := feed(t, Limits{MaxMessage: 1 << 20, Server: server}, stream, pieces(len(stream)))
				if !slices.Equal(got.calls, calls(call(kind, string(payload)))) {
					t.Errorf("opcode %d, %d bytes, server %v: %q, code %d", op, n, server, got.calls, got.code)
				}
			}
			if head := AppendHeader(nil, op, n); len(head) > MaxHeader || !bytes.HasPrefix(want, head) {
				t.Errorf("header % x", head)
			}
		}
	}
}

func TestMasksDiffer(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 100 {
		seen[string(AppendMasked(nil, ws.OpText, nil)[2:])] = true
	}
	if len(seen) < 99 {
		t.Errorf("%d different masks in 100", len(seen))
	}
}

func TestAppendClose(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("€", 60) // 180 bytes
	tests := []struct {
		code   uint16
		reason string
		want   string
	}{
		{Normal, "bye", `close 1000 "bye"`},
		{4001, "", `close 4001 ""`},
		{NoStatus, "dropped", `close 1005 ""`},
		{0, "dropped", `close 1005 ""`},
		{Normal, long, call("close 1000", long[:123])},
		{Normal, "x" + long, call("close 1000", "x"+long[:120])},
		{Normal, strings.Repeat("x", 123), call("close 1000", strings.Repeat("x", 123))},
	}
	for _, tt := range tests {
		if !utf8.ValidString(tt.want) {
			t.Fatal("bad test")
		}
		for server, stream := range map[bool][]byte{
			true: AppendMaskedClose(nil, tt.code, tt.reason), false: AppendClose(nil, tt.code, tt.reason),
		} {
			if got := feed(t, Limits{Server: server}, stream, pieces(1)); !slices.Equal(got.calls, calls(tt.want)) {
				t.Errorf("%d %q to server %v: %q, code %d", tt.code, tt.reason, server, got.calls, got.code)
			}
		}
	}
}
