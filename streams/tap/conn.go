package tap

import (
	"bytes"
	"math"
	"net"
)

const (
	bufferSize = 64 << 10
	maxLine    = 8 << 10 // of a message's first line: NATS's limit is 4 KiB unless it is configured
	maxMessage = 1 << 27 // larger ones are left to nats.go; NATS's own limit is 64 MiB
)

// conn offers the messages that it reads to a taker.
type conn struct {
	net.Conn
	taker Taker

	// Owned by whoever reads.
	buf   []byte
	r, w  int  // buf[r:w] has been read, and not been handed on
	pass  int  // so many bytes are nats.go's, whatever they are; toLineEnd, forGood
	taken bool // since the last rest
}

// Values of conn.pass.
const (
	toLineEnd = -1
	forGood   = math.MaxInt
)

// Read gives nats.go what is not taken.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if n := c.handOn(p); n > 0 || len(p) == 0 {
			return n, nil
		}
		if c.taken {
			c.taken = false
			c.taker.Rest()
		}
		if c.pass == forGood && c.r == c.w {
			c.buf, c.r, c.w = nil, 0, 0
			return c.Conn.Read(p)
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
}

// fill reads more.
func (c *conn) fill() error {
	switch free := len(c.buf) - c.w; {
	case c.r == c.w:
		c.r, c.w = 0, 0
		if len(c.buf) != bufferSize {
			c.buf = make([]byte, bufferSize)
		}
	case c.r > 0 && free < len(c.buf)/2:
		c.w = copy(c.buf, c.buf[c.r:c.w])
		c.r = 0
	case free == 0:
		c.buf = append(c.buf, make([]byte, len(c.buf))...)
	}
	n, err := c.Conn.Read(c.buf[c.w:])
	c.w += n
	if n > 0 {
		return nil // the error will come again
	}
	return err
}

// handOn goes through what has been read: it offers messages, and copies the rest to p.
func (c *conn) handOn(p []byte) (n int) {
	for c.r < c.w {
		if c.pass != 0 {
			if n == len(p) {
				break
			}
			n += c.copy(p[n:])
			continue
		}
		var m Message
		switch size, is := parse(c.buf[c.r:c.w], &m); {
		case is == partial:
			return n
		case is == alien:
			c.pass = forGood
		case is == otherLine:
			c.pass = toLineEnd
		case is == whole && c.taker.Take(&m):
			c.r += size
			c.taken = true
		default:
			c.pass = size
		}
	}
	return n
}

// copy hands on bytes that are nats.go's.
func (c *conn) copy(p []byte) int {
	part := c.buf[c.r:c.w]
	if c.pass != toLineEnd {
		n := copy(p, part[:min(len(part), c.pass)])
		if c.r += n; c.pass != forGood {
			c.pass -= n
		}
		return n
	}
	end := bytes.IndexByte(part, '\n') + 1
	if end > 0 {
		part = part[:end]
	}
	n := copy(p, part)
	if c.r += n; n == end {
		c.pass = 0
	}
	return n
}

// kind is what a buffer begins with.
type kind uint8

const (
	partial   kind = iota // less than can be said something of
	whole                 // a message
	large                 // a message, of which all may not have come: it is too large to wait for
	otherLine             // a line that belongs to no message
	alien                 // not the protocol
)

// parse reads the message that b begins with, and returns its size.
//
//	MSG SUBJECT SID[ REPLY] SIZE␍␊BODY␍␊
//	HMSG SUBJECT SID[ REPLY] HEADERSIZE SIZE␍␊HEADER BODY␍␊
func parse(b []byte, m *Message) (size int, is kind) {
	name, sizes := "MSG ", 1
	switch b[0] {
	case 'I', 'P', '+', '-':
		return 0, otherLine
	case 'H':
		name, sizes = "HMSG ", 2
	}
	if have := min(len(b), len(name)); string(b[:have]) != name[:have] {
		return 0, alien
	}
	end := bytes.IndexByte(b[:min(len(b), maxLine)], '\n')
	switch {
	case end < 0 && len(b) < maxLine:
		return 0, partial
	case end < len(name):
		return 0, alien
	}
	var fields [5][]byte
	n := split(b[len(name):end], &fields)
	if n != 2+sizes && n != 3+sizes {
		return 0, alien
	}
	var numbers [3]int // subscription, headers, both
	for i, field := range [3][]byte{fields[1], fields[n-sizes], fields[n-1]} {
		var ok bool
		if numbers[i], ok = number(field); !ok {
			return 0, alien
		}
	}
	head, total := numbers[1], numbers[2]
	if sizes == 1 {
		head = 0
	}
	size = end + 1 + total + 2
	switch {
	case head > total:
		return 0, alien
	case total > maxMessage:
		return size, large
	case len(b) < size:
		return 0, partial
	case b[size-2] != '\r' || b[size-1] != '\n':
		return 0, alien
	}
	m.Subject = fields[0]
	if n == 3+sizes {
		m.Reply = fields[2]
	}
	body := b[end+1 : size-2]
	m.Header, m.Body = Header(body[:head:head]), body[head:]
	return size, whole
}

// split cuts a line that ends with ␍ at its blanks and returns how many fields there are; 0: it cannot be read.
func split(line []byte, fields *[5][]byte) (n int) {
	if len(line) == 0 || line[len(line)-1] != '\r' {
		return 0
	}
	line = line[:len(line)-1]
	for len(line) > 0 {
		i := bytes.IndexByte(line, ' ')
		switch {
		case i == 0: // servers write two where there is no reply
			line = line[1:]
			continue
		case n == len(fields):
			return 0
		case i < 0:
			i = len(line)
		}
		if fields[n] = line[:i]; bytes.ContainsAny(fields[n], "\t\r") {
			return 0
		}
		line = line[i:]
		n++
	}
	return n
}

// number reads a size.
func number(digits []byte) (n int, ok bool) {
	if len(digits) == 0 || len(digits) > 18 {
		return 0, false
	}
	for _, d := range digits {
		if d < '0' || d > '9' {
			return 0, false
		}
		n = n*10 + int(d-'0')
	}
	return n, true
}
