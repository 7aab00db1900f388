package wsock

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"testing"
)

// frame is a frame as a test writes it, lawful or not.
type frame struct {
	op      byte
	more    bool // FIN is not set
	rsv     byte // 1 to 7
	payload string
	form    int  // 0: the shortest length; 2, 8: that many bytes of length
	length  int  // declared, if not the payload's
	flip    bool // masked where it must not be, or the other way round
}

func text(s string) frame        { return frame{op: 1, payload: s} }
func binaryFrame(s string) frame { return frame{op: 2, payload: s} }
func cont(s string) frame        { return frame{op: 0, payload: s} }
func ping(s string) frame        { return frame{op: 9, payload: s} }
func pong(s string) frame        { return frame{op: 10, payload: s} }
func closeFrame(s string) frame  { return frame{op: 8, payload: s} }
func closeCode(c int, s string) frame {
	return closeFrame(string(binary.BigEndian.AppendUint16(nil, uint16(c))) + s)
}
func (f frame) split() frame { f.more = true; return f }

// encode is written apart from the code under test. The mask follows from the payload, so that cases repeat exactly.
func (f frame) encode(toServer bool) []byte {
	first := f.op | f.rsv<<4
	if !f.more {
		first |= 0x80
	}
	n := len(f.payload)
	if f.length != 0 {
		n = f.length
	}
	masked := toServer != f.flip
	second := byte(0)
	if masked {
		second = 0x80
	}
	b := []byte{first}
	switch {
	case f.form == 8 || f.form == 0 && n > 0xFFFF:
		b = binary.BigEndian.AppendUint64(append(b, second|127), uint64(n))
	case f.form == 2 || f.form == 0 && n > 125:
		b = binary.BigEndian.AppendUint16(append(b, second|126), uint16(n))
	default:
		b = append(b, second|byte(n))
	}
	if !masked {
		return append(b, f.payload...)
	}
	mask := binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(f.payload))|1)
	b = append(b, mask...)
	for i := range len(f.payload) {
		b = append(b, f.payload[i]^mask[i%4])
	}
	return b
}

func encode(toServer bool, frames ...frame) []byte {
	var b []byte
	for _, f := range frames {
		b = append(b, f.encode(toServer)...)
	}
	return b
}

// recorder writes down the calls it gets.
type recorder struct{ calls []string }

func (r *recorder) add(kind string, p []byte) {
	if len(p) > 200 {
		r.calls = append(r.calls, fmt.Sprintf("%s %d bytes %08x", kind, len(p), crc32.ChecksumIEEE(p)))
		return
	}
	r.calls = append(r.calls, fmt.Sprintf("%s %q", kind, p))
}

func (r *recorder) Message(text bool, p []byte) {
	if text {
		r.add("text", p)
	} else {
		r.add("binary", p)
	}
}
func (r *recorder) Ping(p []byte) { r.add("ping", p) }
func (r *recorder) Pong(p []byte) { r.add("pong", p) }
func (r *recorder) Close(code uint16, reason []byte) {
	r.add(fmt.Sprintf("close %d", code), reason)
}

// call is what a recorder writes for a message or a control frame.
func call(kind, payload string) string {
	var r recorder
	r.add(kind, []byte(payload))
	return r.calls[0]
}

// result is all that feeding some bytes did.
type result struct {
	calls []string
	code  uint16 // of the error; 0: none
	at    int    // the byte that brought the error, counted from 1; to the end of the piece when pieces are larger
}

func (r result) same(o result) bool { return slices.Equal(r.calls, o.calls) && r.code == o.code }

// feed feeds stream in pieces: size says how large the next one is.
func feed(t testing.TB, l Limits, stream []byte, size func() int) result {
	t.Helper()
	var r Reader
	var rec recorder
	data := slices.Clone(stream) // Feed unmasks in place
	for at := 0; at < len(data); {
		n := min(max(size(), 1), len(data)-at)
		err := r.Feed(&l, data[at:at+n], &rec)
		at += n
		checkKept(t, &r, &l, at)
		if err != nil {
			var ce *CloseError
			ok := errors.As(err, &ce)
			if !ok {
				t.Fatalf("Feed returned a %T: %v", err, err)
			}
			before := len(rec.calls)
			if err := r.Feed(&l, encode(l.Server, text("later")), &rec); err != nil || len(rec.calls) != before {
				t.Fatalf("after an error Feed still reads: %v %q", err, rec.calls[before:])
			}
			return result{rec.calls, ce.Code, at}
		}
	}
	return result{calls: rec.calls}
}

// checkKept holds the promise about memory: at most twice what arrived, and never over the limit.
func checkKept(t testing.TB, r *Reader, l *Limits, arrived int) {
	t.Helper()
	if r.p == nil {
		return
	}
	if n := len(r.p.raw); n > maxControl+6 {
		t.Fatalf("keeps %d bytes of an incomplete frame", n)
	}
	if n := cap(r.p.msg); n > min(max(leastKept, 2*arrived), l.maxMessage()) {
		t.Fatalf("keeps %d bytes after %d have arrived, with a limit of %d", n, arrived, l.maxMessage())
	}
}

func pieces(n int) func() int { return func() int { return n } }
