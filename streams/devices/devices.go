package devices

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	DefaultExpiry  = 30 * 24 * time.Hour
	DefaultPerUser = 16
	DefaultDelay   = time.Second

	// MaxRecord is how many bytes a record may have.
	MaxRecord = 64 << 10

	maxUser   = 256 // bytes
	maxDevice = 64
)

var (
	// ErrUnavailable says that NATS is away or did not answer in time. What was asked for may have happened or not; it can be tried again.
	ErrUnavailable = errors.New("devices: unavailable")
	// ErrTaken says that another session has the device now.
	ErrTaken = errors.New("devices: taken over")
	// ErrClosed says that the store is closed, or that the device was released.
	ErrClosed = errors.New("devices: closed")
	// ErrTooLarge says that a record would be larger than MaxRecord: the session has too many subscriptions.
	ErrTooLarge = errors.New("devices: record too large")
	// ErrInvalid says that a user or device id is empty or too long.
	ErrInvalid = errors.New("devices: invalid id")
	// ErrRefused says that the bucket cannot be made what the options say.
	ErrRefused = errors.New("devices: refused")
)

// Position is one subscription of a device, and up to where it was acknowledged.
type Position struct {
	Channel string // or a pattern
	QoS     uint8
	Epoch   string
	Seq     uint64
}

// Record is what was stored of a device.
type Record struct {
	Found     bool // there was a record
	Seen      time.Time
	Positions []Position
}

// Holder is the session that holds a device. Its methods are called from the store's goroutine, without a lock; they must not block.
type Holder interface {
	// Positions returns the present ones. It may be called as soon as Take's done was called, so by the time that returns
	// it must give at least what done was given.
	Positions() []Position
	// TakenOver says that a newer session has the device. It is called at most once, and nothing of this session is stored any more.
	TakenOver()
}

// Options are the options of a Store. Connect is required.
type Options struct {
	// Connect opens a connection to NATS; the options that it is given must be applied.
	Connect  func(name string, extra ...nats.Option) (*nats.Conn, error)
	Expiry   time.Duration // a record that was not written for so long is forgotten; DefaultExpiry
	Replicas int           // 1
	Memory   bool          // keep the records in memory only
	PerUser  int           // devices of a user; past it the one seen longest ago is forgotten; DefaultPerUser
	Delay    time.Duration // how long Changed may wait for more changes; DefaultDelay
	// Synced calls then once everything that JetStream has acknowledged would survive a power cut; nil: it is not waited for.
	// It must not block; then may be called at once or from any goroutine.
	Synced func(then func(error))
	Logger *slog.Logger
}

// Stats are counters since Open, but for Held and Waiting.
type Stats struct {
	Held        int    // devices held here
	Waiting     int    // reads and writes that are on their way
	Takes       uint64 // devices taken
	Reads       uint64
	Writes      uint64
	Announced   uint64 // takes that other gateways were told of, because the record may have been one of theirs
	TakenHere   uint64 // sessions here that lost their device to another one here
	TakenOver   uint64 // sessions here that lost their device to another gateway
	Conflicts   uint64 // writes refused because the record had another revision
	Failures    uint64 // reads and writes without an answer, or refused for another reason
	Unreadable  uint64 // records that could not be decoded
	Evicted     uint64 // records forgotten because their user had too many
	Rewritten   uint64 // records written anew because the bucket was
	BucketsLost uint64 // how often the bucket was found to be another one
}

// Usage is what the bucket holds.
type Usage struct {
	Records uint64
	Bytes   uint64 // as JetStream counts them, with subjects and headers
}

func (o *Options) fill() error {
	if o.Connect == nil {
		return errors.New("devices: Connect is required")
	}
	o.Expiry = defaulted(o.Expiry, DefaultExpiry)
	o.PerUser = defaulted(o.PerUser, DefaultPerUser)
	o.Delay = defaulted(o.Delay, DefaultDelay)
	o.Replicas = defaulted(o.Replicas, 1)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}

func defaulted[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Open connects to NATS and makes the bucket, or makes it what the options say.
func Open(ctx context.Context, o Options) (*Store, error) {
	return open(ctx, o, func(b bucket) bucket { return b })
}

func open(ctx context.Context, o Options, around func(bucket) bucket) (*Store, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	s := newStore(o)
	b, err := dial(&s.opts, events{up: s.onConnection, taken: s.onTakenMessage})
	if err != nil {
		return nil, err
	}
	made, err := b.ensure(ctx)
	if err != nil {
		b.conn.Close()
		return nil, err
	}
	s.hangUp = b.conn.Close
	s.usage = b.usage
	s.start(around(b), made)
	return s, nil
}

// Take makes a session the holder of a device; owner is an id that no other session has or had. done is called once, from the
// store's goroutine and not from Take, unless the store is closed; it must not block, and may release the device. A Take that is overtaken by
// another one here gets ErrTaken, and its holder is not called.
func (s *Store) Take(user, device, owner string, h Holder, done func(d *Device, was Record, err error)) {
	if user == "" || len(user) > maxUser || device == "" || len(device) > maxDevice || owner == "" || len(owner) > maxUser {
		done(nil, Record{}, fmt.Errorf("%w: user of %d bytes (up to %d), device of %d (up to %d), owner of %d", ErrInvalid, len(user), maxUser, len(device), maxDevice, len(owner)))
		return
	}
	t := &take{user: encodeToken(user), owner: owner, holder: h, done: done}
	key := t.user + "." + encodeToken(device)
	if !s.post(func() { s.onTake(key, t) }) {
		done(nil, Record{}, ErrClosed)
	}
}

// Changed says that the holder's positions have changed: they are written behind, together with what changes until then.
func (d *Device) Changed() {
	if d.marked.CompareAndSwap(false, true) {
		d.store.post(func() { d.store.onChanged(d) })
	}
}

// Store writes the holder's positions at once. done is called once, as Take's is: with nil when they are stored (and synced); with
// ErrTaken, ErrClosed or ErrTooLarge; with ErrUnavailable at once when NATS is away, or after five seconds. What could not be stored is
// written later if the session still has the device.
func (d *Device) Store(done func(error)) {
	if !d.store.post(func() { d.store.onStore(d, &call{done: done}) }) {
		done(ErrClosed)
	}
}

// Release says that the session has ended. What has changed is written in the background; the holder is asked for its positions
// once more, and may still be told that it was taken over if that happened before.
func (d *Device) Release() { d.store.post(func() { d.store.onRelease(d) }) }

// Stats returns the counters.
func (s *Store) Stats() Stats {
	c := &s.count
	return Stats{
		Held: int(c.held.Load()), Waiting: int(c.waiting.Load()), Takes: c.takes.Load(), Reads: c.reads.Load(), Writes: c.writes.Load(),
		Announced: c.announced.Load(), TakenHere: c.takenHere.Load(), TakenOver: c.takenOver.Load(),
		Conflicts: c.conflicts.Load(), Failures: c.failures.Load(), Unreadable: c.unreadable.Load(), Evicted: c.evicted.Load(),
		Rewritten: c.rewritten.Load(), BucketsLost: c.remade.Load(),
	}
}

// Usage asks JetStream what the bucket holds.
func (s *Store) Usage(ctx context.Context) (Usage, error) { return s.usage(ctx) }

func encodeToken(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
