package streams

import (
	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/origin"
)

// identity reads sender and id from the headers of a message.
func identity(h nats.Header) (from, id string) {
	if len(h) == 0 {
		return "", ""
	}
	if v := h[origin.From]; len(v) > 0 {
		from = origin.Unescape(v[0])
	}
	if v := h[origin.ID]; len(v) > 0 {
		id = origin.Unescape(v[0])
	} else if v := h[origin.MsgID]; len(v) > 0 {
		id = v[0]
	}
	return from, id
}
