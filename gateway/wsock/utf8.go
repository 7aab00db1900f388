package wsock

import "unicode/utf8"

// utf8State checks text that arrives in pieces. The zero value stands at the start of a character.
type utf8State struct {
	need   uint8 // bytes still missing of the character that was cut
	lo, hi byte  // the range of the next of them
}

// feed takes the next piece and reports whether all so far can be the beginning of valid UTF-8: an impossible byte is
// seen in the piece that brings it, even where the character's remaining bytes are still to come.
func (u *utf8State) feed(p []byte) bool {
	for u.need > 0 && len(p) > 0 {
		if p[0] < u.lo || p[0] > u.hi {
			return false
		}
		u.need--
		u.lo, u.hi = 0x80, 0xBF
		p = p[1:]
	}
	cut := len(p)
	for i := len(p) - 1; i >= 0 && i >= len(p)-3; i-- {
		if utf8.RuneStart(p[i]) {
			if !utf8.FullRune(p[i:]) { // an impossible sequence counts as full, so that Valid refuses it below
				cut = i
			}
			break
		}
	}
	if !utf8.Valid(p[:cut]) {
		return false
	}
	if cut < len(p) {
		u.start(p[cut:])
	}
	return true
}

// start enters the character whose beginning, valid so far, is head (one to three bytes).
func (u *utf8State) start(head []byte) {
	u.lo, u.hi = 0x80, 0xBF
	switch b := head[0]; {
	case b < 0xE0:
		u.need = 1
	case b < 0xF0:
		u.need = 2
	default:
		u.need = 3
	}
	if len(head) == 1 {
		switch head[0] { // Unicode 15, table 3-7: no overlong forms, no surrogates, nothing past U+10FFFF
		case 0xE0:
			u.lo = 0xA0
		case 0xED:
			u.hi = 0x9F
		case 0xF0:
			u.lo = 0x90
		case 0xF4:
			u.hi = 0x8F
		}
	}
	u.need -= uint8(len(head) - 1)
}
