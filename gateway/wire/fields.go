package wire

import "strconv"

// reader adds typed fields to the scanner. A value of a wrong type is skipped and refused; the first refusal stays,
// so that the rest of the command can be read for its id.
type reader struct {
	scanner
	where   string // the command or push that is being read
	refusal *Error
}

func (r *reader) refuse(what string) {
	if r.refusal != nil || r.fault != "" {
		return
	}
	if r.where != "" {
		what = r.where + ": " + what
	}
	r.refusal = BadRequest.With(what)
}

func (r *reader) mismatch(field, want string) {
	r.refuse(field + " must be " + want)
	r.skip()
}

func (r *reader) unknown(key []byte) {
	r.refuse("unknown field " + quoted(key))
	r.skip()
}

// name reads a member's name and the colon.
func (r *reader) name() []byte {
	// The usual case first: a short name without escapes, and no white space.
	b := r.buf[r.pos:]
	for i := 1; i < min(len(b)-1, 16) && b[0] == '"' && b[i] >= ' ' && b[i] != '\\'; i++ {
		if b[i] == '"' && b[i+1] == ':' {
			r.pos += i + 2
			return b[1:i]
		}
		if b[i] == '"' {
			break
		}
	}
	raw, escaped := r.key()
	if !escaped {
		return raw
	}
	name, ok := unescape(make([]byte, 0, len(raw)), raw)
	if !ok {
		r.refuse("a name holds half a surrogate pair")
		return nil
	}
	return name
}

// fields is the set of fields that an object has had.
type fields uint16

// first notes field number i. It refuses and skips the value of one that was there before.
func (r *reader) first(seen *fields, i uint, field string) bool {
	if *seen&(1<<i) != 0 {
		r.refuse(field + " is given twice")
		r.skip()
		return false
	}
	*seen |= 1 << i
	return true
}

func (f fields) has(i uint) bool { return f&(1<<i) != 0 }

// uint reads an unsigned integer of at most most.
func (r *reader) uint(field string, most uint64) uint64 {
	if c := r.peek(); c != '-' && c-'0' > 9 {
		r.mismatch(field, "an unsigned integer")
		return 0
	}
	n, i := uint64(0), r.pos
	for ; i < len(r.buf) && i < r.pos+19 && r.buf[i]-'0' <= 9; i++ { // 19 digits always fit
		n = n*10 + uint64(r.buf[i]-'0')
	}
	if i < len(r.buf) && (r.buf[i] == ',' || r.buf[i] == '}') && n <= most && r.buf[r.pos] != '0' {
		r.pos = i
		return n
	}
	n = 0
	for _, c := range r.number() {
		digit := uint64(c - '0')
		if digit > 9 {
			r.refuse(field + " must be an unsigned integer")
			return 0
		}
		if n > most/10 || n*10 > most-digit {
			r.refuse(field + " is over " + strconv.FormatUint(most, 10))
			return 0
		}
		n = n*10 + digit
	}
	return n
}

// float reads a number that is not negative.
func (r *reader) float(field string) float64 {
	if r.peek()-'0' > 9 {
		r.mismatch(field, "a number of 0 or more")
		return 0
	}
	f, err := strconv.ParseFloat(string(r.number()), 64)
	if err != nil {
		r.refuse(field + " is too large")
		return 0
	}
	return f
}

func (r *reader) bool(field string) bool {
	switch r.peek() {
	case 't':
		r.literal("true")
		return true
	case 'f':
		r.literal("false")
		return false
	}
	r.mismatch(field, "true or false")
	return false
}

// bytes reads a string of at most most bytes. What it returns aliases the frame, or is new if the string has escapes.
func (r *reader) bytes(field string, most int) []byte {
	if r.peek() != '"' {
		r.mismatch(field, "a string")
		return nil
	}
	raw, escaped := r.str()
	if escaped {
		var ok bool
		if raw, ok = unescape(make([]byte, 0, len(raw)), raw); !ok {
			r.refuse(field + " holds half a surrogate pair")
			return nil
		}
	}
	if len(raw) > most {
		r.refuse(field + " is longer than " + strconv.Itoa(most) + " bytes")
		return nil
	}
	return raw
}

func (r *reader) text(field string, most int) string { return string(r.bytes(field, most)) }

// channel reads a channel name.
func (d *Decoder) channel() string { return d.subject(checkChannel) }

// subscription reads a channel name, or a pattern that can be subscribed to.
func (d *Decoder) subscription() string { return d.subject(checkSubscription) }

func (d *Decoder) subject(check func(string) (why string)) string {
	s := d.Names.name(d.bytes("channel", 6*MaxChannel))
	if d.refusal == nil && d.fault == "" {
		if why := check(s); why != "" {
			d.refusal = BadChannel.With(why)
		}
	}
	return s
}

// must refuses an object that lacks field i.
func (r *reader) must(seen fields, i uint, field string) {
	if !seen.has(i) {
		r.refuse(field + " is missing")
	}
}

// encoding reads the encoding of data.
func (r *reader) encoding() Encoding {
	e, ok := EncodingNamed(r.bytes("encoding", 16))
	if !ok {
		r.refuse(`encoding must be "text" or "base64"`)
	}
	return e
}
