package wire

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"reflect"
	"testing"
)

// vectors reads one file of testdata.
func vectors[V any](t testing.TB, file string) []V {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Vectors []V }
	if err := json.Unmarshal(raw, &all); err != nil {
		t.Fatal(err)
	}
	if len(all.Vectors) == 0 {
		t.Fatalf("%s holds no vectors", file)
	}
	return all.Vectors
}

// vectorBody is a body in the vectors: text as it is, or bytes in base64.
type vectorBody struct {
	UTF8   string
	Base64 []byte
}

func (b vectorBody) bytes() []byte {
	if b.Base64 != nil {
		return b.Base64
	}
	return []byte(b.UTF8)
}

type commandVector struct {
	Name, Frame string
	Results     []struct {
		Command, Error, Message string
		Malformed               bool
		ID                      uint64
	}
}

func TestCommandVectors(t *testing.T) {
	for _, v := range vectors[commandVector](t, "commands.json") {
		t.Run(v.Name, func(t *testing.T) {
			var d Decoder
			var c Command
			d.Reset([]byte(v.Frame))
			for _, want := range v.Results {
				err := d.Next(&c)
				var refused *Error
				switch {
				case want.Command != "":
					if err != nil {
						t.Fatalf("got %v, want %s", err, want.Command)
					}
					if got := string(appendCommand(nil, &c)); got != want.Command {
						t.Errorf("got  %s\nwant %s", got, want.Command)
					}
				case want.Malformed:
					if !errors.Is(err, ErrSyntax) || c.ID != want.ID {
						t.Errorf("got %v with id %d, want a syntax error with id %d", err, c.ID, want.ID)
					}
					if again := d.Next(&c); !errors.Is(again, ErrSyntax) || c.ID != 0 {
						t.Errorf("the fault does not stay: %v, id %d", again, c.ID)
					}
					return
				case !errors.As(err, &refused):
					t.Fatalf("got %v, want %s", err, want.Error)
				case refused.Code.String() != want.Error || refused.Message != want.Message || c.ID != want.ID:
					t.Errorf("got %v with id %d, want %s: %s with id %d", err, c.ID, want.Error, want.Message, want.ID)
				}
			}
			if err := d.Next(&c); err != io.EOF {
				t.Errorf("at the end: %v", err)
			}
		})
	}
}

// appendCommand writes a command as a client would.
func appendCommand(dst []byte, c *Command) []byte {
	switch c.Op {
	case OpConnect:
		return AppendConnect(dst, c.ID, &c.Connect)
	case OpSubscribe:
		return AppendSubscribe(dst, c.ID, &c.Subscribe)
	case OpUnsubscribe:
		return AppendUnsubscribe(dst, c.ID, &c.Unsubscribe)
	case OpPublish:
		return AppendPublish(dst, c.ID, &c.Publish)
	case OpAck:
		return AppendAck(dst, c.ID, &c.Ack)
	case OpHistory:
		return AppendHistory(dst, c.ID, &c.History)
	case OpCommand:
		return AppendTask(dst, c.ID, &c.Task)
	case OpCall:
		return AppendCall(dst, c.ID, &c.Call)
	case OpRenew:
		return AppendRenew(dst, c.ID, &c.Renew)
	case OpPresence:
		return AppendPresence(dst, c.ID, &c.Presence)
	}
	return AppendPing(dst, c.ID)
}

type clientVector struct {
	Name, Op, Frame string
	ID              uint64
	Fields          struct {
		Token, Client, Device, Channel, Epoch, Order, Cursor string
		MessageID                                            string `json:"message_id"`
		Destination                                          string
		Timeout                                              float64
		QoS                                                  QoS
		Since                                                *uint64
		Seq, Until                                           uint64
		SinceTime                                            int64 `json:"since_time"`
		Last, Limit                                          int
		Body                                                 vectorBody
	}
}

func (v *clientVector) encode() []byte {
	f := &v.Fields
	since := uint64(0)
	if f.Since != nil {
		since = *f.Since
	}
	switch v.Op {
	case "connect":
		return AppendConnect(nil, v.ID, &Connect{f.Token, f.Client, f.Device})
	case "presence":
		return AppendPresence(nil, v.ID, &Presence{f.Channel})
	case "renew":
		return AppendRenew(nil, v.ID, &Renew{f.Token})
	case "subscribe":
		return AppendSubscribe(nil, v.ID, &Subscribe{f.Channel, f.QoS, since, f.Since != nil, f.Epoch})
	case "unsubscribe":
		return AppendUnsubscribe(nil, v.ID, &Unsubscribe{f.Channel})
	case "publish":
		return AppendPublishBody(nil, v.ID, &Publish{Channel: f.Channel, ID: f.MessageID, QoS: f.QoS}, f.Body.bytes())
	case "ack":
		return AppendAck(nil, v.ID, &Ack{f.Channel, f.Seq, f.Epoch})
	case "history":
		return AppendHistory(nil, v.ID, &History{f.Channel, f.Last, since, f.Until, f.SinceTime, f.Limit, f.Order == "newest", f.Epoch, f.Cursor})
	case "command":
		return AppendTaskBody(nil, v.ID, &Task{Destination: f.Destination, ID: f.MessageID}, f.Body.bytes())
	case "call":
		return AppendCallBody(nil, v.ID, &Call{Destination: f.Destination, ID: f.MessageID, Timeout: f.Timeout}, f.Body.bytes())
	}
	return AppendPing(nil, v.ID)
}

func TestClientVectors(t *testing.T) {
	for _, v := range vectors[clientVector](t, "client.json") {
		t.Run(v.Name, func(t *testing.T) {
			frame := v.encode()
			if string(frame) != v.Frame {
				t.Errorf("got  %s\nwant %s", frame, v.Frame)
			}
			var d Decoder
			var c Command
			d.Reset(frame)
			if err := d.Next(&c); err != nil || c.Op.String() != v.Op {
				t.Fatalf("the server reads %v, %v", c.Op, err)
			}
			if got := string(appendCommand(nil, &c)); got != v.Frame {
				t.Errorf("read and written again: %s", got)
			}
		})
	}
}

// vectorMessage is a message with its body where the vectors have it.
type vectorMessage struct {
	Message
	Body vectorBody
}

func (m *vectorMessage) message() Message {
	m.Message.Body = m.Body.bytes()
	m.Encoding = EncodingOf(m.Message.Body)
	return m.Message
}

type serverVector struct {
	Name, Kind, Frame string
	ID                uint64
	Fields            json.RawMessage
}

// incoming builds what a client should read from the fields.
func (v *serverVector) incoming(t *testing.T) *Incoming {
	in := &Incoming{ID: v.ID, Kind: kindOf([]byte(v.Kind))}
	var m vectorMessage
	var call struct {
		CallReply
		Body vectorBody
	}
	var h struct {
		HistoryReply
		Messages []vectorMessage `json:"messages"`
	}
	into := map[Kind]any{
		KindConnect: &in.Connect, KindSubscribe: &in.Subscribe, KindUnsubscribe: &in.Unsubscribe, KindPublish: &in.Publish,
		KindAck: &in.Ack, KindHistory: &h, KindPing: &struct{}{}, KindCommand: &in.Task, KindCall: &call, KindError: &in.Error, KindMessage: &m, KindGap: &in.Gap,
		KindExpired: &in.Expired, KindReconnect: &in.Reconnect, KindUnsubscribed: &in.Unsubscribed,
		KindRenew: &in.Renew, KindPresence: &in.Presence,
	}[in.Kind]
	if err := json.Unmarshal(v.Fields, into); err != nil {
		t.Fatal(err)
	}
	switch in.Kind {
	case KindMessage:
		in.Message = m.message()
	case KindCall:
		in.Call = call.CallReply
		in.Call.Body = call.Body.bytes()
		in.Call.Encoding = EncodingOf(in.Call.Body)
	case KindHistory:
		in.History = h.HistoryReply
		for i := range h.Messages {
			in.History.Messages = append(in.History.Messages, h.Messages[i].message())
		}
	}
	return in
}

// appendIncoming writes what was read as a server would.
func appendIncoming(dst []byte, in *Incoming) []byte {
	switch in.Kind {
	case KindConnect:
		return AppendConnectReply(dst, in.ID, &in.Connect)
	case KindSubscribe:
		return AppendSubscribeReply(dst, in.ID, &in.Subscribe)
	case KindUnsubscribe:
		return AppendUnsubscribeReply(dst, in.ID, in.Unsubscribe.Channel)
	case KindPublish:
		return AppendPublishReply(dst, in.ID, &in.Publish)
	case KindAck:
		return AppendAckReply(dst, in.ID, in.Ack.Channel, in.Ack.Seq)
	case KindHistory:
		return AppendHistoryReply(dst, in.ID, &in.History)
	case KindPing:
		return AppendPong(dst, in.ID)
	case KindCommand:
		return AppendTaskReply(dst, in.ID, &in.Task)
	case KindCall:
		return AppendCallReply(dst, in.ID, &in.Call)
	case KindError:
		return AppendErrorReply(dst, in.ID, &in.Error)
	case KindMessage:
		return AppendMessagePush(dst, &in.Message)
	case KindGap:
		return AppendGapPush(dst, &in.Gap)
	case KindExpired:
		return AppendExpiredPush(dst, in.Expired.Grace)
	case KindReconnect:
		return AppendReconnectPush(dst, in.Reconnect.After, in.Reconnect.Reason)
	case KindUnsubscribed:
		return AppendUnsubscribedPush(dst, &in.Unsubscribed)
	case KindRenew:
		return AppendRenewReply(dst, in.ID, &in.Renew)
	case KindPresence:
		return AppendPresenceReply(dst, in.ID, &in.Presence)
	}
	panic("unknown kind")
}

func TestServerVectors(t *testing.T) {
	var shared ServerDecoder
	for _, v := range vectors[serverVector](t, "server.json") {
		t.Run(v.Name, func(t *testing.T) {
			want := v.incoming(t)
			if got := string(appendIncoming(nil, want)); got != v.Frame {
				t.Errorf("got  %s\nwant %s", got, v.Frame)
			}
			check := func(in *Incoming) error {
				got := *in
				if want.Kind == KindHistory && len(want.History.Messages) == 0 {
					want.History.Messages = nil
				}
				if !reflect.DeepEqual(body(&got), body(want)) || got.ID != want.ID {
					t.Errorf("read %+v\nwant %+v", body(&got), body(want))
				}
				return nil
			}
			if err := DecodeServer([]byte(v.Frame), check); err != nil {
				t.Error(err)
			}
			if err := shared.Decode([]byte(v.Frame), check); err != nil {
				t.Error(err)
			}
		})
	}
}

// body returns the one body of in that its kind names.
func body(in *Incoming) any {
	switch in.Kind {
	case KindConnect:
		return in.Connect
	case KindSubscribe:
		return in.Subscribe
	case KindUnsubscribe:
		return in.Unsubscribe
	case KindPublish:
		return in.Publish
	case KindAck:
		return in.Ack
	case KindHistory:
		return in.History
	case KindCommand:
		return in.Task
	case KindCall:
		return in.Call
	case KindError:
		return in.Error
	case KindMessage:
		return in.Message
	case KindGap:
		return in.Gap
	case KindExpired:
		return in.Expired
	case KindReconnect:
		return in.Reconnect
	case KindUnsubscribed:
		return in.Unsubscribed
	case KindRenew:
		return in.Renew
	case KindPresence:
		return in.Presence
	}
	return nil
}

func TestReadingVectors(t *testing.T) {
	type vector struct {
		Name, Frame string
		Frames      []string
		Error       bool
	}
	for _, v := range vectors[vector](t, "reading.json") {
		t.Run(v.Name, func(t *testing.T) {
			var got []string
			err := DecodeServer([]byte(v.Frame), func(in *Incoming) error {
				got = append(got, string(appendIncoming(nil, in)))
				return nil
			})
			if (err != nil) != v.Error || !reflect.DeepEqual(got, v.Frames) {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}
