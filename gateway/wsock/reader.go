package wsock

import (
	"encoding/binary"
	"unicode/utf8"

	"github.com/gobwas/ws"
)

// Reader puts frames and messages together for one connection. The zero value is ready. It must be fed by one goroutine
// at a time.
type Reader struct {
	p *partial // nil between messages; ended when nothing more is to be read
}

// partial is what a Reader remembers while a frame or a message is incomplete.
type partial struct {
	raw []byte // of an incomplete header or control frame, as it came: at most 13, or 6+125 bytes

	open  bool      // a data message has begun
	text  bool      // it is text
	fin   bool      // the frame being read is its last
	mask  [4]byte   // of the frame being read
	pos   int       // how many bytes of that frame have been unmasked
	left  int       // how many bytes of that frame are still to come
	msg   []byte    // what has arrived of the message, unmasked
	chars utf8State // of msg, when it is text
}

// ended marks a Reader that reads no more. It is never written to.
var ended = new(partial)

// Feed takes the next bytes of the connection, in pieces of any size, and calls h for what they complete. It takes all
// of p, unmasks in it, and keeps none of it: what is incomplete is copied. After a close frame, after an error and
// after Release, nothing more is read. The error is a *CloseError.
func (r *Reader) Feed(l *Limits, p []byte, h Handler) error {
	for len(p) > 0 && r.p != ended {
		var rest []byte
		var err *CloseError
		switch s := r.p; {
		case s != nil && s.left > 0:
			rest, err = r.payload(l, p, h)
		case s != nil && len(s.raw) > 0:
			rest, err = r.resume(l, p, h)
		default:
			rest, err = r.frame(l, p, h)
		}
		if err != nil {
			r.p = ended
			return err
		}
		p = rest
	}
	return nil
}

// Release drops what is kept and ends the reading, also from within a Handler's method: a Feed that is under way makes
// no further call. A new connection takes a new Reader.
func (r *Reader) Release() { r.p = ended }

// Idle reports whether the Reader stands between messages and holds no memory.
func (r *Reader) Idle() bool { return r.p == nil || r.p == ended }

// frame reads one frame from its first byte and returns what follows it.
func (r *Reader) frame(l *Limits, p []byte, h Handler) ([]byte, *CloseError) {
	open, have := false, 0
	if r.p != nil {
		open, have = true, len(r.p.msg)
	}
	f, n, err := parseHeader(l, p, open, have)
	if err != nil {
		return nil, err
	}
	if n == 0 || f.op.IsControl() && len(p)-n < f.length {
		s := r.partial()
		s.raw = append(s.raw, p...)
		return nil, nil
	}
	if f.op.IsControl() {
		end := n + f.length
		unmask(p[n:end], f.mask)
		return p[end:], r.control(f.op, p[n:end], h)
	}
	if open || !f.fin || len(p)-n < f.length {
		return r.begin(l, f, p[n:], h)
	}
	// The common case: a message in one frame, all of it here.
	end := n + f.length
	body := p[n:end:end]
	unmask(body, f.mask)
	text := f.op == ws.OpText
	if text && !utf8.Valid(body) {
		return nil, errUTF8
	}
	h.Message(text, body)
	return p[end:], nil
}

// resume goes on with a header or a control frame that was cut.
func (r *Reader) resume(l *Limits, p []byte, h Handler) ([]byte, *CloseError) {
	s := r.p
	for len(p) > 0 {
		// One byte at a time, as far as the header goes: it is at most 14 bytes, and errors are seen at the first.
		s.raw = append(s.raw, p[0])
		p = p[1:]
		f, n, err := parseHeader(l, s.raw, s.open, len(s.msg))
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		if !f.op.IsControl() {
			s.raw = s.raw[:0]
			return r.begin(l, f, p, h)
		}
		take := min(n+f.length-len(s.raw), len(p))
		s.raw = append(s.raw, p[:take]...)
		p = p[take:]
		if len(s.raw) < n+f.length {
			return nil, nil
		}
		body := s.raw[n:]
		s.raw = nil
		if !s.open {
			r.p = nil
		}
		unmask(body, f.mask)
		return p, r.control(f.op, body, h)
	}
	return nil, nil
}

// begin enters a data frame that is part of a message in several pieces. p starts with its payload.
func (r *Reader) begin(l *Limits, f header, p []byte, h Handler) ([]byte, *CloseError) {
	s := r.partial()
	if f.op != ws.OpContinuation {
		s.open, s.text = true, f.op == ws.OpText
	}
	s.fin, s.mask, s.pos, s.left = f.fin, f.mask, 0, f.length
	return r.payload(l, p, h)
}

// payload takes what p has of the payload of the frame being read.
func (r *Reader) payload(l *Limits, p []byte, h Handler) ([]byte, *CloseError) {
	s := r.p
	n := min(s.left, len(p))
	if n > 0 {
		if l.Server {
			ws.Cipher(p[:n], s.mask, s.pos)
			s.pos += n
		}
		if s.text && !s.chars.feed(p[:n]) {
			return nil, errUTF8
		}
		s.keep(p[:n], l.maxMessage())
	}
	if s.left > 0 || !s.fin {
		return p[n:], nil
	}
	if s.chars.need > 0 {
		return nil, errUTF8
	}
	r.p = nil
	h.Message(s.text, s.msg)
	return p[n:], nil
}

// leastKept is what the first piece of a message reserves, in bytes, so that a small message is copied once.
const leastKept = 256

// keep copies b to the message. It never reserves more than twice what has arrived (or leastKept), so that a declared
// length costs a peer its bytes before it costs this end memory.
func (s *partial) keep(b []byte, limit int) {
	need := len(s.msg) + len(b)
	if need > cap(s.msg) {
		room := min(max(2*need, leastKept), limit)
		if s.fin {
			room = min(room, len(s.msg)+s.left)
		}
		grown := make([]byte, len(s.msg), room)
		copy(grown, s.msg)
		s.msg = grown
	}
	s.msg = append(s.msg, b...)
	s.left -= len(b)
}

// control handles a whole control frame.
func (r *Reader) control(op ws.OpCode, body []byte, h Handler) *CloseError {
	switch op {
	case ws.OpPing:
		h.Ping(body)
	case ws.OpPong:
		h.Pong(body)
	default:
		code, reason, err := parseClose(body)
		if err != nil {
			return err
		}
		r.p = ended
		h.Close(code, reason)
	}
	return nil
}

// parseClose checks a close frame's payload: nothing, or a code and a reason.
func parseClose(body []byte) (code uint16, reason []byte, err *CloseError) {
	switch len(body) {
	case 0:
		return NoStatus, nil, nil
	case 1:
		return 0, nil, errCloseSize
	}
	code, reason = binary.BigEndian.Uint16(body), body[2:]
	switch {
	case !validCode(code):
		return 0, nil, errCloseCode
	case !utf8.Valid(reason):
		return 0, nil, errCloseReason
	}
	return code, reason, nil
}

func (r *Reader) partial() *partial {
	if r.p == nil {
		r.p = new(partial)
	}
	return r.p
}

// unmask is ws.Cipher for a payload from its first byte. A zero mask, also that of a server's frame, changes nothing.
func unmask(p []byte, mask [4]byte) {
	if mask != [4]byte{} {
		ws.Cipher(p, mask, 0)
	}
}
