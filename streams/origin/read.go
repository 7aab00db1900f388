package origin

import "github.com/nats-io/nats.go"

// Of reads sender and id from the headers of a message.
func Of(h nats.Header) (from, id string) {
	if len(h) == 0 {
		return "", ""
	}
	if v := h[From]; len(v) > 0 {
		from = Unescape(v[0])
	}
	if v := h[ID]; len(v) > 0 {
		id = Unescape(v[0])
	} else if v := h[MsgID]; len(v) > 0 {
		id = v[0]
	}
	return from, id
}
