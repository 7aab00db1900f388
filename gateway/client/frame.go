package client

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"unicode/utf8"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// frameReader assembles the server's messages. It knows bytes, never commands.
type frameReader struct {
	r       io.Reader // buffered
	limit   int       // bytes of the largest message
	head    [ws.MaxHeaderSize]byte
	control [ws.MaxControlFramePayloadSize]byte
	message []byte // the data message so far
	begun   bool   // a fragment came, its message is not complete
}

// What a message's buffer may keep between two messages.
const keepBuffer = 64 << 10

// next returns the next message or control frame; the payload is valid until the next call. A control frame may come between
// the fragments of a message. The error is a *protocolError if the server broke the protocol.
func (f *frameReader) next() (ws.OpCode, []byte, error) {
	for {
		h, err := ws.ReadHeaderBuffer(f.r, f.head[:])
		if err != nil {
			if errors.Is(err, ws.ErrHeaderLengthMSB) || errors.Is(err, ws.ErrHeaderLengthUnexpected) {
				err = &protocolError{wire.ProtocolError, err}
			}
			return 0, nil, err
		}
		state := ws.StateClientSide
		if f.begun {
			state = state.Set(ws.StateFragmented)
		}
		if err := ws.CheckHeader(h, state); err != nil {
			return 0, nil, &protocolError{wire.ProtocolError, err}
		}
		if h.OpCode.IsControl() {
			p := f.control[:h.Length]
			if _, err := io.ReadFull(f.r, p); err != nil {
				return 0, nil, short(err)
			}
			return h.OpCode, p, nil
		}
		if h.OpCode == ws.OpBinary {
			return 0, nil, &protocolError{wire.UnsupportedData, errors.New("a binary frame")}
		}
		if !f.begun {
			f.message = f.message[:0]
			if cap(f.message) > keepBuffer {
				f.message = nil
			}
		}
		if err := f.readData(h.Length); err != nil {
			return 0, nil, err
		}
		f.begun = !h.Fin
		if !h.Fin {
			continue
		}
		if !utf8.Valid(f.message) {
			return 0, nil, &protocolError{wire.InvalidPayload, errors.New("a text message that is not UTF-8")}
		}
		return ws.OpText, f.message, nil
	}
}

// readData appends a fragment to the message. Memory grows with what has come, not with what the header declares.
func (f *frameReader) readData(n int64) error {
	if n > int64(f.limit-len(f.message)) {
		return &protocolError{wire.MessageTooBig, fmt.Errorf("a message of more than %d bytes", f.limit)}
	}
	for n > 0 {
		step := int(min(n, keepBuffer))
		at := len(f.message)
		f.message = slices.Grow(f.message, step)[:at+step]
		if _, err := io.ReadFull(f.r, f.message[at:]); err != nil {
			return short(err)
		}
		n -= int64(step)
	}
	return nil
}

// short makes an end of file inside a frame what it is.
func short(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// closeError reads the payload of a close frame.
func closeError(p []byte) error {
	if len(p) == 0 {
		return &CloseError{}
	}
	if len(p) == 1 {
		return &protocolError{wire.ProtocolError, errors.New("a close frame with half a code")}
	}
	code, reason := ws.StatusCode(binary.BigEndian.Uint16(p)), string(p[2:])
	if err := ws.CheckCloseFrameData(code, reason); err != nil {
		return &protocolError{wire.ProtocolError, err}
	}
	return &CloseError{Code: wire.Code(code), Reason: reason}
}

// appendHeader begins a masked frame with a payload of n bytes. It returns the mask for maskFrom.
// RFC 6455, 5.2: "the minimal number of bytes MUST be used to encode the length".
func appendHeader(dst []byte, op ws.OpCode, n int) ([]byte, [4]byte) {
	dst = append(dst, 0x80|byte(op))
	switch {
	case n < 126:
		dst = append(dst, 0x80|byte(n))
	case n <= 0xffff:
		dst = append(dst, 0x80|126)
		dst = binary.BigEndian.AppendUint16(dst, uint16(n))
	default:
		dst = append(dst, 0x80|127)
		dst = binary.BigEndian.AppendUint64(dst, uint64(n))
	}
	// RFC 6455, 5.3: the mask "needs to be unpredictable"; this source is seeded by the system and not predictable from its output.
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], rand.Uint32())
	return append(dst, mask[:]...), mask
}

// appendFrame appends a whole masked frame.
func appendFrame(dst []byte, op ws.OpCode, payload []byte) []byte {
	dst, mask := appendHeader(dst, op, len(payload))
	at := len(dst)
	dst = append(dst, payload...)
	ws.Cipher(dst[at:], mask, 0)
	return dst
}

func appendClose(dst []byte, code wire.Code, reason string) []byte {
	reason = reason[:min(len(reason), ws.MaxControlFramePayloadSize-2)]
	return appendFrame(dst, ws.OpClose, ws.NewCloseFrameBody(ws.StatusCode(code), reason))
}
