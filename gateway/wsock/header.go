package wsock

import (
	"encoding/binary"

	"github.com/gobwas/ws"
)

// header is the head of a frame.
//
//	byte 0    FIN 0x80, RSV1-3 0x70, opcode 0x0f
//	byte 1    MASK 0x80, length 0x7f (126: two bytes of length follow, 127: eight)
//	          0, 2 or 8 bytes of length, big-endian, then 4 bytes of mask if MASK is set
type header struct {
	op     ws.OpCode
	fin    bool
	mask   [4]byte
	length int
}

// parseHeader reads a header from the start of p and returns its size, or 0 when p ends inside it. Whatever the bytes
// that are there already forbid is an error, complete or not. open says that a fragmented message is in progress, of
// which have bytes have arrived.
func parseHeader(l *Limits, p []byte, open bool, have int) (h header, size int, err *CloseError) {
	if len(p) == 0 {
		return h, 0, nil
	}
	h.op, h.fin = ws.OpCode(p[0]&0x0F), p[0]&0x80 != 0
	if err := checkFirst(p[0], open); err != nil {
		return h, 0, err
	}
	if len(p) < 2 {
		return h, 0, nil
	}
	// RFC 6455, 5.1: "a client MUST mask all frames that it sends to the server"; "a server MUST NOT mask".
	if masked := p[1]&0x80 != 0; masked != l.Server {
		if l.Server {
			return h, 0, errUnmasked
		}
		return h, 0, errMasked
	}
	n, err := h.parseLength(p)
	if n == 0 || err != nil {
		return h, 0, err
	}
	if !h.op.IsControl() && h.length > l.maxMessage()-have {
		return h, 0, errTooBig
	}
	if l.Server {
		if len(p) < n+4 {
			return h, 0, nil
		}
		h.mask = [4]byte(p[n:])
		n += 4
	}
	return h, n, nil
}

// checkFirst checks a header's first byte.
func checkFirst(b byte, open bool) *CloseError {
	op := ws.OpCode(b & 0x0F)
	switch {
	case b&0x70 != 0:
		// 5.2: "MUST be 0 unless an extension is negotiated that defines meanings for non-zero values."
		return errReserved
	case op.IsReserved():
		// 5.2: "If an unknown opcode is received, the receiving endpoint MUST _Fail the WebSocket Connection_."
		return errOpcode
	case op.IsControl() && b&0x80 == 0:
		// 5.5: "All control frames MUST have a payload length of 125 bytes or less and MUST NOT be fragmented."
		return errControlSplit
	case op == ws.OpContinuation && !open:
		return errContinue
	case op.IsData() && op != ws.OpContinuation && open:
		// 5.4: "The fragments of one message MUST NOT be interleaved between the fragments of another message".
		return errInterrupt
	}
	return nil
}

// parseLength reads the length, and returns how many bytes of the header lie before the mask, or 0 when p ends earlier.
func (h *header) parseLength(p []byte) (int, *CloseError) {
	short := p[1] & 0x7F
	if h.op.IsControl() && short > maxControl {
		return 0, errControlSize
	}
	switch short {
	case 126:
		if len(p) < 4 {
			return 0, nil
		}
		h.length = int(binary.BigEndian.Uint16(p[2:]))
		if h.length < 126 {
			// 5.2: "the minimal number of bytes MUST be used to encode the length".
			return 0, errLength
		}
		return 4, nil
	case 127:
		if len(p) > 2 && p[2]&0x80 != 0 {
			// 5.2: "the most significant bit MUST be 0".
			return 0, errLengthBit
		}
		if len(p) < 10 {
			return 0, nil
		}
		n := binary.BigEndian.Uint64(p[2:])
		if n <= 0xFFFF {
			return 0, errLength
		}
		if n > maxInt {
			return 0, errTooBig // on 32-bit machines
		}
		h.length = int(n)
		return 10, nil
	}
	h.length = int(short)
	return 2, nil
}

const maxInt = uint64(^uint(0) >> 1)
