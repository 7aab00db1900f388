// Package cursor reads streams under names that outlive processes. A cursor is a position in each stream that it reads, kept in a KV
// bucket; whoever holds the cursor's lease reads on from there. So any number of gateways may want to read under one name, one of
// them does, and when that one dies another goes on.
//
// Invariants:
//   - Messages of one stream are handed on in their order, and a position moves over a message only once that one, and all before it, are
//     done. A holder that dies makes its successor hand on again what was not done, or not yet known to be.
//   - At most Window messages of a stream are handed on and not done.
//   - What the stream has lost behind the position is told, once, in its place.
//   - Two processes may read under one name for a moment (the lease of one has lapsed, and it does not know yet). Only one of them moves
//     the positions.
//
// The package must not know what messages say, nor who reads them.
package cursor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/refusal"
)

// Bucket is the KV bucket of positions (position.NAME.STREAM) and leases (lease.NAME).
const Bucket = "jetwire_webhooks"

const (
	bucketSubjects = "$KV." + Bucket + "."
	markerTTL      = time.Minute // how long the bucket remembers that a lease has lapsed; nobody asks
	lifeMark       = "jetwire-life"
)

// Options configures a Store. JetStream and Owner are required.
type Options struct {
	JetStream jetstream.JetStream
	Owner     string        // names this process in leases; no two at a time have the same
	Replicas  int           // of the bucket
	Memory    bool          // keep the bucket in memory only
	Window    int           // default: DefaultWindow
	Lease     time.Duration // default: DefaultLease; whole seconds
	Logger    *slog.Logger
}

const (
	// DefaultWindow is how many messages of one stream are handed on and not done.
	DefaultWindow = 256
	// DefaultLease is how long a lease outlives its holder.
	DefaultLease = 5 * time.Second
)

// Store keeps cursors.
type Store struct {
	opts Options
	js   jetstream.JetStream
	kv   jetstream.KeyValue
}

// Open makes the bucket, unless it is there.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Window <= 0 {
		o.Window = DefaultWindow
	}
	if o.Lease <= 0 {
		o.Lease = DefaultLease
	}
	c := jetstream.KeyValueConfig{Bucket: Bucket, Description: "Jetwire: who reads for webhooks, and how far", History: 1,
		LimitMarkerTTL: markerTTL, Storage: jetstream.FileStorage, Replicas: max(o.Replicas, 1)}
	if o.Memory {
		c.Storage = jetstream.MemoryStorage
	}
	kv, err := o.JetStream.CreateOrUpdateKeyValue(ctx, c)
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", Bucket, err)
	}
	return &Store{opts: o, js: o.JetStream, kv: kv}, nil
}

// epochOf names the life of a stream, as package streams does.
func epochOf(info *jetstream.StreamInfo) string {
	epoch := strconv.FormatInt(info.Created.UnixNano(), 36)
	if life := info.Config.Metadata[lifeMark]; life != "" {
		epoch += "-" + life
	}
	return epoch
}

// put writes a key if it is still at revision, for ttl (0: for good), and returns the new revision.
func (s *Store) put(ctx context.Context, key string, value []byte, revision uint64, ttl time.Duration) (uint64, error) {
	opts := []jetstream.PublishOpt{jetstream.WithExpectLastSequencePerSubject(revision)}
	if ttl > 0 {
		opts = append(opts, jetstream.WithMsgTTL(ttl))
	}
	ack, err := s.js.PublishMsg(ctx, &nats.Msg{Subject: bucketSubjects + key, Data: value, Header: nats.Header{}}, opts...)
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// moved reports whether put failed because another has written the key.
func moved(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && refusal.Moved(api.ErrorCode)
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
