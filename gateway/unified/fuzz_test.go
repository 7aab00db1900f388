package unified

import (
	"encoding/json"
	"testing"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// FuzzClientOf: who a socket is for is within the limits, whatever the query.
func FuzzClientOf(f *testing.F) {
	f.Add("uniqueId=alice&clientType=app&tags=a,b&tags=c&businesses=%E6%94%AF%E4%BB%98")
	f.Add("uniqueId=%00&clientType=*")
	f.Fuzz(func(t *testing.T, query string) {
		c, err := clientOf(query)
		if err != nil {
			if asWire(err).Code != wire.BadRequest {
				t.Fatal(err)
			}
			return
		}
		if wire.ValidChannel(Inbox(c.ID)) != nil || wire.ValidDevice(Device(c.Type)) != nil || len(c.Tags) > MaxLabels || len(c.Businesses) > MaxLabels {
			t.Fatalf("%+v", c)
		}
	})
}

// FuzzReceived: whatever a body holds, a client gets a message.
func FuzzReceived(f *testing.F) {
	f.Add([]byte(whole), "")
	f.Add([]byte(`{"sendType":"SERVER_TO_CLIENT"}`), "mallory")
	f.Add([]byte("\xff"), "")
	f.Fuzz(func(t *testing.T, body []byte, from string) {
		w := wire.Message{Channel: Inbox("alice"), Seq: 7, Prev: 6, Time: 1, From: from, Body: body, Encoding: wire.EncodingOf(body)}
		frame := wsock.AppendFrame(nil, ws.OpText, wire.AppendMessagePush(nil, &w))
		s := New(Options{})
		d := s.translate(frame)
		if d.seq != 7 || d.channel != w.Channel || d.message == nil || s.translate(frame) != d {
			t.Fatalf("%+v", d)
		}
		if text := payload(d.frame); !json.Valid(text) {
			t.Fatalf("%q", text)
		}
		if d.message.Class == 0 || d.message.ID == "" || d.message.Timestamp == 0 {
			t.Fatalf("%+v", d.message)
		}
	})
}
