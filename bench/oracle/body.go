package oracle

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc64"
)

// Form is the kind of bytes that a body is made of: each travels in another way.
type Form uint8

// The forms.
const (
	JSON   Form = iota // one JSON text
	Text               // UTF-8 that is no JSON
	Binary             // neither
	Forms              // how many there are
)

var (
	errSum   = errors.New("its body is damaged: the checksum is another")
	errForm  = errors.New("its body is damaged: it is too short, or none that AppendBody made")
	crcTable = crc64.MakeTable(crc64.ECMA)
)

const sumDigits = 16

// AppendBody appends a body of about size bytes that names the message and carries a checksum.
func AppendBody(dst []byte, channel, from, id string, size int, form Form) []byte {
	start := len(dst)
	tail := ""
	filler := "“Größe”, \tzwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich 🚣 \n"
	switch form {
	case JSON:
		dst = append(dst, `{"m":"`...)
		filler, tail = `Gr\u00f6\u00dfe \"über\" \\ 🚣 `, `"}`
	case Text:
		dst = append(dst, `m=`...)
	default:
		dst = append(dst, 0xff, 0)
	}
	dst = fmt.Appendf(dst, "%s %s %s ", channel, from, id)
	for n := 0; len(dst)-start+len(filler)+sumDigits+len(tail) < size; n++ {
		if form == Binary {
			dst = append(dst, byte(n), byte(n>>8), 0x80|byte(n))
		} else {
			dst = append(dst, filler...)
		}
	}
	dst = fmt.Appendf(dst, "%0*x", sumDigits, crc64.Checksum(dst[start:], crcTable))
	return append(dst, tail...)
}

// CheckBody returns an error unless the body is one that AppendBody made for that message, every byte of it.
func CheckBody(body []byte, channel, from, id string) error {
	var rest []byte
	tail := 0
	switch {
	case bytes.HasPrefix(body, []byte(`{"m":"`)):
		rest, tail = body[6:], 2
	case bytes.HasPrefix(body, []byte(`m=`)), bytes.HasPrefix(body, []byte{0xff, 0}):
		rest = body[2:]
	}
	at := len(body) - tail - sumDigits
	if at < len(body)-len(rest) {
		return errForm
	}
	sum := fmt.Appendf(nil, "%0*x", sumDigits, crc64.Checksum(body[:at], crcTable))
	if !bytes.Equal(sum, body[at:len(body)-tail]) || tail != 0 && string(body[len(body)-tail:]) != `"}` {
		return errSum
	}
	if !bytes.HasPrefix(rest, fmt.Appendf(nil, "%s %s %s ", channel, from, id)) {
		return fmt.Errorf("its body is that of another message: %.80q", rest)
	}
	return nil
}
