package unified

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The body as the article that this service stands in for has it.
const whole = `{"sendType":"CLIENT_TO_CLIENT","messageType":"paid","businessType":"order","fromUniqueId":"alice","toUniqueId":"bob",` +
	`"fromClientType":"app","toClientType":"h5","timestamp":1700000000000,"content":{"n":[1,2]},"tags":["vip"],"businesses":["order","支付"],"messageId":"m-1"}`

func TestDecode(t *testing.T) {
	var m Message
	if err := m.Decode([]byte(whole)); err != nil {
		t.Fatal(err)
	}
	want := Message{
		Class: ClientToClient, Type: "paid", Business: "order", From: "alice", To: "bob", FromType: "app", ToType: "h5",
		Timestamp: 1700000000000, Content: []byte(`{"n":[1,2]}`), Tags: []string{"vip"}, Businesses: []string{"order", "支付"}, ID: "m-1",
	}
	if d := cmp.Diff(want, m, cmpopts.IgnoreUnexported(Message{})); d != "" {
		t.Error(d)
	}
	if got := string(m.Append(nil)); got != whole {
		t.Errorf("written as\n%s\nnot\n%s", got, whole)
	}
	for _, text := range []string{
		`{}`, ` { } `, `{"sendType":"","messageType":"","tags":[],"timestamp":0}`,
		`{"sendType":null,"messageType":null,"businessType":null,"fromUniqueId":null,"toUniqueId":null,"fromClientType":null,"toClientType":null,"timestamp":null,"content":null,"tags":null,"businesses":null,"messageId":null}`,
	} {
		if err := m.Decode([]byte(text)); err != nil || !cmp.Equal(m, Message{}, cmpopts.IgnoreUnexported(Message{})) {
			t.Errorf("%s: %+v, %v", text, m, err)
		}
	}
	if err := m.Decode([]byte(`{"sendType":"client_to_Server","content":"Gr\u00fc\u00dfe"}`)); err != nil || m.Class != ClientToServer || string(m.Content) != `"Gr\u00fc\u00dfe"` {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestDecodeRefuses(t *testing.T) {
	for text, want := range map[string]string{
		``:                          "not a message",
		`[]`:                        "one JSON object",
		`"x"`:                       "one JSON object",
		`{"content":1} {}`:          "more than one value",
		`{"content":}`:              "at byte 11",
		`{"sendType":"CLIENT"}`:     "sendType must be CLIENT_TO_SERVER",
		`{"sendType":1}`:            "sendType must be a string",
		`{"messageType":["x"]}`:     "messageType must be a string",
		`{"toUniqueId":" x"}`:       "toUniqueId begins or ends with a space",
		`{"toUniqueId":"~x"}`:       "toUniqueId begins with ~",
		`{"toUniqueId":"a\u0000b"}`: "toUniqueId holds control characters",
		`{"toUniqueId":"\ud800"}`:   "toUniqueId must be a string",
		`{"fromClientType":"*"}`:    "fromClientType must not be *",
		`{"timestamp":"now"}`:       "timestamp must be a number",
		`{"timestamp":-1}`:          "timestamp must be whole",
		`{"timestamp":1.5}`:         "timestamp must be whole",
		`{"timestamp":1e300}`:       "timestamp must be whole",
		`{"tags":"vip"}`:            "tags must be an array",
		`{"tags":[1]}`:              "tags must be an array",
		`{"tags":[""]}`:             "tags has an entry that is missing",
		`{"businesses":{}}`:         "businesses must be an array",
		`{"messageId":"a b"}`:       "messageId must be 1 to 128 bytes",
		`{"message":"x"}`:           `unknown field "message"`,
		`{"Content":"x"}`:           `unknown field "Content"`,
		`{"content":1,"content":2}`: "content is given twice",
		`{"tags":[],"tags":null}`:   "tags is given twice",
		`{"tags":[` + strings.TrimSuffix(strings.Repeat(`"x",`, MaxLabels+1), ",") + `]}`: "more than 32 entries",
		`{"businessType":"` + strings.Repeat("x", MaxName+1) + `"}`:                       "businessType is longer than 64 bytes",
		`{"toClientType":"` + strings.Repeat("x", MaxClientType+1) + `"}`:                 "toClientType is longer than 40 bytes",
		`{"toUniqueId":"` + strings.Repeat("x", 129) + `"}`:                               "toUniqueId is too long",
	} {
		var m Message
		err := m.Decode([]byte(text))
		var refused *wire.Error
		if !errors.As(err, &refused) || refused.Code != wire.BadRequest || !strings.Contains(refused.Message, want) {
			t.Errorf("%.60s: %v, want %q", text, err, want)
		}
	}
	var m Message
	if err := m.Decode([]byte(`{"messageId":"m","tags":1}`)); err == nil || m.ID != "m" {
		t.Errorf("it is not known which message was refused: %+v %v", m, err)
	}
}

// FuzzDecode: whatever is read is within the limits, and is read again as the same once it is written.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte(`{"tags":null,"content":"\ud83d\ude00"}`))
	f.Add([]byte(`{"timestamp":1e3,"sendType":"server_to_client"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if !utf8.Valid(text) {
			return // the socket and the HTTP side have refused it
		}
		var m, again Message
		err := m.Decode(text)
		var refused *wire.Error
		if err != nil {
			if !errors.As(err, &refused) || refused.Code != wire.BadRequest || !utf8.ValidString(refused.Message) {
				t.Fatalf("%v", err)
			}
			return
		}
		written := m.Append(nil)
		if !json.Valid(written) {
			t.Fatalf("%s", written)
		}
		if err := again.Decode(written); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if d := cmp.Diff(m, again, cmpopts.IgnoreUnexported(Message{})); d != "" {
			t.Fatal(d)
		}
		if len(m.Tags) > MaxLabels || len(m.To) > 128 || len(m.FromType) > MaxClientType {
			t.Fatalf("%+v", m)
		}
	})
}
