package wsock

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// cycle returns the sizes of pieces that a fuzzer's bytes stand for.
func cycle(cuts []byte) func() int {
	i := 0
	return func() int {
		if len(cuts) == 0 {
			return 1
		}
		n := int(cuts[i%len(cuts)])%64 + 1
		i++
		return n
	}
}

// FuzzFeed feeds arbitrary bytes whole and cut: calls and violation must be the same.
func FuzzFeed(f *testing.F) {
	for _, cs := range [][]compliance{framing()[:4], pings(), reserved(), fragmentation(), utf8Cases(), closing()} {
		for _, c := range cs {
			if len(c.frames) < 50 {
				f.Add(encode(true, c.frames...), []byte{1, 7, 2}, true)
				f.Add(encode(false, c.frames...), []byte{3}, false)
			}
		}
	}
	f.Fuzz(func(t *testing.T, stream, cuts []byte, server bool) {
		l := Limits{MaxMessage: 4096, Server: server}
		whole := feed(t, l, stream, pieces(len(stream)))
		for name, size := range map[string]func() int{"bytes": pieces(1), "cuts": cycle(cuts)} {
			if got := feed(t, l, stream, size); !got.same(whole) {
				t.Fatalf("%s: %q and code %d, whole %q and %d", name, got.calls, got.code, whole.calls, whole.code)
			}
		}
	})
}

// FuzzOracle compares with gobwas's own reader on streams of frames, most of them lawful.
func FuzzOracle(f *testing.F) {
	f.Add([]byte("\x81\x05hello\x01\x03abc\x80\x03def\x89\x01p\x88\x02\x03\xe8"), true)
	f.Add([]byte("\x01\x02\xe2\x82\x89\x00\x80\x01\xac\x82\x02\xff\xfe\x8a\x7dpong"), true)
	f.Add([]byte("\x01\x04\xce\xba\xed\xa0\x00\x01\x80"), false)
	f.Add([]byte("\x00\x01a"), false)
	f.Add([]byte("\xc1\x01a"), true)
	f.Add([]byte("\x01\x010\x88\x04\x03\xe8xx"), true) // a close inside a fragmented message
	f.Fuzz(func(t *testing.T, plan []byte, server bool) {
		frames := planned(plan)
		stream := encode(server, frames...)
		l := Limits{MaxMessage: 1 << 20, Server: server}
		want := oracle(stream, server)
		if got := feed(t, l, stream, pieces(len(stream))); !got.same(want) {
			t.Fatalf("%+v\ngot  %q and code %d\nwant %q and %d", frames, got.calls, got.code, want.calls, want.code)
		}
	})
}

// planned reads a fuzzer's bytes as frames: first byte, length, payload. What is too short is made up for with 'x', so
// that every frame is whole.
func planned(plan []byte) (fs []frame) {
	for len(plan) >= 2 && len(fs) < 32 {
		fr := frame{op: plan[0] & 15, rsv: plan[0] >> 4 & 7, more: plan[0]&0x80 == 0}
		n := int(plan[1])
		plan = plan[2:]
		have := min(n, len(plan))
		fr.payload = string(append(bytes.Clone(plan[:have]), bytes.Repeat([]byte("x"), n-have)...))
		fs, plan = append(fs, fr), plan[have:]
	}
	return fs
}

// errClosed ends the oracle's reading. It is not io.EOF: inside a fragmented message that would end the message.
var errClosed = errors.New("closed")

// oracle reads stream with wsutil.
func oracle(stream []byte, server bool) (res result) {
	state := ws.StateClientSide
	if server {
		state = ws.StateServerSide
	}
	var rec recorder
	closed := false
	control := func(h ws.Header, body io.Reader) error {
		p, err := io.ReadAll(body)
		if err != nil {
			return err
		}
		switch h.OpCode {
		case ws.OpPing:
			rec.Ping(p)
		case ws.OpPong:
			rec.Pong(p)
		default:
			code, reason := ws.ParseCloseFrameData(p)
			switch {
			case len(p) == 0:
				code = ws.StatusNoStatusRcvd
			case len(p) == 1, code >= 5000: // ws lets them pass
				return ws.ErrProtocolStatusCodeUnknown
			case code >= 1012 && code <= 1014: // IANA has these three, ws has not
				err = ws.CheckCloseFrameData(ws.StatusNormalClosure, reason)
			default:
				err = ws.CheckCloseFrameData(code, reason)
			}
			if err != nil {
				return err
			}
			rec.Close(uint16(code), []byte(reason))
			closed = true
			return errClosed
		}
		return nil
	}
	rd := &wsutil.Reader{Source: bytes.NewReader(stream), State: state, CheckUTF8: true, OnIntermediate: control}
	for !closed {
		h, err := rd.NextFrame()
		if err == nil {
			if h.OpCode.IsControl() {
				if err = control(h, rd); err == nil {
					continue
				}
			} else {
				var p []byte
				if p, err = io.ReadAll(rd); err == nil {
					rec.Message(h.OpCode == ws.OpText, p)
					continue
				}
			}
		}
		if !closed {
			res.code = oracleCode(err)
		}
		break
	}
	res.calls = rec.calls
	return res
}

func oracleCode(err error) uint16 {
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return 0 // the stream ended
	case errors.Is(err, wsutil.ErrInvalidUTF8), errors.Is(err, ws.ErrProtocolInvalidUTF8):
		return InvalidPayload
	}
	return ProtocolError
}
