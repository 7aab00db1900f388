package streams

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/refusal"
)

// pubAck is what JetStream answers to a message.
type pubAck struct {
	seq       uint64
	duplicate bool
}

var (
	ackHead      = []byte(`{"stream":"`)
	ackDomain    = []byte(`,"domain":"`)
	ackSeq       = []byte(`,"seq":`)
	ackDuplicate = []byte(`,"duplicate": true}`)
)

// parsePubAck reads the answer of JetStream. The shapes that the server writes for a stored message are read by hand, anything else by encoding/json.
func parsePubAck(data []byte) (pubAck, error) {
	if a, ok := fastPubAck(data); ok {
		return a, nil
	}
	var r struct {
		Stream    string `json:"stream"`
		Seq       uint64 `json:"seq"`
		Duplicate bool   `json:"duplicate"`
		Error     *struct {
			ErrCode     jetstream.ErrorCode `json:"err_code"`
			Description string              `json:"description"`
		} `json:"error"`
	}
	if err := json.Unmarshal(data, &r); err != nil {
		return pubAck{}, fmt.Errorf("%w: unreadable acknowledgement: %w", ErrTimeout, err)
	}
	if r.Error != nil {
		return pubAck{}, refused(r.Error.ErrCode, r.Error.Description)
	}
	if r.Stream == "" || r.Seq == 0 {
		return pubAck{}, fmt.Errorf("%w: unreadable acknowledgement", ErrTimeout)
	}
	return pubAck{r.Seq, r.Duplicate}, nil
}

// fastPubAck reads {"stream":"S"[,"domain":"D"],"seq":N[,"duplicate": true]}, with a blank after any comma.
func fastPubAck(data []byte) (a pubAck, ok bool) {
	rest, ok := bytes.CutPrefix(data, ackHead)
	if !ok {
		return a, false
	}
	if rest, ok = afterString(rest); !ok {
		return a, false
	}
	if r, found := cutSpaced(rest, ackDomain); found {
		if rest, ok = afterString(r); !ok {
			return a, false
		}
	}
	if rest, ok = cutSpaced(rest, ackSeq); !ok {
		return a, false
	}
	n := 0
	for n < len(rest) && n < 19 && rest[n] >= '0' && rest[n] <= '9' {
		a.seq = a.seq*10 + uint64(rest[n]-'0')
		n++
	}
	if n == 0 || a.seq == 0 || rest[0] == '0' {
		return a, false
	}
	rest = rest[n:]
	if len(rest) == 1 && rest[0] == '}' {
		return a, true
	}
	if rest, a.duplicate = cutSpaced(rest, ackDuplicate); a.duplicate && len(rest) == 0 {
		return a, true
	}
	return a, false
}

// afterString skips to what follows a string without escapes.
func afterString(b []byte) ([]byte, bool) {
	for i, c := range b {
		switch {
		case c == '"':
			return b[i+1:], true
		case c == '\\' || c < ' ' || c >= 0x80:
			return nil, false
		}
	}
	return nil, false
}

// cutSpaced cuts a prefix that begins with a comma, behind which b may have a blank.
func cutSpaced(b, prefix []byte) ([]byte, bool) {
	if len(b) > 1 && b[0] == ',' && b[1] == ' ' {
		b, prefix = b[2:], prefix[1:]
	}
	return bytes.CutPrefix(b, prefix)
}

// refused maps the error codes of JetStream to the errors of this package.
func refused(code jetstream.ErrorCode, text string) error {
	base := ErrUnavailable
	switch {
	case refusal.Full(code):
		base = ErrStoreFull
	case refusal.TooLarge(code):
		base = ErrTooLarge
	}
	return fmt.Errorf("%w: JetStream refused it: %s (%d)", base, text, code)
}

// sendError maps what nats.go says when a message cannot be sent.
func sendError(err error) error {
	if errors.Is(err, nats.ErrMaxPayload) {
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}
