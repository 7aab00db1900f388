package wsock

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// compliance is one case of RFC 6455, numbered like the Autobahn test suite's where that has it.
type compliance struct {
	id     string
	frames []frame
	calls  []string // what the Handler is told before the end
	code   uint16   // of the violation; 0: none
	at     int      // the byte of the stream to a server, counted from 1, at which the violation must be seen; 0: anywhere
	max    int      // Limits.MaxMessage
}

func calls(c ...string) []string { return c }

const greek = "Hello-µ@ßöäüàá-UTF-8!!"

func TestCompliance(t *testing.T) {
	t.Parallel()
	cases := slices.Concat(framing(), pings(), reserved(), fragmentation(), utf8Cases(), closing(), large())
	for _, server := range []bool{true, false} {
		for _, c := range cases {
			t.Run(fmt.Sprintf("%s/server=%v", c.id, server), func(t *testing.T) {
				t.Parallel()
				stream := encode(server, c.frames...)
				l := Limits{MaxMessage: c.max, Server: server}
				cuts := []int{len(stream), 1300, 997, 13, 3, 1}
				if len(stream) > 1<<17 {
					cuts = cuts[:3]
				}
				for _, n := range cuts {
					got := feed(t, l, stream, pieces(n))
					if !got.same(result{calls: c.calls, code: c.code}) {
						t.Fatalf("in pieces of %d: got %q and code %d, want %q and %d", n, got.calls, got.code, c.calls, c.code)
					}
					if n == 1 && server && c.at != 0 && got.at != c.at {
						t.Errorf("the violation was seen at byte %d of %d, want %d", got.at, len(stream), c.at)
					}
				}
			})
		}
	}
}

func framing() (cs []compliance) {
	for i, n := range []int{0, 125, 126, 127, 128, 65535, 65536} {
		s, b := strings.Repeat("*", n), strings.Repeat("\xfe", n)
		cs = append(cs,
			compliance{id: fmt.Sprintf("1.1.%d", i+1), frames: []frame{text(s)}, calls: calls(call("text", s))},
			compliance{id: fmt.Sprintf("1.2.%d", i+1), frames: []frame{binaryFrame(b)}, calls: calls(call("binary", b))})
	}
	return append(cs,
		compliance{id: "length 125 in 2 bytes", frames: []frame{{op: 2, payload: strings.Repeat("x", 125), form: 2}}, code: 1002, at: 4},
		compliance{id: "length 0 in 8 bytes", frames: []frame{{op: 2, form: 8}}, code: 1002, at: 10},
		compliance{id: "length 65535 in 8 bytes", frames: []frame{{op: 2, payload: strings.Repeat("x", 65535), form: 8}}, code: 1002, at: 10},
		compliance{id: "length with the highest bit", frames: []frame{{op: 2, form: 8, length: -1 << 63}}, code: 1002, at: 3},
		compliance{id: "length 2^63-1", frames: []frame{{op: 2, form: 8, length: 1<<63 - 1}}, code: 1009, at: 10},
		compliance{id: "masked the wrong way", frames: []frame{text("a"), {op: 1, payload: "b", flip: true}}, calls: calls(`text "a"`), code: 1002},
		compliance{id: "masked the wrong way, control", frames: []frame{{op: 9, flip: true}}, code: 1002, at: 2},
	)
}

func pings() []compliance {
	long := strings.Repeat("\xfe", 125)
	ten, tenCalls := []frame{}, []string{}
	for i := range 10 {
		s := fmt.Sprintf("payload-%d", i)
		ten, tenCalls = append(ten, ping(s)), append(tenCalls, call("ping", s))
	}
	return []compliance{
		{id: "2.1", frames: []frame{ping("")}, calls: calls(`ping ""`)},
		{id: "2.2", frames: []frame{ping("Hello, world!")}, calls: calls(`ping "Hello, world!"`)},
		{id: "2.3", frames: []frame{ping("\x00\xff\xfe\xfd\xfc\xfb\x00\xff")}, calls: calls(call("ping", "\x00\xff\xfe\xfd\xfc\xfb\x00\xff"))},
		{id: "2.4", frames: []frame{ping(long)}, calls: calls(call("ping", long))},
		{id: "2.5", frames: []frame{ping(long + "\xfe")}, code: 1002, at: 2},
		{id: "2.6", frames: []frame{ping(long), ping("")}, calls: calls(call("ping", long), `ping ""`)},
		{id: "2.7", frames: []frame{pong("")}, calls: calls(`pong ""`)},
		{id: "2.8", frames: []frame{pong("unsolicited")}, calls: calls(`pong "unsolicited"`)},
		{id: "2.9", frames: []frame{pong("unsolicited"), ping("x")}, calls: calls(`pong "unsolicited"`, `ping "x"`)},
		{id: "2.10", frames: ten, calls: tenCalls},
		{id: "pong of 126", frames: []frame{pong(long + "x")}, code: 1002, at: 2},
		{id: "ping of 64 KiB", frames: []frame{ping(strings.Repeat("x", 1<<16))}, code: 1002, at: 2},
	}
}

func reserved() []compliance {
	cs := []compliance{
		{id: "3.1", frames: []frame{{op: 1, rsv: 4, payload: "x"}}, code: 1002, at: 1},
		{id: "3.2", frames: []frame{text("a"), {op: 1, rsv: 2, payload: "x"}, ping("")}, calls: calls(`text "a"`), code: 1002},
		{id: "3.3", frames: []frame{text("a"), {op: 1, rsv: 3, payload: "x"}, ping("")}, calls: calls(`text "a"`), code: 1002},
		{id: "3.4", frames: []frame{text("a"), {op: 1, rsv: 1, payload: "x"}, ping("")}, calls: calls(`text "a"`), code: 1002},
		{id: "3.5", frames: []frame{{op: 2, rsv: 5, payload: "x"}}, code: 1002, at: 1},
		{id: "3.6", frames: []frame{{op: 9, rsv: 6, payload: "x"}}, code: 1002, at: 1},
		{id: "3.7", frames: []frame{{op: 8, rsv: 7}}, code: 1002, at: 1},
		{id: "3, in a continuation", frames: []frame{text("a").split(), {op: 0, rsv: 4}}, code: 1002},
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 11, 12, 13, 14, 15} {
		cs = append(cs,
			compliance{id: fmt.Sprintf("4, opcode %d", op), frames: []frame{{op: op}}, code: 1002, at: 1},
			compliance{id: fmt.Sprintf("4, opcode %d later", op), frames: []frame{text("a"), {op: op, payload: "x"}, ping("")}, calls: calls(`text "a"`), code: 1002})
	}
	return cs
}

func fragmentation() []compliance {
	cs := []compliance{
		{id: "5.1", frames: []frame{ping("a").split(), cont("b")}, code: 1002, at: 1},
		{id: "5.2", frames: []frame{pong("a").split(), cont("b")}, code: 1002, at: 1},
		{id: "5.2, close", frames: []frame{closeFrame("").split()}, code: 1002, at: 1},
		{id: "5.3", frames: []frame{text("frag").split(), cont("ment")}, calls: calls(`text "fragment"`)},
		{id: "5.3, binary", frames: []frame{binaryFrame("\xff").split(), cont("\xfe")}, calls: calls(`binary "\xff\xfe"`)},
		{id: "5.6", frames: []frame{text("frag").split(), ping("p"), cont("ment")}, calls: calls(`ping "p"`, `text "fragment"`)},
		{id: "5.7", frames: []frame{text("frag").split(), pong("p"), cont("ment")}, calls: calls(`pong "p"`, `text "fragment"`)},
		{id: "5.9", frames: []frame{cont("a"), text("b")}, code: 1002, at: 1},
		{id: "5.12", frames: []frame{cont("a").split(), text("b")}, code: 1002, at: 1},
		{id: "5.15", frames: []frame{text("a").split(), cont("b"), cont("c").split(), text("d")}, calls: calls(`text "ab"`), code: 1002},
		{id: "5.16", frames: []frame{cont("a").split(), text("b"), cont("c")}, code: 1002, at: 1},
		{id: "5.17", frames: []frame{cont("a"), text("b"), cont("c")}, code: 1002, at: 1},
		{id: "5.18", frames: []frame{text("a").split(), text("b")}, code: 1002, at: 8},
		{id: "5.18, binary in text", frames: []frame{text("a").split(), binaryFrame("b")}, code: 1002, at: 8},
		{
			id: "5.19",
			frames: []frame{
				text("1").split(), cont("2").split(), ping("p1"), cont("3").split(), cont("4").split(), ping("p2"), cont("5"),
			},
			calls: calls(`ping "p1"`, `ping "p2"`, `text "12345"`),
		},
		{id: "close inside", frames: []frame{text("a").split(), closeCode(1000, ""), cont("b")}, calls: calls(`close 1000 ""`)},
		{id: "all empty", frames: []frame{text("").split(), cont("").split(), cont("")}, calls: calls(`text ""`)},
		{id: "empty at the ends", frames: []frame{text("").split(), cont("x").split(), cont("")}, calls: calls(`text "x"`)},
		{id: "two messages", frames: []frame{text("a").split(), cont("b"), binaryFrame("\xff").split(), cont("d")}, calls: calls(`text "ab"`, `binary "\xffd"`)},
	}
	flood := []frame{text("").split()}
	for range 5000 {
		flood = append(flood, cont("").split())
	}
	return append(cs, compliance{id: "flood of empty fragments", frames: append(flood, cont("x")), calls: calls(`text "x"`)})
}

func utf8Cases() []compliance {
	bytewise := func(s string) (fs []frame) {
		fs = append(fs, text("").split())
		for i := range len(s) {
			fs = append(fs, cont(s[i:i+1]).split())
		}
		return append(fs, cont(""))
	}
	// A header to a server is 6 bytes: at counts to the byte of the payload that is impossible.
	bad := "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80\x65\x64\x69\x74\x65\x64"
	late := "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xf4\x90\x80\x80\x65\x64\x69\x74\x65\x64"
	cs := []compliance{
		{id: "6.1.1", frames: []frame{text("")}, calls: calls(`text ""`)},
		{id: "6.1.3", frames: []frame{text("").split(), cont("middle frame payload").split(), cont("")}, calls: calls(`text "middle frame payload"`)},
		{id: "6.2.1", frames: []frame{text(greek)}, calls: calls(call("text", greek))},
		{id: "6.2.2", frames: []frame{text(greek[:12]).split(), cont(greek[12:])}, calls: calls(call("text", greek))},
		{id: "6.2.3", frames: bytewise(greek), calls: calls(call("text", greek))},
		{id: "6.3.1", frames: []frame{text(bad)}, code: 1007, at: 6 + 13},
		{id: "6.3.2", frames: bytewise(bad), code: 1007, at: 6 + 13*7},
		{id: "6.4.1", frames: []frame{text(late[:11]).split(), cont(late[11:15]).split(), cont(late[15:])}, code: 1007, at: 6 + 11 + 6 + 2},
		{id: "6.4.2", frames: []frame{text(late[:12]).split(), cont(late[12:13]).split(), cont(late[13:])}, code: 1007, at: 6 + 12 + 7},
		{id: "6.4.3", frames: []frame{text(late)}, code: 1007, at: 6 + 13},
		{id: "6.4.4", frames: []frame{{op: 1, payload: late, length: 1 << 16}}, code: 1007, at: 14 + 13},
		{id: "binary is not checked", frames: []frame{binaryFrame("\xff").split(), cont("\xc0")}, calls: calls(`binary "\xff\xc0"`)},
		{id: "cut by a ping", frames: []frame{text("\xe2\x82").split(), ping("\xff"), cont("\xac")}, calls: calls(call("ping", "\xff"), `text "€"`)},
		{id: "unfinished", frames: []frame{text("\xe2\x82")}, code: 1007, at: 8},
		{id: "unfinished in fragments", frames: []frame{text("\xf0\x9f").split(), cont("\x98")}, code: 1007, at: 15},
		{id: "unfinished, then empty", frames: []frame{text("\xf0\x9f").split(), cont("")}, code: 1007, at: 14},
		{id: "new message starts anew", frames: []frame{text("\xe2\x82").split(), cont("\xac"), text("\xac")}, calls: calls(`text "€"`), code: 1007},
	}
	valid := []string{ // 6.5 to 6.7, 6.9, 6.11, 6.22, 6.23
		"κόσμε", "\x00", "\u0080", "\u0800", "\U00010000", "\x7f", "\u07ff", "\uffff", "\ud7ff", "\ue000", "\ufffd",
		"\U0010ffff", "\ufffe", "\ufdd0", "\U0001fffe", "\U0010fffe", "hello\U00024b62world",
	}
	invalid := []string{ // 6.6, 6.8, 6.10, 6.12 to 6.21
		"\xce", "\xce\xba\xe1", "\xf8\x88\x80\x80\x80", "\xfc\x84\x80\x80\x80\x80", "\xf7\xbf\xbf\xbf", "\xfb\xbf\xbf\xbf\xbf",
		"\xf4\x90\x80\x80", "\x80", "\xbf", "\x80\xbf\x80", "\xc0 \xc1 ", "\xe0 ", "\xf0 ", "\xf8 ", "\xfc ", "\xc0", "\xe0\x80",
		"\xf0\x80\x80", "\xdf", "\xef\xbf", "\xf7\xbf\xbf", "\xfe", "\xff", "\xfe\xfe\xff\xff", "\xc0\xaf", "\xe0\x80\xaf",
		"\xf0\x80\x80\xaf", "\xc1\xbf", "\xe0\x9f\xbf", "\xf0\x8f\xbf\xbf", "\xed\xa0\x80", "\xed\xaf\xbf", "\xed\xbf\xbf",
		"\xed\xa0\x80\xed\xb0\x80", "\xf5\x80\x80\x80", "\xe1\x80\xc0", "\xf1\x80\x80\x7f", "\xed\xb0\x80",
	}
	for i, s := range valid {
		cs = append(cs,
			compliance{id: fmt.Sprintf("6, valid %d", i), frames: []frame{text(s)}, calls: calls(call("text", s))},
			compliance{id: fmt.Sprintf("6, valid %d bytewise", i), frames: bytewise(s), calls: calls(call("text", s))})
	}
	for i, s := range invalid {
		cs = append(cs,
			compliance{id: fmt.Sprintf("6, invalid %d", i), frames: []frame{text(s)}, code: 1007},
			compliance{id: fmt.Sprintf("6, invalid %d bytewise", i), frames: bytewise(s), code: 1007})
	}
	return cs
}

func closing() []compliance {
	longest := strings.Repeat("*", 123)
	cs := []compliance{
		{id: "7.1.1", frames: []frame{text("a"), closeCode(1000, "")}, calls: calls(`text "a"`, `close 1000 ""`)},
		{id: "7.1.2", frames: []frame{closeCode(1000, ""), closeCode(1000, "")}, calls: calls(`close 1000 ""`)},
		{id: "7.1.3", frames: []frame{closeCode(1000, ""), ping("")}, calls: calls(`close 1000 ""`)},
		{id: "7.1.4", frames: []frame{closeCode(1000, ""), text("x")}, calls: calls(`close 1000 ""`)},
		{id: "7.1.5", frames: []frame{text("a").split(), closeCode(1000, ""), cont("b")}, calls: calls(`close 1000 ""`)},
		{id: "7.1.6", frames: []frame{closeCode(1000, ""), {op: 3, rsv: 7}}, calls: calls(`close 1000 ""`)},
		{id: "7.3.1", frames: []frame{closeFrame("")}, calls: calls(`close 1005 ""`)},
		{id: "7.3.2", frames: []frame{closeFrame("a")}, code: 1002, at: 7},
		{id: "7.3.3", frames: []frame{closeCode(1000, "")}, calls: calls(`close 1000 ""`)},
		{id: "7.3.4", frames: []frame{closeCode(1000, "Hello World!")}, calls: calls(`close 1000 "Hello World!"`)},
		{id: "7.3.5", frames: []frame{closeCode(1000, longest)}, calls: calls(call("close 1000", longest))},
		{id: "7.3.6", frames: []frame{closeCode(1000, longest+"*")}, code: 1002, at: 2},
		{id: "7.5.1", frames: []frame{closeCode(1000, "\xce\xba\xed\xa0\x80edited")}, code: 1007},
		{id: "7.5, reason cut in a character", frames: []frame{closeCode(1000, "\xe2\x82")}, code: 1007},
	}
	for _, c := range []int{1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999} {
		cs = append(cs, compliance{id: fmt.Sprintf("7.7, code %d", c), frames: []frame{closeCode(c, "")}, calls: calls(fmt.Sprintf(`close %d ""`, c))})
	}
	for _, c := range []int{0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535} {
		cs = append(cs, compliance{id: fmt.Sprintf("7.9, code %d", c), frames: []frame{closeCode(c, "")}, code: 1002})
	}
	return cs
}

func large() (cs []compliance) {
	for i, n := range []int{64 << 10, 256 << 10, 1 << 20, 4 << 20} {
		s := strings.Repeat("Ⓐb", n/4)
		cs = append(cs, compliance{id: fmt.Sprintf("9.1.%d", i+1), frames: []frame{text(s)}, calls: calls(call("text", s)), max: n})
	}
	s := strings.Repeat("*", 1<<20)
	for i, n := range []int{64, 256, 1024, 4096, 65536} {
		fs := []frame{binaryFrame(s[:n]).split()}
		for at := n; at < len(s); at += n {
			fs = append(fs, cont(s[at:at+n]).split())
		}
		fs[len(fs)-1].more = false
		cs = append(cs, compliance{id: fmt.Sprintf("9.4.%d", i+1), frames: fs, calls: calls(call("binary", s)), max: 1 << 20})
	}
	ten := strings.Repeat("x", 10)
	return append(cs,
		compliance{id: "at the limit", frames: []frame{text(ten)}, calls: calls(call("text", ten)), max: 10},
		compliance{id: "over the limit", frames: []frame{text(ten)}, code: 1009, at: 2, max: 9},
		compliance{id: "declared over the limit", frames: []frame{{op: 1, length: 1 << 40}}, code: 1009, at: 10, max: 9},
		compliance{id: "fragments at the limit", frames: []frame{text(ten).split(), ping(ten), cont(ten)}, calls: calls(call("ping", ten), call("text", ten+ten)), max: 20},
		compliance{id: "fragments over the limit", frames: []frame{text(ten).split(), cont(ten)}, code: 1009, at: 6 + 10 + 2, max: 19},
		compliance{id: "fragment declared over the limit", frames: []frame{text(ten).split(), {op: 0, length: 1<<63 - 1}}, code: 1009, at: 6 + 10 + 10, max: 19},
		compliance{id: "control frames do not count", frames: []frame{ping(ten), closeCode(1000, ten)}, calls: calls(call("ping", ten), call("close 1000", ten)), max: 5},
	)
}
