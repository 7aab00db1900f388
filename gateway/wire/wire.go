// Package wire is the vocabulary of Jetwire's protocol: commands, replies, pushes, codes, and their JSON codec.
// PROTOCOL.md beside this file is its specification; testdata holds the vectors that every implementation runs.
//
// The package knows bytes and names. It must not know sockets, sessions or NATS, and it imports nothing of Jetwire's,
// so that servers, clients and load generators can share it.
package wire

// Version is the protocol version, and Subprotocol the WebSocket subprotocol that names it with its encoding.
const (
	Version     = 1
	Subprotocol = "jetwire.v1.json"
)

// Limits of the grammar. A gateway may be configured to accept less, never more.
const (
	MaxChannel = 200 // bytes in a channel name or pattern
	MaxID      = 128 // bytes in a message id
	MaxDevice  = 64  // bytes in a device id
	MaxToken   = 8192
	MaxEpoch   = 32                // bytes in an epoch
	MaxCursor  = 512               // bytes in a cursor of history
	MaxTime    = 9_223_372_036_854 // Unix milliseconds: the last whose nanoseconds fit 64 bits, in the year 2262
)

// Op names a command. The zero Op is no command.
type Op uint8

// The commands, client to server.
const (
	OpConnect Op = iota + 1
	OpSubscribe
	OpUnsubscribe
	OpPublish
	OpAck
	OpHistory
	OpPing
	OpCommand
	OpCall
	OpRenew
	OpPresence
)

// QoS is a delivery guarantee, as PROTOCOL.md defines it.
type QoS uint8

// The three guarantees.
const (
	AtMostOnce  QoS = 0
	AtLeastOnce QoS = 1
	ExactlyOnce QoS = 2
)

// Encoding says how Data carries a body that is not JSON.
type Encoding uint8

// A body that is valid JSON travels as it is. Other UTF-8 travels as a JSON string, anything else as base64 in one.
const (
	JSON   Encoding = iota
	Text            // "encoding":"text"
	Base64          // "encoding":"base64"
)

// String returns the name that the encoding has in a frame; empty for JSON, which has none.
func (e Encoding) String() string {
	switch e {
	case Text:
		return "text"
	case Base64:
		return "base64"
	}
	return ""
}

// EncodingNamed finds an encoding by the name that it has in a frame.
func EncodingNamed[T string | []byte](name T) (Encoding, bool) {
	for _, e := range [...]Encoding{Text, Base64} {
		if string(name) == e.String() {
			return e, true
		}
	}
	return JSON, false
}

// Command is one decoded client command: Op says which of the bodies is set. ID 0 means that no reply is wanted.
// A Decoder overwrites it on every call.
type Command struct {
	ID          uint64
	Op          Op
	Connect     Connect
	Subscribe   Subscribe
	Unsubscribe Unsubscribe
	Publish     Publish
	Ack         Ack
	History     History
	Task        Task // of `command`
	Call        Call
	Renew       Renew
	Presence    Presence
}

// Connect authenticates the connection. It must be the first command.
type Connect struct {
	Token  string
	Client string // name and version of the client, for the log; at most 64 bytes
	Device string // makes (user, device) durable; empty: what the connection holds ends with it
}

// Renew gives the connection a new token.
type Renew struct {
	Token string
}

// Subscribe asks for the messages of a channel, or of all that match a pattern, after a position.
type Subscribe struct {
	Channel string
	QoS     QoS    // AtLeastOnce unless the client says otherwise
	Since   uint64 // deliver what follows this sequence; meaningful if Resume
	Resume  bool   // since was given
	Epoch   string // the epoch Since belongs to; empty: the client does not know it
}

// Unsubscribe ends a subscription.
type Unsubscribe struct {
	Channel string
}

// Publish sends one message to a channel.
type Publish struct {
	Channel  string
	Data     []byte // the JSON value as sent; aliases the frame and is valid until the next call of the Decoder
	Encoding Encoding
	ID       string // empty: none
	QoS      QoS    // ExactlyOnce if an id was given and no qos, AtLeastOnce if neither
}

// Ack says that everything up to Seq on the channel was handled.
type Ack struct {
	Channel string
	Seq     uint64
	Epoch   string // empty: the current one
}

// History asks for one page of the log. The zero Limit is the server's default.
type History struct {
	Channel   string
	Last      int    // the newest N, listed oldest first; 0: not asked
	Since     uint64 // exclusive
	Until     uint64 // inclusive; 0: the head
	SinceTime int64  // Unix milliseconds, inclusive; 0: not asked
	Limit     int
	Newest    bool   // newest first
	Epoch     string // the epoch Since and Until belong to
	Cursor    string // the "next" of the page before; excludes every other field but Channel and Limit
}

// Message is a message push, and an element of a history page.
type Message struct {
	Channel  string   `json:"channel"`
	Pattern  string   `json:"pattern,omitzero"` // of the subscription that brings it, if that is no channel
	Seq      uint64   `json:"seq,omitzero"`     // 0: at most once, not stored
	Prev     uint64   `json:"prev,omitzero"`    // see PROTOCOL.md
	ID       string   `json:"id,omitzero"`
	Time     int64    `json:"time,omitzero"` // Unix milliseconds
	From     string   `json:"from,omitzero"`
	Body     []byte   `json:"-"` // exactly what the publisher sent
	Encoding Encoding `json:"-"`

	Redelivered bool `json:"-"` // set by clients, never by the codec: the application was handed it before
}

// Gap is pushed when the log no longer holds what a subscription needs.
// It names the range (From..To, inclusive) of which messages may be lost; the subscription carries on behind it.
type Gap struct {
	Channel string    `json:"channel"`
	Epoch   string    `json:"epoch"` // the epoch of what follows
	From    uint64    `json:"from"`
	To      uint64    `json:"to,omitzero"` // 0: unknown (the range belongs to another epoch)
	Reason  GapReason `json:"reason"`
}

// Unsubscribed is pushed when the server ends a subscription, or could not restore it.
type Unsubscribed struct {
	Channel string `json:"channel"`
	Error
}

// GapReason says what took the messages.
type GapReason string

// The reasons.
const (
	GapRetention GapReason = "retention" // limits, age, purge or deletion
	GapEpoch     GapReason = "epoch"     // the stream was made anew
)

// ConnectReply answers connect.
type ConnectReply struct {
	Session     string  `json:"session"` // this connection's id, for logs
	User        string  `json:"user"`
	Ping        float64 `json:"ping"`             // seconds: the server pings a silent connection this often
	Expires     int64   `json:"expires,omitzero"` // when the token expires, Unix milliseconds; 0: never
	RetryWindow float64 `json:"retry_window"`     // seconds for which a publish with an id may be retried safely
	MaxMessage  int     `json:"max_message"`      // bytes of a frame the server accepts

	// Durable is set if the session is: connect named a device.
	Durable *Durable `json:"durable,omitzero"`
}

// RenewReply answers renew.
type RenewReply struct {
	Expires int64 `json:"expires,omitempty"` // of the new token, Unix milliseconds; 0: never
}

// Durable is what a reply to connect says of a durable session.
type Durable struct {
	Device     string     `json:"device"`
	Resumed    bool       `json:"resumed"` // the server knew the device
	Restored   []Restored `json:"restored"`
	AckWait    float64    `json:"ack_wait"`    // seconds without an ack after which a subscription's messages are sent again
	MaxUnacked int        `json:"max_unacked"` // messages of one subscription that wait for their acks
}

// Restored is a subscription that goes on in a durable session: everything after Since follows.
type Restored struct {
	Channel string `json:"channel"`
	QoS     QoS    `json:"qos"`
	Epoch   string `json:"epoch"` // empty at QoS 0
	Since   uint64 `json:"since"`
}

// SubscribeReply answers subscribe: every message of the channel after Seq (or after the since that was asked) follows.
type SubscribeReply struct {
	Channel string `json:"channel"`
	Epoch   string `json:"epoch"`
	Seq     uint64 `json:"seq"` // the head of the log when the subscription was in place
	QoS     QoS    `json:"qos"`
}

// PublishReply answers publish.
type PublishReply struct {
	Channel    string `json:"channel"`
	Seq        uint64 `json:"seq,omitzero"`   // 0 at QoS 0
	Epoch      string `json:"epoch,omitzero"` // empty at QoS 0
	Duplicate  bool   `json:"duplicate"`
	Durability string `json:"durability"` // none, memory, file, file+sync, replicated, replicated+sync
}

// HistoryReply answers history.
type HistoryReply struct {
	Channel  string    `json:"channel"`
	Epoch    string    `json:"epoch"`
	Messages []Message `json:"messages"`
	Next     string    `json:"next,omitzero"` // cursor of the next page; empty: there is none
	Lost     *Range    `json:"lost,omitzero"` // set if the log no longer holds a part of what was asked for
}

// Range is an inclusive range of sequences.
type Range struct {
	From uint64 `json:"from"`
	To   uint64 `json:"to"`
}
