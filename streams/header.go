package streams

import (
	"crypto/sha256"
	"encoding/base64"

	"github.com/nats-io/nats.go"
)

// The headers of a stored message. Everything else of it is the publisher's body, as it was.
const (
	headerFrom  = "Jw-From"     // the user who published it
	headerID    = "Jw-Id"       // the publisher's own id
	headerMsgID = "Nats-Msg-Id" // JetStream's dedup key: see dedupKey
)

// dedupKey derives the key that JetStream deduplicates by from sender, channel and id, so that no sender can block the ids of another.
func dedupKey(from, channel, id string) string {
	var scratch [512]byte
	b := append(scratch[:0], from...)
	b = append(b, 0)
	b = append(b, channel...)
	b = append(b, 0)
	b = append(b, id...)
	sum := sha256.Sum256(b)
	var text [22]byte // 132 of the 256 bits
	base64.RawURLEncoding.Encode(text[:], sum[:16])
	return string(text[:])
}

// escape makes any string a header value that arrives as it was: control characters, % and blanks at either end are %XX.
func escape(s string) string {
	for i := range len(s) {
		if mustEscape(s, i) {
			return escapeAll(s)
		}
	}
	return s
}

func mustEscape(s string, i int) bool {
	c := s[i]
	return c < ' ' || c == 0x7f || c == '%' || c == ' ' && (i == 0 || i == len(s)-1)
}

func escapeAll(s string) string {
	const hex = "0123456789ABCDEF"
	b := make([]byte, 0, len(s)+8)
	for i := range len(s) {
		if mustEscape(s, i) {
			b = append(b, '%', hex[s[i]>>4], hex[s[i]&15])
		} else {
			b = append(b, s[i])
		}
	}
	return string(b)
}

// unescape undoes escape. What is no escape stays as it is: other clients write these headers too.
func unescape[T string | []byte](s T) T {
	i := 0
	for i < len(s) && s[i] != '%' {
		i++
	}
	if i == len(s) {
		return s
	}
	b := append(make([]byte, 0, len(s)), s[:i]...)
	for ; i < len(s); i++ {
		if s[i] == '%' && i+2 < len(s) {
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi < 16 && lo < 16 {
				b = append(b, hi<<4|lo)
				i += 2
				continue
			}
		}
		b = append(b, s[i])
	}
	return T(b)
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	}
	return 255
}

// identity reads sender and id from the headers of a message.
func identity(h nats.Header) (from, id string) {
	if len(h) == 0 {
		return "", ""
	}
	if v := h[headerFrom]; len(v) > 0 {
		from = unescape(v[0])
	}
	if v := h[headerID]; len(v) > 0 {
		id = unescape(v[0])
	} else if v := h[headerMsgID]; len(v) > 0 {
		id = v[0]
	}
	return from, id
}
