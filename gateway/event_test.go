package gateway

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/cursor"
)

func TestEventOf(t *testing.T) {
	at := time.UnixMilli(1767225600123)
	for _, c := range []struct {
		m         cursor.Message
		key, body string // no body: it is no event
	}{
		{cursor.Message{Stream: "JW_chat", Epoch: "e1", Subject: "chat.lobby", Seq: 7, Time: at, Header: nats.Header{"Jw-From": {"alice%20"}, "Jw-Id": {"m1"}}, Data: []byte(` {"hi": 1}`)},
			"alice ", `{"id":"JW_chat-e1-7","type":"publish","time":1767225600123,"user":"alice ","channel":"chat.lobby","seq":7,"epoch":"e1","message_id":"m1","data":{"hi":1}}`},
		{cursor.Message{Stream: "JW_chat", Epoch: "e1", Subject: "chat.lobby", Seq: 8, Time: at, Data: []byte("hello")},
			"chat.lobby", `{"id":"JW_chat-e1-8","type":"publish","time":1767225600123,"channel":"chat.lobby","seq":8,"epoch":"e1","data":"hello","encoding":"text"}`},
		{cursor.Message{Stream: "jetwire_commands", Epoch: "e1", Subject: "jetwire.command.billing.refund", Seq: 9, Time: at, Header: nats.Header{"Jw-From": {"bob"}}, Data: []byte{0xff}},
			"bob", `{"id":"jetwire_commands-e1-9","type":"command","time":1767225600123,"user":"bob","destination":"billing.refund","seq":9,"epoch":"e1","data":"/w==","encoding":"base64"}`},
		{cursor.Message{Stream: "JW_chat", Epoch: "e1", Seq: 9, Time: at, Lost: &cursor.Lost{From: 1, To: 9, Reason: cursor.Retention}},
			"", `{"id":"JW_chat-e1-9-lost","type":"lost","time":1767225600123,"stream":"JW_chat","from":1,"to":9,"reason":"retention"}`},
		{cursor.Message{Stream: "jetwire_events", Subject: "jetwire.events.connect", Data: []byte(`{"id":"s1-connect","type":"connect","user":"alice","of":"later"}`)},
			"alice", `{"id":"s1-connect","type":"connect","user":"alice","of":"later"}`},
		{cursor.Message{Stream: "jetwire_events", Subject: "jetwire.events.connect", Data: []byte(`{}`)}, "", ""},
		{cursor.Message{Stream: "jetwire_events", Subject: "jetwire.events.connect", Data: []byte(`hello`)}, "", ""},
	} {
		e, ok := eventOf(&c.m)
		if ok != (c.body != "") || ok && (e.Key != c.key || string(e.Body) != c.body || !strings.HasPrefix(c.body, `{"id":"`+e.ID+`"`)) {
			t.Errorf("%s %d: %v, key %q, %s\nwant key %q, %s", c.m.Stream, c.m.Seq, ok, e.Key, e.Body, c.key, c.body)
		}
	}
}

func FuzzEventOf(f *testing.F) {
	for _, s := range []string{`{"id":"a","type":"connect","user":"alice"}`, `{"id":1}`, `null`, ``, "\xff", `"text"`, "\u2028<&>"} {
		f.Add([]byte(s), "alice", true)
		f.Add([]byte(s), "%FF", false)
	}
	f.Fuzz(func(t *testing.T, data []byte, from string, connections bool) {
		m := cursor.Message{Stream: "JW_chat", Epoch: "e1", Subject: "chat.lobby", Seq: 1, Header: nats.Header{"Jw-From": {from}}, Data: data}
		if connections {
			m.Stream = "jetwire_events"
		}
		e, ok := eventOf(&m)
		if ok != json.Valid(e.Body) || !connections && !ok || ok && e.ID == "" {
			t.Errorf("%v %q: %s", ok, e.ID, e.Body)
		}
	})
}
