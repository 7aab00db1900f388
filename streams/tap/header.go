package tap

import (
	"bytes"
	"iter"
)

// Header is the block of a message's headers as the protocol has it:
//
//	NATS/1.0[ STATUS[ DESCRIPTION]]␍␊{KEY: VALUE␍␊}␍␊
type Header []byte

const (
	versionLength = len("NATS/1.0")
	statusLength  = 3
)

// Status returns the status of the first line, three digits, and what it says beside; both are empty if there is none.
func (h Header) Status() (status, description []byte) {
	line, _, ok := h.line()
	if !ok || len(line) <= versionLength {
		return nil, nil
	}
	status = bytes.TrimSpace(line[versionLength:])
	if len(status) < statusLength {
		return nil, nil
	}
	return status[:statusLength], bytes.TrimSpace(status[statusLength:])
}

// All returns keys and values as they stand there, up to what cannot be read. No value is nil.
func (h Header) All() iter.Seq2[[]byte, []byte] {
	return func(yield func(key, value []byte) bool) {
		_, rest, ok := h.line()
		for ok {
			var line []byte
			line, rest, ok = rest.line()
			i := bytes.IndexByte(line, ':')
			if !ok || i < 0 {
				return
			}
			value := line[i+1:]
			for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
				value = value[1:]
			}
			if i > 0 && !yield(line[:i], value) {
				return
			}
		}
	}
}

// line cuts off the first line.
func (h Header) line() (line []byte, rest Header, ok bool) {
	i := bytes.IndexByte(h, '\n')
	if i < 0 {
		return nil, nil, false
	}
	line = h[:i]
	if i > 0 && line[i-1] == '\r' {
		line = line[:i-1]
	}
	return line, h[i+1:], true
}
