// Package wsock speaks RFC 6455 over bytes that somebody else has read: the opening handshake, frames in both
// directions, messages put together, closes checked. It serves both ends of a connection.
//
// It pushes: the caller hands over whatever a socket had to give, in pieces of any size, and is called back once per
// message and control frame. What holds:
//
//   - A Reader between frames is one nil pointer. Bytes are kept only while a frame or a message is incomplete.
//   - What is kept is at most twice what has arrived (or 256 bytes) and never more than Limits.MaxMessage, beside one
//     control frame. A declared length reserves nothing: it is checked when the header is read, and that is all.
//   - Work is linear in the bytes that arrive, however they are cut.
//   - A violation is reported at the first byte that proves it, also inside an incomplete frame.
//   - Cutting the same bytes differently changes neither the calls made nor the violation found.
//
// No extension is negotiated. The package must not know sockets, goroutines, time, or what a message says, and it
// imports nothing of Jetwire's.
package wsock

import "fmt"

// DefaultMaxMessage is what a Limits without MaxMessage accepts, in bytes.
const DefaultMaxMessage = 128 << 10

// Limits is what a Reader accepts. It is not kept by the Reader, so that all connections can share one.
type Limits struct {
	MaxMessage int  // bytes in a message, the sum of its fragments; 0: DefaultMaxMessage
	Server     bool // this end is the server: the peer's frames must be masked. Otherwise they must not be.
}

func (l *Limits) maxMessage() int {
	if l.MaxMessage > 0 {
		return l.MaxMessage
	}
	return DefaultMaxMessage
}

// Handler is called by Feed, on its goroutine. Payloads are valid until the method returns.
type Handler interface {
	Message(text bool, payload []byte) // a whole message; text is valid UTF-8
	Ping(payload []byte)               // answer with a pong of the same payload
	Pong(payload []byte)
	// Close is the last call that a Reader makes. The code is NoStatus when the peer gave none; AppendClose with the
	// same code and reason is the answer that the RFC asks for.
	Close(code uint16, reason []byte)
}

// The close codes of RFC 6455 that this package sends or treats specially.
const (
	Normal         uint16 = 1000
	ProtocolError  uint16 = 1002
	NoStatus       uint16 = 1005 // never on the wire: a close frame without a payload
	InvalidPayload uint16 = 1007
	MessageTooBig  uint16 = 1009
	reservedAbrupt uint16 = 1006
	reservedNoMean uint16 = 1004
	maxControl            = 125
	maxCloseReason        = maxControl - 2
)

// CloseError is a violation by the peer: the code and reason of the close frame to send before the connection ends.
type CloseError struct {
	Code   uint16
	Reason string
}

func (e *CloseError) Error() string { return fmt.Sprintf("websocket: %s (%d)", e.Reason, e.Code) }

// The violations. They are shared values, so that a hostile peer does not cost an allocation each.
var (
	errReserved     = &CloseError{ProtocolError, "reserved bits are set and no extension was negotiated"}
	errOpcode       = &CloseError{ProtocolError, "unknown opcode"}
	errControlSplit = &CloseError{ProtocolError, "fragmented control frame"}
	errControlSize  = &CloseError{ProtocolError, "control frame over 125 bytes"}
	errContinue     = &CloseError{ProtocolError, "continuation of no message"}
	errInterrupt    = &CloseError{ProtocolError, "new message inside a fragmented one"}
	errUnmasked     = &CloseError{ProtocolError, "frame from a client without a mask"}
	errMasked       = &CloseError{ProtocolError, "frame from a server with a mask"}
	errLength       = &CloseError{ProtocolError, "length not in its shortest form"}
	errLengthBit    = &CloseError{ProtocolError, "length with its highest bit set"}
	errTooBig       = &CloseError{MessageTooBig, "message over the limit"}
	errUTF8         = &CloseError{InvalidPayload, "text that is not UTF-8"}
	errCloseSize    = &CloseError{ProtocolError, "close frame of one byte"}
	errCloseCode    = &CloseError{ProtocolError, "close code that may not be sent"}
	errCloseReason  = &CloseError{InvalidPayload, "close reason that is not UTF-8"}
)

// validCode reports whether a peer may send code in a close frame (RFC 6455, 7.4, and IANA's registry: 1012 to 1014).
func validCode(code uint16) bool {
	switch {
	case code < 1000, code >= 5000:
		return false
	case code >= 3000:
		return true
	case code > 1014:
		return false // 1015 must not be sent; 1016 to 2999 are for revisions of the RFC
	}
	return code != reservedNoMean && code != NoStatus && code != reservedAbrupt
}
