package bench

import (
	"bytes"
	"strings"
)

// push is what a delivery is judged by. Its slices alias the frame.
type push struct {
	channel []byte
	stored  bool   // it carried seq
	seq     uint64 // of the log
	prev    uint64
	sent    int64  // from the payload, as n
	n       uint64 // 0: the body was not written by bench
}

// answer is the reply to a publish.
type answer struct {
	id        uint64
	seq       uint64
	duplicate bool
	class     class
}

// class is a durability class, padded with zeros: a value that costs no allocation.
type class [16]byte

func (c class) String() string { return strings.TrimRight(string(c[:]), "\x00") }

// scanPush reads one message push of the shape that servers send, without the cost of decoding JSON: at millions of
// deliveries a second the client would take the cores that the server needs. It understands less than JSON allows: when ok
// is false the frame has to be decoded in full. Where both understand a frame they agree, which a fuzz test checks.
func scanPush(p []byte, m *push) (rest []byte, ok bool) {
	if p, ok = after(p, `{"message":{"channel":"`); !ok {
		return nil, false
	}
	*m = push{}
	if m.channel, p, ok = quoted(p); !ok {
		return nil, false
	}
	for {
		var key []byte
		if p, ok = after(p, `,"`); !ok {
			return nil, false
		}
		if key, p, ok = quoted(p); !ok {
			return nil, false
		}
		if p, ok = after(p, `:`); !ok {
			return nil, false
		}
		switch string(key) {
		case "seq":
			m.seq, p, ok = digits(p)
			m.stored = true
		case "prev":
			m.prev, p, ok = digits(p)
		case "time":
			_, p, ok = digits(p)
		case "id", "from":
			if p, ok = after(p, `"`); ok {
				_, p, ok = quoted(p)
			}
		case "data":
			if m.sent, m.n, p, ok = scanPayload(p); ok {
				return after(p, `}}`)
			}
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
}

// scanAnswer does for the reply to a publish what scanPush does for a message.
func scanAnswer(p []byte, a *answer) (rest []byte, ok bool) {
	*a = answer{}
	if p, ok = after(p, `{"id":`); !ok {
		return nil, false
	}
	if a.id, p, ok = digits(p); !ok {
		return nil, false
	}
	if p, ok = after(p, `,"publish":{"channel":"`); !ok {
		return nil, false
	}
	if _, p, ok = quoted(p); !ok {
		return nil, false
	}
	for {
		if rest, ok = after(p, `}}`); ok {
			return rest, true
		}
		var key []byte
		if p, ok = after(p, `,"`); !ok {
			return nil, false
		}
		if key, p, ok = quoted(p); !ok {
			return nil, false
		}
		if p, ok = after(p, `:`); !ok {
			return nil, false
		}
		switch string(key) {
		case "seq":
			a.seq, p, ok = digits(p)
		case "duplicate":
			if rest, no := after(p, `false`); no {
				p = rest
			} else {
				p, ok = after(p, `true`)
				a.duplicate = ok
			}
		case "epoch", "durability":
			var text []byte
			if p, ok = after(p, `"`); ok {
				text, p, ok = quoted(p)
			}
			if string(key) == "durability" {
				copy(a.class[:], text)
			}
		default:
			ok = false
		}
		if !ok {
			return nil, false
		}
	}
}

// after takes a prefix off.
func after(p []byte, prefix string) ([]byte, bool) {
	if len(p) < len(prefix) || string(p[:len(prefix)]) != prefix {
		return nil, false
	}
	return p[len(prefix):], true
}

// digits takes a number off that fits 63 bits.
func digits(p []byte) (n uint64, rest []byte, ok bool) {
	i := 0
	for ; i < len(p) && p[i]-'0' < 10; i++ {
		if n > (1<<63-1)/10-1 {
			return 0, nil, false
		}
		n = n*10 + uint64(p[i]-'0')
	}
	return n, p[i:], i > 0
}

// quoted takes the rest of a string off, its opening quote having been taken already. A string with an escape is refused.
func quoted(p []byte) (inside, rest []byte, ok bool) {
	end := bytes.IndexByte(p, '"')
	if end < 0 || bytes.IndexByte(p[:end], '\\') >= 0 {
		return nil, nil, false
	}
	return p[:end], p[end+1:], true
}
