package gateway

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/jetwire/jetwire/gateway/webhook"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/cursor"
	"github.com/jetwire/jetwire/streams/events"
	"github.com/jetwire/jetwire/streams/origin"
)

// message is what an endpoint is told of a message or a command.
type message struct {
	ID          string          `json:"id"`
	Type        string          `json:"type"`
	Time        int64           `json:"time"` // when it was stored, Unix milliseconds
	User        string          `json:"user,omitempty"`
	Channel     string          `json:"channel,omitempty"`
	Destination string          `json:"destination,omitempty"`
	Seq         uint64          `json:"seq"`
	Epoch       string          `json:"epoch,omitempty"`
	MessageID   string          `json:"message_id,omitempty"`
	Data        json.RawMessage `json:"data"`
	Encoding    string          `json:"encoding,omitempty"`
}

// lost is what an endpoint is told where messages, or events, are gone that nobody has told it.
type lost struct {
	ID     string `json:"id"`
	Type   string `json:"type"`
	Time   int64  `json:"time"`
	Stream string `json:"stream"`
	From   uint64 `json:"from,omitempty"`
	To     uint64 `json:"to,omitempty"`
	Reason string `json:"reason"`
}

// eventOf makes an event of what a stream holds. It reports false for what is none.
func eventOf(m *cursor.Message) (webhook.Event, bool) {
	e := webhook.Event{ID: fmt.Sprintf("%s-%s-%d", m.Stream, m.Epoch, m.Seq), Done: m.Done, Origin: m}
	switch {
	case m.Lost != nil:
		e.ID += "-lost"
		return e, encode(&e, lost{e.ID, string(events.Lost), m.Time.UnixMilli(), m.Stream, m.Lost.From, m.Lost.To, m.Lost.Reason})
	case m.Stream == events.Stream:
		var stored events.Event
		if json.Unmarshal(m.Data, &stored) != nil || stored.ID == "" {
			return e, false
		}
		e.ID, e.Key, e.Body = stored.ID, stored.User, m.Data
		return e, true
	}
	t := message{ID: e.ID, Type: publishEvent, Time: m.Time.UnixMilli(), Channel: m.Subject, Seq: m.Seq, Epoch: m.Epoch}
	if destination, ok := strings.CutPrefix(m.Subject, commands.SubjectPrefix); ok {
		t.Type, t.Channel, t.Destination = commandEvent, "", destination
	}
	t.User, t.MessageID = origin.Of(m.Header)
	encoding := wire.EncodingOf(m.Data)
	t.Data, t.Encoding = wire.AppendData(nil, m.Data, encoding), encoding.String()
	if e.Key = t.User; e.Key == "" {
		e.Key = m.Subject
	}
	return e, encode(&e, t)
}

func encode(e *webhook.Event, v any) (ok bool) {
	var err error
	e.Body, err = json.Marshal(v)
	return err == nil
}
