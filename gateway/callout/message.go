package callout

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jetwire/jetwire/gateway/wire"
)

const (
	maxAnswer = 16 << 10 // bytes
	maxReason = 200      // bytes of it that a client is told
)

// message is a Question on its way.
type message struct {
	User     string          `json:"user"`
	Op       string          `json:"op"`
	Channel  string          `json:"channel"`
	Session  string          `json:"session,omitempty"`
	Device   string          `json:"device,omitempty"`
	Data     json.RawMessage `json:"data,omitempty"`
	Encoding string          `json:"encoding,omitempty"`
}

// encode returns the text of a question, with its data or without.
func (q *Question) encode(data bool) []byte {
	m := message{User: q.User, Op: q.Op.String(), Channel: q.Channel, Session: q.Session, Device: q.Device}
	if data && hasBody(q.Op) {
		m.Data, m.Encoding = q.Data, q.Encoding.String()
	}
	text, _ := json.Marshal(m) // the data is a JSON value: the protocol's decoder has read it
	return text
}

var errMalformed = errors.New(`its answer cannot be read: want {"allow":true} or {"allow":false}, with a "reason" and a "ttl" in seconds if you like`)

// decode reads an answer, and for how long it holds; dflt: it does not say.
func decode(text []byte, dflt time.Duration) (a Answer, ttl time.Duration, err error) {
	if len(text) > maxAnswer {
		return Answer{}, 0, fmt.Errorf("its answer has more than %d bytes", maxAnswer)
	}
	ttl = dflt
	var seen [3]bool
	first := func(i int) {
		if seen[i] {
			err = errMalformed
		}
		seen[i] = true
	}
	o := wire.NewObject(text)
	for name, ok := o.Next(); ok; name, ok = o.Next() {
		switch string(name) {
		case "allow":
			first(0)
			switch string(o.Raw()) {
			case "true":
				a.Allow = true
			case "false":
			default:
				err = errMalformed
			}
		case "reason":
			first(1)
			a.Reason = clean(o.Text())
		case "ttl":
			first(2)
			seconds := o.Number()
			if !(seconds >= 0) {
				err = errMalformed
			}
			ttl = time.Duration(min(seconds, time.Hour.Seconds()*24*365) * float64(time.Second))
		default:
			o.Skip()
		}
	}
	if err != nil || o.Err() != nil || !seen[0] || !utf8.Valid(text) {
		return Answer{}, 0, errMalformed
	}
	return a, ttl, nil
}

// clean makes a reason fit for a client's error message.
func clean(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, reason)
	return strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
}
