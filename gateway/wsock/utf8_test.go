package wsock

import (
	"testing"
	"unicode/utf8"
)

// Every sequence of up to four bytes drawn from the edges of the tables: the state must refuse exactly at the first
// byte after which nothing valid can follow.
func TestUTF8StateAtEveryByte(t *testing.T) {
	t.Parallel()
	edges := []byte{
		0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xEC, 0xED, 0xEE, 0xEF,
		0xF0, 0xF1, 0xF3, 0xF4, 0xF5, 0xF7, 0xF8, 0xFF,
	}
	var walk func(prefix []byte)
	walk = func(prefix []byte) {
		possible := canContinue(prefix)
		for cut := 0; cut <= len(prefix); cut++ {
			var u utf8State
			ok := u.feed(prefix[:cut]) && u.feed(prefix[cut:])
			if ok != possible {
				t.Fatalf("% x cut at %d: %v, want %v", prefix, cut, ok, possible)
			}
			if ok && (u.need == 0) != utf8.Valid(prefix) {
				t.Fatalf("% x cut at %d: %d bytes are said to be missing", prefix, cut, u.need)
			}
		}
		if possible && len(prefix) < 4 {
			for _, b := range edges {
				walk(append(prefix[:len(prefix):len(prefix)], b))
			}
		}
	}
	walk(nil)
}

// canContinue reports whether some continuation makes p valid, by trying.
func canContinue(p []byte) bool {
	if utf8.Valid(p) {
		return true
	}
	buf := append([]byte(nil), p...)
	for range 3 {
		for _, first := range []byte{0x80, 0x90, 0xA0} {
			next := append(buf[:len(buf):len(buf)], first)
			if utf8.Valid(next) || utf8.Valid(append(next[:len(next):len(next)], 0x80)) ||
				utf8.Valid(append(next[:len(next):len(next)], 0x80, 0x80)) {
				return true
			}
		}
	}
	return false
}

func FuzzUTF8(f *testing.F) {
	f.Add([]byte("κόσμε €uro \U0010ffff"), []byte{1, 2, 3})
	f.Add([]byte("\xce\xba\xed\xa0\x80edited"), []byte{1})
	f.Add([]byte("\xf4\x90\x80\x80"), []byte{})
	f.Fuzz(func(t *testing.T, p, cuts []byte) {
		var u utf8State
		ok := true
		size := cycle(cuts)
		for rest := p; ok && len(rest) > 0; {
			n := min(size(), len(rest))
			ok = u.feed(rest[:n])
			rest = rest[n:]
		}
		if (ok && u.need == 0) != utf8.Valid(p) {
			t.Fatalf("%q: feed says %v with %d missing, utf8.Valid %v", p, ok, u.need, utf8.Valid(p))
		}
	})
}
