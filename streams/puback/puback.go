// Package puback reads what JetStream answers to whoever stores a message: an acknowledgement, or a refusal. What a refusal's code means
// is for package refusal to say.
package puback

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Ack says that a message is stored.
type Ack struct {
	Stream    []byte // may be part of what was parsed
	Seq       uint64 // of the message, or of the one that it duplicates; not 0
	Duplicate bool
	Count     int // messages of the atomic batch that this one ends; 0: it ends none
}

// ErrUnreadable says that an answer is neither an acknowledgement nor a refusal.
var ErrUnreadable = errors.New("unreadable acknowledgement")

var (
	head      = []byte(`{"stream":"`)
	domain    = []byte(`,"domain":"`)
	seq       = []byte(`,"seq":`)
	duplicate = []byte(`,"duplicate": true}`)
)

// Parse reads an answer. Its error is a *jetstream.APIError where JetStream has refused the message, or ErrUnreadable. The shapes that the
// server writes for one stored message are read by hand, without an allocation; anything else by encoding/json.
func Parse(data []byte) (Ack, error) {
	if a, ok := fast(data); ok {
		return a, nil
	}
	var r struct {
		Stream    string              `json:"stream"`
		Seq       uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Count     int                 `json:"count"`
		Error     *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return Ack{}, fmt.Errorf("%w: %w", ErrUnreadable, err)
	}
	switch {
	case r.Error != nil:
		return Ack{}, r.Error
	case r.Stream == "" || r.Seq == 0:
		return Ack{}, ErrUnreadable
	}
	return Ack{[]byte(r.Stream), r.Seq, r.Duplicate, r.Count}, nil
}

// fast reads {"stream":"S"[,"domain":"D"],"seq":N[,"duplicate": true]}, with a blank after any comma.
func fast(data []byte) (a Ack, ok bool) {
	rest, ok := bytes.CutPrefix(data, head)
	if !ok {
		return Ack{}, false
	}
	if a.Stream, rest, ok = cutString(rest); !ok || len(a.Stream) == 0 {
		return Ack{}, false
	}
	if r, found := cutSpaced(rest, domain); found {
		if _, rest, ok = cutString(r); !ok {
			return Ack{}, false
		}
	}
	if rest, ok = cutSpaced(rest, seq); !ok {
		return Ack{}, false
	}
	n := 0
	for n < len(rest) && n < 19 && rest[n] >= '0' && rest[n] <= '9' {
		a.Seq = a.Seq*10 + uint64(rest[n]-'0')
		n++
	}
	if n == 0 || a.Seq == 0 || rest[0] == '0' {
		return Ack{}, false
	}
	rest = rest[n:]
	if len(rest) == 1 && rest[0] == '}' {
		return a, true
	}
	if rest, a.Duplicate = cutSpaced(rest, duplicate); a.Duplicate && len(rest) == 0 {
		return a, true
	}
	return Ack{}, false
}

// cutString returns a string without escapes, and what follows its closing quote.
func cutString(b []byte) (s, rest []byte, ok bool) {
	for i, c := range b {
		switch {
		case c == '"':
			return b[:i], b[i+1:], true
		case c == '\\' || c < ' ' || c >= 0x80:
			return nil, nil, false
		}
	}
	return nil, nil, false
}

// cutSpaced cuts a prefix that begins with a comma, behind which b may have a blank.
func cutSpaced(b, prefix []byte) ([]byte, bool) {
	if len(b) > 1 && b[0] == ',' && b[1] == ' ' {
		b, prefix = b[2:], prefix[1:]
	}
	return bytes.CutPrefix(b, prefix)
}
