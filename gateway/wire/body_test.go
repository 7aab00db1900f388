package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func TestBodyVectors(t *testing.T) {
	type vector struct {
		Name, Encoding, Data string
		Body                 vectorBody
	}
	names := map[Encoding]string{JSON: "json", Text: "text", Base64: "base64"}
	for _, v := range vectors[vector](t, "bodies.json") {
		t.Run(v.Name, func(t *testing.T) {
			body := v.Body.bytes()
			e := EncodingOf(body)
			if names[e] != v.Encoding {
				t.Fatalf("encoding %s, want %s", names[e], v.Encoding)
			}
			data := AppendData(nil, body, e)
			if string(data) != v.Data {
				t.Errorf("got  %s\nwant %s", data, v.Data)
			}
			back, err := DecodeBody(data, e)
			if err != nil {
				t.Fatal(err)
			}
			if e == JSON {
				body = bytes.TrimSpace(body)
			}
			if !bytes.Equal(back, body) {
				t.Errorf("decoded %q, want %q", back, body)
			}
		})
	}
}

func TestDecodeBodyRefuses(t *testing.T) {
	for _, c := range []struct {
		data string
		e    Encoding
	}{
		{`1`, Text}, {``, Text}, {`"a`, Text}, {`"a"b`, Text}, {`"\ud800"`, Text}, {`"\ud800x"`, Text}, {`"\ud800\n"`, Text},
		{`"\ud800\u0041"`, Text}, {`"\udc00\ud800"`, Text}, {`"\udc00"`, Text}, {`"\u12"`, Text}, {`"\`, Text},
		{`"AP/+`, Base64}, {`"AP/"`, Base64}, {`"AP_-"`, Base64}, {`"AP/+\n"`, Base64}, {`"/x=="`, Base64}, {`{}`, Base64},
	} {
		if body, err := DecodeBody([]byte(c.data), c.e); !errors.Is(err, ErrBody) {
			t.Errorf("%s: got %q, %v", c.data, body, err)
		}
	}
}

// A string of every length with the one special byte at every place: the eight bytes at a time must not hide one.
func TestPlainUntil(t *testing.T) {
	for n := range 40 {
		for at := range n {
			for _, c := range []byte{'"', '\\', 0, 1, 0x1f} {
				for _, fill := range []byte{' ', '!', '#', '[', ']', 0x7f, 0x80, 0xa2, 0xdc, 0xff} {
					b := bytes.Repeat([]byte{fill}, n)
					if got := plainUntil(b, 0); got != n {
						t.Fatalf("%d times %#x: %d", n, fill, got)
					}
					b[at] = c
					if got := plainUntil(b, 0); got != at {
						t.Fatalf("%#x at %d of %d times %#x: %d", c, at, n, fill, got)
					}
				}
			}
		}
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "a", "\x00\x1f\x7f", `"\/`, "ä€😀", "\u2028", "\xff", "a\xe2\x82", "\xed\xa0\x80x", "\ufffd", "\xc3\x28", strings.Repeat("x", 100) + "\n"} {
		got := appendString(nil, s)
		var back string
		if err := json.Unmarshal(got, &back); err != nil || back != strings.ToValidUTF8(runewise(s), "\ufffd") {
			t.Errorf("%q: %s, %v", s, got, err)
		}
		if two := appendString(nil, []byte(s)); !bytes.Equal(got, two) {
			t.Errorf("%q: bytes give %s, a string %s", s, two, got)
		}
	}
}

// runewise replaces each byte that is not UTF-8 by a U+FFFD of its own, as encoding/json does.
func runewise(s string) string { return string([]rune(s)) }
