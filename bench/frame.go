package bench

import (
	"encoding/binary"
	"errors"

	"github.com/gobwas/ws"
)

var (
	errMasked   = errors.New("the server masked a frame (RFC 6455, 5.1: a server must not)")
	errReserved = errors.New("a reserved bit is set in a frame (RFC 6455, 5.2)")
	errHuge     = errors.New("the server announced a frame of more than 16 MiB")
)

const maxFrame = 16 << 20

// frame is one frame from the server. The payload aliases what was read.
type frame struct {
	op      ws.OpCode
	fin     bool
	payload []byte
}

// splitFrame takes the first frame off p: n is its whole length, 0 if it is not complete yet. need is then how many bytes
// it will have, as far as that can be told.
func splitFrame(p []byte) (f frame, n, need int, err error) {
	if len(p) < 2 {
		return f, 0, 2, nil
	}
	if p[0]&0x70 != 0 {
		return f, 0, 0, errReserved
	}
	if p[1]&0x80 != 0 {
		return f, 0, 0, errMasked
	}
	head, length := 2, uint64(p[1]&0x7f)
	switch length {
	case 126:
		if head = 4; len(p) < head {
			return f, 0, head, nil
		}
		length = uint64(binary.BigEndian.Uint16(p[2:]))
	case 127:
		if head = 10; len(p) < head {
			return f, 0, head, nil
		}
		length = binary.BigEndian.Uint64(p[2:])
	}
	if length > maxFrame {
		return f, 0, 0, errHuge
	}
	n = head + int(length)
	if len(p) < n {
		return f, 0, n, nil
	}
	return frame{op: ws.OpCode(p[0] & 0x0f), fin: p[0]&0x80 != 0, payload: p[head:n]}, n, n, nil
}
