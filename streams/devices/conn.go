package devices

import (
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/link"
	"github.com/jetwire/jetwire/streams/requests"
)

const takenSubject = "jetwire.devices.taken"

// events are what a connection tells.
type events struct {
	up    func(bool)
	taken func(key string, m mark)
}

// dial opens the connection to NATS.
func dial(o *Options, ev events) (*kv, error) {
	conn, err := requests.Dial(link.Options{
		Connect: o.Connect, Name: "devices", Logger: o.Logger,
		Down: func() { ev.up(false) }, Up: func() { ev.up(true) },
	}, nats.NoEcho()) // what is announced here is for others
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	_, err = conn.Subscribe(takenSubject, func(m *nats.Msg) {
		if key, by, ok := parseAnnouncement(m.Data); ok {
			ev.taken(key, by)
		}
	})
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	js, err := jetstream.New(conn.Conn.Conn, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		conn.Close()
		return nil, err
	}
	return &kv{conn, o, js}, nil
}

// failure tells what a request has failed with; nil: m is the answer.
func failure(m *nats.Msg, err error) error {
	switch {
	case err != nil:
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	case link.NoResponders(m):
		return errNoBucket
	}
	return nil
}

// announcement is what other gateways are told.
type announcement struct {
	Key   string `json:"key"`
	Owner string `json:"owner"`
	Taken int64  `json:"taken"`
}

func (b *kv) announce(key string, m mark) {
	body, err := json.Marshal(announcement{key, m.owner, m.taken})
	if err == nil {
		b.conn.Tell(&nats.Msg{Subject: takenSubject, Data: body})
	}
}

// parseAnnouncement reads what another gateway tells.
func parseAnnouncement(data []byte) (key string, m mark, ok bool) {
	var a announcement
	if len(data) > 4<<10 || json.Unmarshal(data, &a) != nil || a.Owner == "" || a.Taken <= 0 || a.Taken > maxTaken {
		return "", mark{}, false
	}
	return a.Key, mark{a.Taken, a.Owner}, true
}
