package devices

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// mark says who took a device, and orders those who did.
type mark struct {
	taken int64 // Unix ms, or one more than that of the one before
	owner string
}

// after reports whether m took the device later than o.
func (m mark) after(o mark) bool {
	return m.taken > o.taken || m.taken == o.taken && m.owner > o.owner
}

// next is the mark of a session that takes the device from m.
func (m mark) next(owner string, now time.Time) mark {
	return mark{max(m.taken+1, now.UnixMilli()), owner}
}

// record is a decoded value.
type record struct {
	mark
	seen      time.Time
	positions []Position
}

func (r *record) encode() ([]byte, error) {
	b := make([]byte, 0, 96+64*len(r.positions))
	b = appendString(append(b, `{"owner":`...), r.owner)
	b = strconv.AppendInt(append(b, `,"taken":`...), r.taken, 10)
	b = append(b, `,"seen":"`...)
	b = r.seen.UTC().AppendFormat(b, time.RFC3339)
	b = append(b, `","positions":[`...)
	for i := range r.positions {
		p := &r.positions[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(append(b, '['), p.Channel)
		b = strconv.AppendUint(append(b, ','), uint64(p.QoS), 10)
		b = appendString(append(b, ','), p.Epoch)
		b = strconv.AppendUint(append(b, ','), p.Seq, 10)
		b = append(b, ']')
		if len(b) > MaxRecord {
			break
		}
	}
	b = append(b, "]}"...)
	if len(b) > MaxRecord {
		return nil, fmt.Errorf("%w: over %d bytes with %d subscriptions; use fewer, or patterns", ErrTooLarge, MaxRecord, len(r.positions))
	}
	return b, nil
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string cannot fail
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

var errUnreadable = errors.New("not a record of a device")

// decode reads a value, of which nothing may be assumed.
func decode(value []byte) (record, error) {
	if len(value) > MaxRecord {
		return record{}, fmt.Errorf("%w: %d bytes", errUnreadable, len(value))
	}
	var v struct {
		Owner     string           `json:"owner"`
		Taken     int64            `json:"taken"`
		Seen      time.Time        `json:"seen"`
		Positions []storedPosition `json:"positions"`
	}
	if err := json.Unmarshal(value, &v); err != nil {
		return record{}, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	// A mark that could not be followed by a greater one would lock the device for ever.
	if v.Owner == "" || len(v.Owner) > maxUser || v.Taken <= 0 || v.Taken > maxTaken {
		return record{}, fmt.Errorf("%w: owner %.40q, taken %d", errUnreadable, v.Owner, v.Taken)
	}
	r := record{mark: mark{v.Taken, v.Owner}, seen: v.Seen}
	if len(v.Positions) > 0 {
		r.positions = make([]Position, len(v.Positions))
		for i, p := range v.Positions {
			r.positions[i] = Position(p)
		}
	}
	return r, nil
}

const maxTaken = 1 << 53 // what every reader of JSON can count to

type storedPosition Position

// UnmarshalJSON reads ["channel",qos,"epoch",seq].
func (p *storedPosition) UnmarshalJSON(b []byte) error {
	var parts []json.RawMessage
	if err := json.Unmarshal(b, &parts); err != nil {
		return err
	}
	if len(parts) != 4 {
		return fmt.Errorf("a position of %d parts", len(parts))
	}
	for i, to := range []any{&p.Channel, &p.QoS, &p.Epoch, &p.Seq} {
		if err := json.Unmarshal(parts[i], to); err != nil {
			return err
		}
	}
	if p.Channel == "" || p.QoS > 2 {
		return fmt.Errorf("a position on channel %.40q with QoS %d", p.Channel, p.QoS)
	}
	return nil
}
