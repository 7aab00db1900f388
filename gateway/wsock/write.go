package wsock

import (
	"encoding/binary"
	"math/rand/v2"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// MaxHeader is the most that AppendHeader appends, in bytes: what a buffer for frames leaves before each payload.
const MaxHeader = 10

// AppendHeader appends the header of an unmasked frame of n bytes, as a server sends it, that is a message of its own.
func AppendHeader(dst []byte, op ws.OpCode, n int) []byte { return appendHeader(dst, op, n, 0) }

func appendHeader(dst []byte, op ws.OpCode, n int, mask byte) []byte {
	first := 0x80 | byte(op)
	switch {
	case n < 126:
		return append(dst, first, mask|byte(n))
	case n <= 0xFFFF:
		return append(dst, first, mask|126, byte(n>>8), byte(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, first, mask|127), uint64(n))
}

// AppendFrame appends a whole unmasked frame, as a server sends it.
func AppendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	return append(AppendHeader(dst, op, len(payload)), payload...)
}

// AppendMasked appends a whole frame as a client sends it, masked with a fresh key. The payload is not changed.
func AppendMasked(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst, mask := appendMaskedHeader(dst, op, len(payload))
	at := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[at:], mask, 0)
	return dst
}

func appendMaskedHeader(dst []byte, op ws.OpCode, n int) ([]byte, [4]byte) {
	// RFC 6455, 5.3: the key must not be predictable for whoever provides the payload. The top-level generator of
	// math/rand/v2 is ChaCha8, seeded by the system.
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], rand.Uint32())
	return append(appendHeader(dst, op, n, 0x80), mask[:]...), mask
}

// AppendClose appends a close frame as a server sends it. A code of NoStatus, or 0, makes it empty. A reason over 123
// bytes is cut, between characters.
func AppendClose(dst []byte, code uint16, reason string) []byte {
	reason = cutReason(code, reason)
	return appendCloseBody(AppendHeader(dst, ws.OpClose, closeSize(code, reason)), code, reason)
}

// AppendMaskedClose is AppendClose for clients.
func AppendMaskedClose(dst []byte, code uint16, reason string) []byte {
	reason = cutReason(code, reason)
	dst, mask := appendMaskedHeader(dst, ws.OpClose, closeSize(code, reason))
	at := len(dst)
	dst = appendCloseBody(dst, code, reason)
	ws.Cipher(dst[at:], mask, 0)
	return dst
}

func cutReason(code uint16, reason string) string {
	if code == 0 || code == NoStatus {
		return ""
	}
	if len(reason) > maxCloseReason {
		n := maxCloseReason
		for n > 0 && !utf8.RuneStart(reason[n]) {
			n--
		}
		reason = reason[:n]
	}
	return reason
}

func closeSize(code uint16, reason string) int {
	if code == 0 || code == NoStatus {
		return 0
	}
	return 2 + len(reason)
}

func appendCloseBody(dst []byte, code uint16, reason string) []byte {
	if code == 0 || code == NoStatus {
		return dst
	}
	return append(binary.BigEndian.AppendUint16(dst, code), reason...)
}
