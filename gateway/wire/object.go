package wire

import (
	"errors"
	"strconv"
)

// ErrType is what an Object ends with when a value is of another type than the one it was read as.
var ErrType = errors.New("a value of a wrong type")

// Object reads the members of one JSON object that is no frame, such as a token's claims, with the frames' own scanner and its
// strictness. After each Next one value must be read. The text has to be UTF-8.
type Object struct {
	scanner
	begun bool
	wrong bool // a value was of a wrong type
}

// NewObject begins to read text, which must hold one object and nothing else.
func NewObject(text []byte) Object { return Object{scanner: scanner{buf: text}} }

// Next returns the name of the next member, until there is none, or the text cannot be read any further.
func (o *Object) Next() (name []byte, ok bool) {
	switch {
	case o.begun:
		ok = o.more('}')
	case o.peek() == '{':
		o.begun, ok = true, o.enter('}')
	default:
		o.wrong = true
		o.skip()
	}
	if !ok {
		if !o.end() {
			o.fail("more than one value")
		}
		return nil, false
	}
	raw, escaped := o.key()
	if escaped {
		return []byte(o.unescaped(raw)), o.fault == ""
	}
	return raw, o.fault == ""
}

// Err returns nil, an error that wraps ErrSyntax, or ErrType. It is to be asked after the last Next.
func (o *Object) Err() error {
	switch {
	case o.fault != "":
		return o.syntax()
	case o.wrong:
		return ErrType
	}
	return nil
}

// Refuse makes Err report ErrType: what was read is not what it has to be.
func (o *Object) Refuse() { o.wrong = true }

// Skip passes over a value.
func (o *Object) Skip() { o.skip() }

// Raw returns a value of any kind as it stands, without the white space around it. It aliases the text.
func (o *Object) Raw() []byte { return o.skip() }

// Null passes over a null, and reports whether there was one. If not, the value is still to be read.
func (o *Object) Null() bool {
	if o.peek() != 'n' {
		return false
	}
	o.literal("null")
	return true
}

// Text reads a string.
func (o *Object) Text() string {
	if o.peek() != '"' {
		o.mistyped()
		return ""
	}
	raw, escaped := o.str()
	if escaped {
		return o.unescaped(raw)
	}
	return string(raw)
}

// Number reads a number.
func (o *Object) Number() float64 {
	if c := o.peek(); c != '-' && c-'0' > 9 {
		o.mistyped()
		return 0
	}
	f, err := strconv.ParseFloat(string(o.number()), 64)
	o.wrong = o.wrong || err != nil
	return f
}

// Texts reads an array of strings, which is not nil if it is empty.
func (o *Object) Texts() []string {
	if o.peek() != '[' {
		o.mistyped()
		return nil
	}
	list := []string{}
	for ok := o.enter(']'); ok; ok = o.more(']') {
		list = append(list, o.Text())
	}
	return list
}

// TextOrTexts reads an array of strings, or a string in the place of an array of one.
func (o *Object) TextOrTexts() []string {
	if o.peek() == '"' {
		return []string{o.Text()}
	}
	return o.Texts()
}

func (o *Object) mistyped() {
	o.wrong = true
	o.skip()
}

func (o *Object) unescaped(raw []byte) string {
	text, ok := unescape(make([]byte, 0, len(raw)), raw)
	o.wrong = o.wrong || !ok
	return string(text)
}
