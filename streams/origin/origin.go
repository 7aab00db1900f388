// Package origin writes who sent a message, and under which id, into its NATS headers, and reads it back. It must not know what messages
// are for.
package origin

import (
	"crypto/sha256"
	"encoding/base64"
)

// The headers. Everything else of a message is the sender's body, as it was.
const (
	From  = "Jw-From"     // the user who sent it
	ID    = "Jw-Id"       // the sender's own id
	MsgID = "Nats-Msg-Id" // JetStream's dedup key: see Key
)

// Key derives the key that JetStream deduplicates by from sender, channel (or destination) and id, so that no sender can block the ids of another.
func Key(from, channel, id string) string {
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

// Escape makes any string a header value that arrives as it was: control characters, % and blanks at either end are %XX.
func Escape(s string) string {
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

// Unescape undoes Escape. What is no escape stays as it is: other clients write these headers too.
func Unescape[T string | []byte](s T) T {
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
