package origin_test

import (
	"strings"
	"testing"

	"github.com/jetwire/jetwire/streams/origin"
)

func TestKey(t *testing.T) {
	k := origin.Key("alice", "chat.lobby", "m1")
	if len(k) != 22 || k != origin.Key("alice", "chat.lobby", "m1") {
		t.Fatal(k)
	}
	for _, other := range []string{origin.Key("alice", "chat.lobby", "m2"), origin.Key("alicec", "hat.lobby", "m1"), origin.Key("", "chat.lobby", "m1")} {
		if other == k {
			t.Fatal("the same key")
		}
	}
}

// FuzzEscape carries any sender and id through a header and back.
func FuzzEscape(f *testing.F) {
	for _, s := range []string{"", "alice", " a b ", "a%41", "x\r\nNats-Msg-Id: y", "é\x00\x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		e := origin.Escape(s)
		if strings.ContainsAny(e, "\r\n\x00") || strings.TrimSpace(e) != e && strings.TrimSpace(s) == s {
			t.Fatalf("%q becomes %q", s, e)
		}
		if back := origin.Unescape(e); back != s || string(origin.Unescape([]byte(e))) != s {
			t.Fatalf("%q comes back as %q", s, back)
		}
	})
}
