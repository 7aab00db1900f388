package streams

import (
	"strings"

	"github.com/jetwire/jetwire/streams/origin"
	"github.com/jetwire/jetwire/streams/tap"
)

const (
	arenaMessages = 64 // that share memory, at most
	arenaBytes    = 32 << 10
)

// arena makes messages out of what stands in a read buffer. Messages that come together share their memory: in a stream of them, one costs
// a small part of an allocation, and one that comes alone no more than it needs.
type arena struct {
	messages []Message
	text     strings.Builder
	bodies   []byte
	count    int // messages since the last rest
	bytes    int // and what they have besides
}

// message makes a message; what the header says of sender and id is in it.
func (a *arena) message(channel []byte, h tap.Header, body []byte) *Message {
	if len(a.messages) == cap(a.messages) {
		a.messages = make([]Message, 0, min(max(a.count, 1), arenaMessages))
	}
	from, id := author(h)
	text := len(channel) + len(from) + len(id)
	a.count++
	a.bytes += text + len(body)
	a.messages = append(a.messages, Message{})
	m := &a.messages[len(a.messages)-1]
	if a.text.Cap()-a.text.Len() < text {
		a.text = strings.Builder{}
		a.text.Grow(a.room(text))
	}
	m.Channel, m.From, m.ID = a.string(channel), a.string(from), a.string(id)
	m.Body = a.body(body)
	return m
}

// room is how much to take for what needs so many bytes: more where much is coming.
func (a *arena) room(need int) int {
	if a.count <= 1 {
		return need
	}
	return max(need, min(a.bytes, arenaBytes))
}

// string copies b into the builder, which has room for it.
func (a *arena) string(b []byte) string {
	at := a.text.Len()
	a.text.Write(b)
	return a.text.String()[at:]
}

func (a *arena) body(b []byte) []byte {
	if len(b) > arenaBytes/4 {
		return append([]byte(nil), b...)
	}
	if len(b) > cap(a.bodies)-len(a.bodies) {
		a.bodies = make([]byte, 0, a.room(len(b)))
	}
	at := len(a.bodies)
	a.bodies = append(a.bodies, b...)
	return a.bodies[at:len(a.bodies):len(a.bodies)]
}

// rest says that nothing more has come for now.
func (a *arena) rest() { a.count, a.bytes = 0, 0 }

// author reads sender and id from the headers of a message.
func author(h tap.Header) (from, id []byte) {
	var own, key []byte // the first of each counts
	for k, v := range h.All() {
		switch string(k) {
		case origin.From:
			if from == nil {
				from = v
			}
		case origin.ID:
			if own == nil {
				own = v
			}
		case origin.MsgID:
			if key == nil {
				key = v
			}
		}
	}
	if own == nil {
		return origin.Unescape(from), key
	}
	return origin.Unescape(from), origin.Unescape(own)
}
