package streams

import (
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// Options says how a Log reaches NATS and what it does with what it finds there. Connect and Deliver are required.
type Options struct {
	// Connect opens a connection to NATS; extra must be applied after its own options. The Log closes what it opened.
	Connect func(name string, extra ...nats.Option) (*nats.Conn, error)

	Policies       []Policy // the listed namespaces
	Default        *Policy  // for namespaces that are not listed; nil: they are refused with ErrUnknownNamespace
	MaxUnlisted    int      // how many unlisted namespaces the NATS account may hold (64)
	AllowShrink    bool     // let Open make limits smaller than those of an existing stream, which deletes messages
	MaxMessageSize int      // bytes of a body where the policy names none (64 KiB)

	// Deliver takes the live tail. Stored messages come in batches, serially per stream and in sequence order. Messages of QoS 0
	// (Seq 0) come one in a batch, from the goroutine that publishes them here or from the one that received them, at any
	// time: also while the stream's stored messages are delivered. The batch may be kept only until Deliver returns,
	// the messages for ever; they must not be changed. Deliver must not wait for a Page or for a done callback.
	Deliver func(batch []*Message)
	// Reset tells that a namespace's stream was made anew: it has a new epoch and positions of the old one mean nothing.
	// It never runs at the same time as a Deliver of that stream; the next Deliver brings the new epoch's messages. May be nil.
	Reset func(namespace string)
	// Progress tells how far the rebuild of a namespace's index is, in sequence numbers. May be nil.
	Progress func(namespace string, done, total uint64)

	// Sync makes everything that JetStream has stored so far survive a power cut: for a store that is this process's own.
	// Acknowledgements and the tail of file streams with one replica wait for it where the policy says Sync (durability
	// "file+sync"). One call serves all who wait; calls are serial. nil: policies that say so are refused.
	Sync func() error
	// SyncPause is the least time between two beginnings of Sync while messages keep coming (1 ms). It is longer where a sync takes
	// long, and cut short when whoever publishes waits for an answer.
	SyncPause time.Duration

	// Alone says that no program but this one can reach the server: what is not stored concerns nobody else, and is not sent there.
	Alone bool
	// Fault says whether a stream's store has failed, where the server is this process's own: what is published to it is then
	// refused with ErrStoreFull at once, instead of left without an answer. May be nil.
	Fault func(stream string) error

	PublishTimeout time.Duration // how long an acknowledgement may take (5 s)
	IndexBytes     int64         // memory for the indexes of all streams (256 MiB)
	RingBytes      int64         // memory for the recent messages of each stream (12 MiB)
	Logger         *slog.Logger  // nil: slog.Default

	holdRebuild <-chan struct{} // for tests: the rebuild of an index begins when it is closed
}

// Publication is a message to be stored (QoS 1 and 2) or only sent (QoS 0).
type Publication struct {
	Channel string
	ID      string // the publisher's own id; required at QoS 2, where it makes retries safe
	From    string // the user who publishes
	QoS     uint8
	Body    []byte
}

// Ack says where a message is stored.
type Ack struct {
	Seq        uint64 // 0: QoS 0
	Duplicate  bool   // it had been stored before, at Seq
	Epoch      string
	Durability string
}

// Message is one message of a channel. It is shared by all who receive it and must not be changed.
type Message struct {
	Channel string
	Seq     uint64 // 0: not stored (QoS 0)
	// Prev is the sequence of the message before this one on the same channel, 0 if there is none. Where it is not known, it is
	// a later sequence such that nothing of this channel lies between it and Seq. So a receiver at position P
	// has missed something only if Prev > P.
	Prev uint64
	Time int64  // when it was stored, in Unix nanoseconds
	ID   string // the publisher's id; where none was given, the NATS message id, if any
	From string // the user who published it; "" if it came from a plain NATS client
	Body []byte
}

// The errors of this package. What it returns wraps one of them whenever one applies.
var (
	ErrBadChannel        = errors.New("bad channel name")
	ErrUnknownNamespace  = errors.New("unknown namespace")
	ErrTooManyNamespaces = errors.New("too many unlisted namespaces")
	ErrUnavailable       = errors.New("NATS is not available") // nothing was stored
	ErrTimeout           = errors.New("no answer in time")     // whether it was stored is not known
	ErrTooLarge          = errors.New("message too large")
	ErrStoreFull         = errors.New("store full") // nothing was stored
	ErrClosed            = errors.New("log closed")
	ErrWrongEpoch        = errors.New("position of another epoch")
	ErrBadPublication    = errors.New("bad publication") // QoS 2 without an id, QoS above 2, an id or sender that is too long
)

// Stats counts what a Log has done since it was opened, and what it holds.
type Stats struct {
	GapsFound     uint64 // times the tail noticed that deliveries were missing
	GapsRefilled  uint64 // of these, how often the tail has since caught up
	TailRestarts  uint64 // consumers made again, for whatever reason
	Resets        uint64 // streams found made anew
	DirectGets    uint64 // messages read from the log one by one
	SharedGets    uint64 // reads that joined one already on its way
	NotFound      uint64 // messages that the index named and the log no longer held
	SlowReads     uint64 // reads below the index's floor
	RunReads      uint64 // messages read in runs, where a cursor or many together wanted most of a stretch of the log
	RingHits      uint64 // messages that a page took from the ring
	Delivered     uint64 // stored messages handed to Deliver
	Published     uint64 // messages acknowledged
	Syncs         uint64 // calls of Options.Sync that succeeded
	Refused       uint64 // messages that JetStream or this Log refused
	Unknown       uint64 // messages whose outcome remained unknown
	InFlight      int    // messages that wait for an acknowledgement
	Queued        int    // messages that wait to be sent
	Streams       int    // open streams
	IndexChannels int    // channels in the indexes
	IndexBytes    int64  // memory of the indexes
	RingBytes     int64  // bodies held in the rings
}
