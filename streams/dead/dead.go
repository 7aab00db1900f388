// Package dead is the stream of what could not be delivered: jetwire_dead. A dead letter is what was to be delivered, as it was, with
// headers that say who gave it up and why; it is there for people to look at, and to be sent once more.
//
// Whoever gives something up puts it here first, and takes it from where it was afterwards. Since it may be put here again, a Letter's
// Nats-Msg-Id is the place that it comes from: within DedupWindow the stream keeps one.
//
// The package must not know what letters are of, nor why they are given up.
package dead

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Stream is the stream's name, and Prefix what the subjects of letters begin with: what kind of thing it was comes next, as in
// jetwire.dead.command.billing.refund.
const (
	Stream = "jetwire_dead"
	Prefix = "jetwire.dead."
)

// The defaults of Options, and for how long a letter is kept once.
const (
	DefaultMaxAge   = 30 * 24 * time.Hour
	DefaultMaxBytes = 256 << 20
	DedupWindow     = time.Hour
)

// The headers that a letter has besides its own.
const (
	HeaderReason     = "Jw-Dead-Reason"     // why: a word, or the receiver's own text
	HeaderConsumer   = "Jw-Dead-Consumer"   // whose delivery failed
	HeaderDeliveries = "Jw-Dead-Deliveries" // how often it was tried
	HeaderStream     = "Jw-Dead-Stream"     // where it was …
	HeaderSeq        = "Jw-Dead-Seq"        // … under which sequence
	HeaderTime       = "Jw-Dead-Time"       // … and since when (RFC 3339, UTC)
)

// ErrRefused says that the stream cannot be made what the options say.
var ErrRefused = errors.New("dead: refused")

// Options says how letters are kept. The zero value of each field is the default named beside it; all who share a NATS account give the
// same.
type Options struct {
	Memory   bool          // keep them in memory only
	Replicas int           // 1
	MaxAge   time.Duration // DefaultMaxAge
	MaxBytes int64         // past it the oldest go; DefaultMaxBytes
}

func (o Options) config() jetstream.StreamConfig {
	c := jetstream.StreamConfig{
		Name: Stream, Description: "Jetwire: what could not be delivered", Subjects: []string{Prefix + ">"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: jetstream.FileStorage,
		Replicas: max(o.Replicas, 1), MaxAge: o.MaxAge, MaxBytes: o.MaxBytes, AllowDirect: true,
	}
	if o.Memory {
		c.Storage = jetstream.MemoryStorage
	}
	if c.MaxAge <= 0 {
		c.MaxAge = DefaultMaxAge
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = DefaultMaxBytes
	}
	c.Duplicates = min(DedupWindow, c.MaxAge)
	return c
}

// Ensure makes the stream, or makes it what the options say. It fails with ErrRefused where that cannot be, which says what to do; any
// other error may pass.
func Ensure(ctx context.Context, js jetstream.JetStream, o Options) error {
	want := o.config()
	st, err := js.Stream(ctx, Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		st, err = js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // somebody else was faster
			st, err = js.Stream(ctx, Stream)
		}
	}
	if err != nil {
		return fmt.Errorf("stream %s: %w", Stream, err)
	}
	c := st.CachedInfo().Config
	if c.Storage != want.Storage {
		return fmt.Errorf("%w: stream %s keeps its messages in %s storage, the configuration says %s, and storage cannot be changed; "+
			"change the configuration back, or delete the stream with all its messages: nats stream rm %s", ErrRefused, Stream, c.Storage, want.Storage, Stream)
	}
	if slices.Equal(c.Subjects, want.Subjects) && c.Replicas == want.Replicas && c.MaxAge == want.MaxAge && c.MaxBytes == want.MaxBytes &&
		c.Duplicates == want.Duplicates && c.AllowDirect {
		return nil
	}
	c.Subjects, c.Replicas, c.MaxAge, c.MaxBytes, c.Duplicates, c.AllowDirect = want.Subjects, want.Replicas, want.MaxAge, want.MaxBytes, want.Duplicates, true
	if _, err := js.UpdateStream(ctx, c); err != nil {
		return fmt.Errorf("stream %s: %w", Stream, err)
	}
	return nil
}

// Letter says where something was that is given up, and why.
type Letter struct {
	Reason     string
	Consumer   string
	Deliveries uint64
	Stream     string
	Seq        uint64
	Time       time.Time // when it was stored there; zero: not known
}

// Message returns the letter as it is to be published to Prefix + subject, with JetStream's acknowledgement: the body and the headers as
// they were, but for those that JetStream reads or writes itself. It changes neither.
func (l Letter) Message(subject string, header nats.Header, body []byte) *nats.Msg {
	m := &nats.Msg{Subject: Prefix + subject, Data: body, Header: nats.Header{}}
	for name, values := range header {
		if len(name) < 5 || name[:5] != "Nats-" {
			m.Header[name] = slices.Clone(values)
		}
	}
	m.Header.Set(HeaderReason, oneLine(l.Reason))
	m.Header.Set(HeaderConsumer, oneLine(l.Consumer))
	m.Header.Set(HeaderDeliveries, strconv.FormatUint(l.Deliveries, 10))
	m.Header.Set(HeaderStream, l.Stream)
	m.Header.Set(HeaderSeq, strconv.FormatUint(l.Seq, 10))
	id := l.Stream + "/" + strconv.FormatUint(l.Seq, 10) + "/" + l.Consumer
	if !l.Time.IsZero() {
		m.Header.Set(HeaderTime, l.Time.UTC().Format(time.RFC3339Nano))
		id += "/" + strconv.FormatInt(l.Time.UnixNano(), 36)
	}
	m.Header.Set(nats.MsgIdHdr, id)
	return m
}

// Post stores what Message has made. A letter that its headers make larger than NATS takes is stored without its body, and says so.
func Post(ctx context.Context, js jetstream.JetStream, letter *nats.Msg) (*jetstream.PubAck, error) {
	ack, err := js.PublishMsg(ctx, letter)
	if errors.Is(err, nats.ErrMaxPayload) {
		letter.Header.Set(HeaderReason, fmt.Sprintf("%s (its body of %d bytes was too large to be kept)", letter.Header.Get(HeaderReason), len(letter.Data)))
		letter.Data = nil
		ack, err = js.PublishMsg(ctx, letter)
	}
	return ack, err
}

// maxReason is how many bytes of a text go into a header.
const maxReason = 512

// oneLine makes a text one that a header can hold.
func oneLine(s string) string {
	b := []byte(s[:min(len(s), maxReason)])
	for i, c := range b {
		if c < ' ' || c == 0x7f {
			b[i] = ' '
		}
	}
	return string(b)
}
