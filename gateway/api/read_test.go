package api

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestRequestsAreReadStrictly(t *testing.T) {
	deep := strings.Repeat("[", wire.MaxDepth+1) + strings.Repeat("]", wire.MaxDepth+1)
	many := strings.Repeat(`"chat.a",`, MaxChannels) + `"chat.a"`
	for _, c := range []struct {
		request any
		body    string
		want    string // in the error; empty: it is read
	}{
		{&PublishRequest{}, `{"channel":"chat.a","data":{"a": 1e400}}`, ""},
		{&PublishRequest{}, ` {"data":null,"channel":"chat.a","qos":0} `, ""},
		{&PublishRequest{}, ``, "not JSON"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1`, "not JSON"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1} {}`, "not JSON"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1}x`, "not JSON"},
		{&PublishRequest{}, "{\"channel\":\"chat.\xff\",\"data\":1}", "not JSON"},
		{&PublishRequest{}, `[]`, "the request must be an object"},
		{&PublishRequest{}, `null`, "the request must not be null"},
		{&PublishRequest{}, `"chat.a"`, "the request must be an object"},
		{&PublishRequest{}, `{}`, "channel is missing"},
		{&PublishRequest{}, `{"channel":"chat.a"}`, "data is missing"},
		{&PublishRequest{}, `{"data":1}`, "channel is missing"},
		{&PublishRequest{}, `{"channel":"","data":1}`, "channel is missing"},
		{&PublishRequest{}, `{"channel":null,"data":1}`, "channel must not be null"},
		{&PublishRequest{}, `{"channel":7,"data":1}`, "channel must be a string"},
		{&PublishRequest{}, `{"channel":"chat","data":1}`, "channel: "},
		{&PublishRequest{}, `{"channel":"chat.*","data":1}`, "channel: "},
		{&PublishRequest{}, `{"channel":"jetwire.a","data":1}`, "channel: "},
		{&PublishRequest{}, `{"channel":"chat.a","Data":1}`, "Data: no such field"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1,"ttl":1}`, "ttl: no such field"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1,"channel":"chat.b"}`, "channel is given twice"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1,"\u0063hannel":"chat.b"}`, "channel is given twice"},
		{&PublishRequest{}, `{"channel":"chat.a","data":{"a":1,"a":2}}`, "data.a is given twice"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1,"qos":"1"}`, "qos must be an unsigned integer"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1,"qos":1.5}`, "qos must be an unsigned integer"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1,"qos":-1}`, "qos must be an unsigned integer"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1,"qos":null}`, "qos must not be null"},
		{&PublishRequest{}, `{"channel":"chat.a","data":1,"id":5}`, "id must be a string"},
		{&BroadcastRequest{}, `{"channels":["chat.a","chat.b"],"data":1}`, ""},
		{&BroadcastRequest{}, `{"channels":[],"data":1}`, "channels: 1 to 1000"},
		{&BroadcastRequest{}, `{"data":1}`, "channels is missing"},
		{&BroadcastRequest{}, `{"channels":"chat.a","data":1}`, "channels must be an array"},
		{&BroadcastRequest{}, `{"channels":["chat.a",null],"data":1}`, "channels.1 must not be null"},
		{&BroadcastRequest{}, `{"channels":["chat.a",1],"data":1}`, "channels.1 must be a string"},
		{&BroadcastRequest{}, `{"channels":["chat.a","chat"],"data":1}`, "channels.1: channel: "},
		{&BroadcastRequest{}, `{"channels":["chat.a","chat.a"],"data":1}`, "channels.1 is there twice"},
		{&BroadcastRequest{}, `{"channels":[` + many + `],"data":1}`, "channels: 1 to 1000"},
		{&SendRequest{}, `{"user":"alice","data":1}`, ""},
		{&SendRequest{}, `{"data":1}`, "user is missing"},
		{&SendRequest{}, `{"user":"a.b","data":1}`, "user: it has no inbox"},
		{&SendRequest{}, `{"user":"*","data":1}`, "user: it has no inbox"},
		{&SendRequest{}, `{"user":"a b","data":1}`, "user: it has no inbox"},
		{&HistoryRequest{}, `{"channel":"chat.a"}`, ""},
		{&HistoryRequest{}, `{"channel":"chat.a","since":0,"until":18446744073709551615,"limit":5,"order":"newest","epoch":"e","since_time":0}`, ""},
		{&HistoryRequest{}, `{"channel":"chat.a","last":0}`, "last must be"},
		{&HistoryRequest{}, `{"channel":"chat.a","last":2147483648}`, "last must be"},
		{&HistoryRequest{}, `{"channel":"chat.a","last":5,"since":0}`, "last excludes"},
		{&HistoryRequest{}, `{"channel":"chat.a","last":5,"limit":5}`, "last excludes"},
		{&HistoryRequest{}, `{"channel":"chat.a","limit":0}`, "limit must be"},
		{&HistoryRequest{}, `{"channel":"chat.a","limit":"5"}`, "limit must be an integer"},
		{&HistoryRequest{}, `{"channel":"chat.a","until":0}`, "until must be"},
		{&HistoryRequest{}, `{"channel":"chat.a","until":18446744073709551616}`, "until must be"},
		{&HistoryRequest{}, `{"channel":"chat.a","since_time":-1}`, "since_time must be"},
		{&HistoryRequest{}, `{"channel":"chat.a","since_time":9223372036855}`, "since_time must be"},
		{&HistoryRequest{}, `{"channel":"chat.a","order":"up"}`, "order must be"},
		{&HistoryRequest{}, `{"channel":"chat.a","cursor":"x","epoch":"e"}`, "cursor excludes"},
		{&HistoryRequest{}, `{"channel":"chat.a","cursor":"` + strings.Repeat("x", wire.MaxCursor+1) + `"}`, "cursor is longer"},
		{&HistoryRequest{}, `{"channel":"chat.a","epoch":"` + strings.Repeat("x", wire.MaxEpoch+1) + `"}`, "epoch is longer"},
		{&TokenRequest{}, `{"user":"alice","id":"t-1"}`, ""},
		{&TokenRequest{}, `{"user":"alice","id":""}`, "id must not be empty"},
		{&BatchRequest{}, `{"operations":[{"publish":{}},{"x":null}]}`, ""},
		{&BatchRequest{}, `{"operations":[]}`, "operations: 1 to 1000"},
		{&BatchRequest{}, `{"operations":[{}]}`, "operations.0 must be"},
		{&BatchRequest{}, `{"operations":[{"a":1,"b":2}]}`, "operations.0 must be"},
		{&BatchRequest{}, `{"operations":[{"a":1,"a":2}]}`, "operations.0.a is given twice"},
		{&BatchRequest{}, `{"operations":[7]}`, "operations.0 must be an object"},
		{&BatchRequest{}, `{"operations":{}}`, "operations must be an array"},
	} {
		err := read([]byte(c.body), c.request)
		var e *wire.Error
		switch {
		case c.want == "" && err != nil:
			t.Errorf("%.100s: %v", c.body, err)
		case c.want != "" && (!errors.As(err, &e) || e.Code != wire.BadRequest && e.Code != wire.BadChannel || !strings.Contains(e.Message, c.want)):
			t.Errorf("%.100s: %v, want %s", c.body, err, c.want)
		}
	}
	for body, want := range map[string]string{
		`{"data":` + deep + `}`:                                       "nested deeper",
		`{"data":1,"encoding":"text"}`:                                "data is no string",
		`{"data":"!","encoding":"base64"}`:                            "data is no string",
		`{"data":"a","encoding":"json"}`:                              "encoding must be",
		`{"data":1,"id":"a b"}`:                                       "id: ",
		`{"data":1,"id":""}`:                                          "id: ", // it was taken for no id, and stored again with each retry
		`{"data":1,"from":""}`:                                        "from ",
		`{"data":1,"id":"` + strings.Repeat("x", wire.MaxID+1) + `"}`: "id: ",
		`{"data":1,"from":"a\u0000"}`:                                 "from ",
		`{"data":1,"qos":3}`:                                          "qos must be 0, 1 or 2",
		`{"data":1,"qos":2}`:                                          "qos 2 needs an id",
	} {
		var m Message
		if err := read([]byte(body), &m); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if _, err := m.publication(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func TestQoSOfAMessage(t *testing.T) {
	for body, want := range map[string]wire.QoS{
		`{"data":1}`: wire.AtLeastOnce, `{"data":1,"id":"a"}`: wire.ExactlyOnce, `{"data":1,"id":"a","qos":1}`: wire.AtLeastOnce,
		`{"data":1,"qos":0}`: wire.AtMostOnce, `{"data":1,"qos":2,"id":"a"}`: wire.ExactlyOnce,
	} {
		var m Message
		if err := read([]byte(body), &m); err != nil {
			t.Fatal(err)
		}
		if p, err := m.publication(); err != nil || p.QoS != want {
			t.Errorf("%s: %v %v", body, p.QoS, err)
		}
	}
}

// FuzzRequests feeds every operation's reader: whatever is taken reads the same when it is written again.
func FuzzRequests(f *testing.F) {
	table := New(Options{}).table
	for i := range table {
		for _, body := range []string{
			`{"channel":"chat.a","data":{"hi": 1},"id":"m1","qos":2,"from":"shop"}`, `{"channels":["chat.a","chat.b"],"data":"x","encoding":"text"}`,
			`{"user":"alice","data":"/w==","encoding":"base64"}`, `{"channel":"chat.a","last":20}`, `{"channel":"chat.a","since":4,"limit":9,"order":"newest"}`,
			`{"operations":[{"publish":{"channel":"chat.a","data":1}},{"history":{"channel":"chat.a"}}]}`, `{"channel":null}`, `{"a":{"b":[1,2`,
		} {
			f.Add(uint8(i), []byte(body))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		op := table[int(which)%len(table)]
		first, second := reflect.New(op.request).Interface(), reflect.New(op.request).Interface()
		if err := read(body, first); err != nil {
			var e *wire.Error
			if !errors.As(err, &e) || e.Message == "" || len(e.Message) > 1000 {
				t.Fatalf("%v", err)
			}
			return
		}
		again, err := json.Marshal(first, jsontext.AllowInvalidUTF8(true))
		if err != nil {
			t.Fatal(err)
		}
		if err := read(again, second); err != nil {
			t.Fatalf("%s: %v", again, err)
		}
		third, err := json.Marshal(second, jsontext.AllowInvalidUTF8(true))
		if err != nil || !bytes.Equal(again, third) {
			t.Fatalf("%s became %s: %v", again, third, err)
		}
	})
}
