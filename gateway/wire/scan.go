package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// MaxDepth is how many arrays and objects may be open at once inside a body. Deeper JSON from a client is refused;
// from a plain NATS client it travels as text.
const MaxDepth = 128

// ErrSyntax is what a frame that is not JSON, or not a sequence of commands, is refused with. What follows the fault cannot be read.
var ErrSyntax = errors.New("malformed frame")

// SyntaxError is the error behind ErrSyntax: it says what was wrong and where.
type SyntaxError struct {
	Offset int // byte in the frame
	What   string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("malformed frame: %s at byte %d", e.What, e.Offset)
}

// Unwrap makes errors.Is(err, ErrSyntax) true.
func (e *SyntaxError) Unwrap() error { return ErrSyntax }

// scanner reads JSON tokens from buf, strictly by RFC 8259 but for UTF-8, which the WebSocket layer has checked.
// The first fault sticks: the scanner then stands at the end, and every further call finds nothing.
type scanner struct {
	buf   []byte
	pos   int
	fault string
	at    int
}

func (s *scanner) fail(what string) {
	if s.fault == "" {
		s.fault, s.at = what, s.pos
	}
	s.pos = len(s.buf)
}

func (s *scanner) syntax() error { return &SyntaxError{Offset: s.at, What: s.fault} }

// peek skips white space and returns the byte after it, 0 at the end.
func (s *scanner) peek() byte {
	for s.pos < len(s.buf) {
		switch c := s.buf[s.pos]; c {
		case ' ', '\n', '\r', '\t':
			s.pos++
		default:
			return c
		}
	}
	return 0
}

// end reports whether only white space is left.
func (s *scanner) end() bool { return s.peek() == 0 && s.pos == len(s.buf) }

// enter consumes the brace or bracket that peek has seen, and reports whether anything stands before its partner.
func (s *scanner) enter(partner byte) bool {
	s.pos++
	if s.peek() == partner {
		s.pos++
		return false
	}
	return s.fault == ""
}

// more consumes what stands behind a member or element: a comma (true) or the closing partner (false).
func (s *scanner) more(partner byte) bool {
	switch s.peek() {
	case ',':
		s.pos++
		return true
	case partner:
		s.pos++
		return false
	}
	s.fail("a comma or the end of the object or array was expected")
	return false
}

// key consumes a member's name and the colon.
func (s *scanner) key() (raw []byte, escaped bool) {
	raw, escaped = s.str()
	if s.peek() != ':' {
		s.fail("a colon was expected")
		return nil, false
	}
	s.pos++
	return raw, escaped
}

// str consumes a string and returns what stands between its quotes.
func (s *scanner) str() (raw []byte, escaped bool) {
	if s.peek() != '"' {
		s.fail("a string was expected")
		return nil, false
	}
	start := s.pos + 1
	for i := start; ; {
		i = plainUntil(s.buf, i)
		if i == len(s.buf) {
			s.fail("an unfinished string")
			return nil, false
		}
		switch s.buf[i] {
		case '"':
			s.pos = i + 1
			return s.buf[start:i:i], escaped
		case '\\':
			n := escapeLen(s.buf[i:])
			if n == 0 {
				s.pos = i
				s.fail("an invalid escape")
				return nil, false
			}
			escaped = true
			i += n
		default:
			s.pos = i
			s.fail("a control character in a string")
			return nil, false
		}
	}
}

// plainUntil returns the index of the first quote, backslash or control character of b from i on; len(b) if there is none.
func plainUntil(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(b); i += 8 {
		x := binary.LittleEndian.Uint64(b[i:])
		quote, slash := x^ones*'"', x^ones*'\\'
		// Each term flags its bytes exactly up to and including the first; borrows can only falsify flags above that.
		m := ((x - ones*0x20) & ^x) | ((quote - ones) & ^quote) | ((slash - ones) & ^slash)
		if m &= highs; m != 0 {
			return i + bits.TrailingZeros64(m)/8
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < 0x20 || c == '"' || c == '\\' {
			return i
		}
	}
	return i
}

// escapeLen returns the length of the escape that b begins with, 0 if it is none.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if _, ok := hex4(b[2:]); ok {
			return 6
		}
	}
	return 0
}

// hex4 reads four hexadecimal digits.
func hex4(b []byte) (r rune, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			c -= '0'
		case 'a' <= c && c <= 'f':
			c -= 'a' - 10
		case 'A' <= c && c <= 'F':
			c -= 'A' - 10
		default:
			return 0, false
		}
		r = r<<4 | rune(c)
	}
	return r, true
}

// number consumes a number and returns its bytes.
func (s *scanner) number() []byte {
	start := s.pos
	if s.at1('-') {
		s.pos++
	}
	switch {
	case s.at1('0'):
		s.pos++ // RFC 8259, section 6: no leading zeros
	case !s.digits():
		s.fail("an invalid number")
		return nil
	}
	if s.at1('.') {
		s.pos++
		if !s.digits() {
			s.fail("an invalid number")
			return nil
		}
	}
	if s.at1('e') || s.at1('E') {
		s.pos++
		if s.at1('+') || s.at1('-') {
			s.pos++
		}
		if !s.digits() {
			s.fail("an invalid number")
			return nil
		}
	}
	return s.buf[start:s.pos]
}

func (s *scanner) at1(c byte) bool { return s.pos < len(s.buf) && s.buf[s.pos] == c }

// digits consumes digits and reports whether there was one.
func (s *scanner) digits() bool {
	start := s.pos
	for s.pos < len(s.buf) && s.buf[s.pos]-'0' <= 9 {
		s.pos++
	}
	return s.pos > start
}

func (s *scanner) literal(word string) {
	if len(s.buf)-s.pos < len(word) || string(s.buf[s.pos:s.pos+len(word)]) != word {
		s.fail("an unknown word")
		return
	}
	s.pos += len(word)
}

// scalar consumes a string, number or literal.
func (s *scanner) scalar() {
	switch c := s.peek(); c {
	case '"':
		s.str()
	case 't':
		s.literal("true")
	case 'f':
		s.literal("false")
	case 'n':
		s.literal("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		s.number()
	default:
		s.fail("a value was expected")
	}
}

// skip consumes one value of any kind and returns its bytes, without the white space around it; nil after a fault.
func (s *scanner) skip() []byte {
	first := s.peek()
	start := s.pos
	if first != '{' && first != '[' {
		s.scalar()
		if s.fault != "" {
			return nil
		}
		return s.buf[start:s.pos:s.pos]
	}
	var open [MaxDepth]byte // the partners that are waited for
	depth := 0
	for {
		switch c := s.peek(); c {
		case '{', '[':
			if depth == MaxDepth {
				s.fail("nesting that is too deep")
				return nil
			}
			open[depth] = c + 2 // both partners stand two behind in ASCII
			if s.enter(open[depth]) {
				depth++
				if c == '{' {
					s.key()
				}
				continue
			}
		default:
			s.scalar()
		}
		for depth > 0 && !s.more(open[depth-1]) {
			if s.fault != "" {
				return nil
			}
			depth--
		}
		if depth == 0 {
			return s.buf[start:s.pos:s.pos]
		}
		if open[depth-1] == '}' {
			s.key()
		}
	}
}
