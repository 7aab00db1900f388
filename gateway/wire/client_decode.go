package wire

import "math"

// Kind names what a server has sent. The zero Kind is nothing.
type Kind uint8

// Replies, which carry the id of their command, and pushes, which carry none. KindError is either.
const (
	KindConnect Kind = iota + 1
	KindSubscribe
	KindUnsubscribe
	KindPublish
	KindAck
	KindHistory
	KindPing
	KindCommand
	KindCall
	KindError
	KindMessage
	KindGap
	KindExpired
	KindReconnect
	KindUnsubscribed
	KindRenew
	KindPresence
)

// Incoming is one decoded reply or push: Kind says which of the bodies is set. ID 0 means a push.
// A ServerDecoder overwrites it for the next one. Bodies of messages alias the frame.
type Incoming struct {
	ID          uint64
	Kind        Kind
	Connect     ConnectReply
	Subscribe   SubscribeReply
	Unsubscribe Unsubscribe
	Publish     PublishReply
	Ack         AckReply
	History     HistoryReply
	Task        TaskReply // of `command`
	Call        CallReply
	Error       Error // Code 0 if the table has no such name, which then begins the message
	Message     Message
	Gap         Gap
	Expired     Expired
	Reconnect   Reconnect

	Unsubscribed Unsubscribed
	Renew        RenewReply
	Presence     PresenceReply
}

// AckReply answers ack.
type AckReply struct {
	Channel string `json:"channel"`
	Seq     uint64 `json:"seq"`
}

// Expired is pushed when the token has expired.
type Expired struct {
	Grace float64 `json:"grace"` // seconds until the connection ends; come back with a new token
}

// Reconnect is pushed when the server wants the client to connect anew.
type Reconnect struct {
	After  float64 `json:"after"` // seconds, to which the client adds a jitter of its own
	Reason string  `json:"reason"`
}

// ServerDecoder decodes what servers send. It remembers recent channel and user names, so that a stream of messages costs no string each:
// keep one per connection, or one for all connections of a loop. It is not for concurrent use; the zero ServerDecoder is ready.
type ServerDecoder struct {
	in    Incoming
	names Names
}

// DecodeServer calls fn for each reply and push of a text frame. See ServerDecoder.Decode.
func DecodeServer(frame []byte, fn func(*Incoming) error) error {
	return decodeServer(frame, new(Incoming), nil, fn)
}

// Decode calls fn for each reply and push of a text frame, in order, and ends with fn's first error. Fields and frames that it does not know
// are passed over: they come from a newer server. A frame that is not JSON gives an error that wraps ErrSyntax, a known field of
// a wrong type an *Error. What fn is given is valid until it returns.
func (d *ServerDecoder) Decode(frame []byte, fn func(*Incoming) error) error {
	return decodeServer(frame, &d.in, &d.names, fn)
}

// serverReader reads the frames of a server; names may be nil.
type serverReader struct {
	reader
	names *Names
}

func decodeServer(frame []byte, in *Incoming, names *Names, fn func(*Incoming) error) error {
	r := serverReader{reader{scanner: scanner{buf: frame}}, names}
	for !r.end() {
		if r.peek() != '{' {
			r.fail("an object was expected")
			return r.syntax()
		}
		in.ID, in.Kind = 0, 0
		r.where = ""
		for ok := r.enter('}'); ok; ok = r.more('}') {
			r.frame(in)
		}
		switch {
		case r.fault != "":
			return r.syntax()
		case r.refusal != nil:
			return r.refusal
		case in.Kind == 0:
			continue
		}
		if err := fn(in); err != nil {
			return err
		}
	}
	return nil
}

func (r *serverReader) frame(in *Incoming) {
	key := r.name()
	kind := kindOf(key)
	switch {
	case string(key) == "id":
		r.where = ""
		in.ID = r.uint("id", math.MaxUint64)
		return
	case kind == 0:
		r.skip()
		return
	case in.Kind != 0:
		r.refuse("a frame with two bodies")
		r.skip()
		return
	}
	in.Kind, r.where = kind, "frame"
	if r.peek() != '{' {
		r.mismatch("the body", "an object")
		return
	}
	switch kind {
	case KindConnect:
		in.Connect = ConnectReply{}
	case KindSubscribe:
		in.Subscribe = SubscribeReply{}
	case KindUnsubscribe:
		in.Unsubscribe = Unsubscribe{}
	case KindPublish:
		in.Publish = PublishReply{}
	case KindAck:
		in.Ack = AckReply{}
	case KindHistory:
		in.History = HistoryReply{}
	case KindCommand:
		in.Task = TaskReply{}
	case KindCall:
		r.callReply(&in.Call)
		return
	case KindError:
		in.Error = Error{}
	case KindMessage:
		r.message(&in.Message)
		return
	case KindGap:
		in.Gap = Gap{}
	case KindExpired:
		in.Expired = Expired{}
	case KindReconnect:
		in.Reconnect = Reconnect{}
	case KindUnsubscribed:
		in.Unsubscribed = Unsubscribed{}
	case KindRenew:
		in.Renew = RenewReply{}
	case KindPresence:
		in.Presence = PresenceReply{}
	}
	for ok := r.enter('}'); ok; ok = r.more('}') {
		r.field(in, r.name())
	}
}

func kindOf(key []byte) Kind {
	switch string(key) {
	case "message":
		return KindMessage
	case "connect":
		return KindConnect
	case "subscribe":
		return KindSubscribe
	case "unsubscribe":
		return KindUnsubscribe
	case "publish":
		return KindPublish
	case "ack":
		return KindAck
	case "history":
		return KindHistory
	case "ping":
		return KindPing
	case "command":
		return KindCommand
	case "call":
		return KindCall
	case "error":
		return KindError
	case "gap":
		return KindGap
	case "expired":
		return KindExpired
	case "reconnect":
		return KindReconnect
	case "unsubscribed":
		return KindUnsubscribed
	case "renew":
		return KindRenew
	case "presence":
		return KindPresence
	}
	return 0
}
