// Package hub keeps every subscription as a cursor on a channel's log, and moves it.
//
// A cursor is live or behind. Live cursors are handed each message as the tail brings it, encoded once for all sockets.
// A cursor falls behind when it begins with a position in the past, when its socket takes no more, when too many messages wait for
// its acks or have waited too long, or when the tail skipped something; a few workers then read pages of the log for it, at the speed of its socket, until it stands at the
// head again. Reconnect, absence, slowness, redelivery and repair are the same path. A pattern's subscription is a cursor on
// all channels that match.
//
// Invariants: a cursor's position grows within an epoch, but for going back to what was acknowledged; it grows when, and only when, its socket took what lies
// before: a message, or a gap that names what the log no longer has. A page of another epoch than the cursor's is never
// delivered. What follows the position is delivered by exactly one of the two paths: a cursor becomes live under the lock
// that fan-out takes, and only if nothing of its channel beyond its position has passed meanwhile.
//
// Locks: shard.mu, then what Sink.Offer takes. run.mu, patterns.mu and pages.mu are leaves.
//
// The package knows logs and frames. It must not know sockets, sessions, users or the protocol.
package hub

import (
	"context"
	"hash/maphash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/streams"
)

// Sink is where a cursor's frames go: a socket's queue.
type Sink interface {
	// Offer queues a frame unless too much waits already. If it was not taken, the owner calls Cursor.Drained for each of
	// the sink's cursors once there is room. flush says that the sink must be passed to Options.Flush.
	Offer(frame []byte) (taken, flush bool)
}

// Log is what a cursor that is behind reads. *streams.Stream is one.
type Log interface {
	Epoch() string
	Head() uint64
	Page(context.Context, streams.PageRequest) (streams.Page, error)
}

var _ Log = (*streams.Stream)(nil)

// Gap names what a cursor can no longer get. To is 0 if the range belongs to another epoch.
type Gap struct {
	Channel, Epoch string
	From, To       uint64
	NewEpoch       bool
}

// Defaults of Options.
const (
	DefaultWorkers      = 16
	DefaultPageMessages = 128
	DefaultPageBytes    = 128 << 10
	DefaultSharedBytes  = 16 << 20
	DefaultAckWait      = 30 * time.Second
	DefaultMaxUnacked   = 256
)

// Options configures a Hub. The first three are required.
type Options struct {
	// Message makes the frame that carries a message; prev is the sequence before it in the subscription, pattern is empty
	// if that is to its channel.
	Message func(m *streams.Message, prev uint64, pattern string) []byte
	Gap     func(Gap) []byte // the frame that tells of a gap
	Flush   func([]Sink)     // writes what Offer queued; the slice is the hub's again afterwards

	TooSlow func(Sink) // the socket of a strict cursor is full; may be called more than once

	Workers      int // cursors that are caught up at a time
	PageMessages int // read for one cursor before the next has its turn
	PageBytes    int
	SharedBytes  int           // of recent pages that are kept for others who come to the same place
	AckWait      time.Duration // without progress for so long, what was not acknowledged is sent again; up to an eighth later
	MaxUnacked   int           // messages of one cursor that wait for acks
	Logger       *slog.Logger
}

const shards = 64

// Hub holds the cursors of one gateway.
type Hub struct {
	opt      Options
	seed     maphash.Seed
	shards   [shards]shard
	patterns patterns
	run      run
	pages    pages

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup

	unreadable atomic.Bool // reading failed the last time

	delivered, skipped, fellBehind, caughtUp, gaps, holes, redelivered atomic.Uint64
}

// shard is a part of the channels.
type shard struct {
	mu      sync.Mutex
	topics  map[string]*topic
	unacked []*Cursor // whose windows are armed
}

// topic is a channel that has cursors. Guarded by its shard's mu, but for the fields that never change.
type topic struct {
	name  string
	wild  bool // name is a pattern
	log   Log
	hub   *Hub
	shard *shard

	cursors []*Cursor
	last    uint64 // nothing above this sequence has passed
	epoch   string // at the last Reset, or when the topic was made
	newest  []byte // the frame that cursors at QoS 0 missed last
	missing int    // how many wait for it

	pages []*sharedPage // guarded by pages.mu
}

// pattern is the topic's pattern, if it is no channel.
func (t *topic) pattern() string {
	if t.wild {
		return t.name
	}
	return ""
}

// New makes a Hub and starts its workers. Close must be called.
func New(o Options) *Hub {
	o.Workers = defaulted(o.Workers, DefaultWorkers)
	o.PageMessages = defaulted(o.PageMessages, DefaultPageMessages)
	o.PageBytes = defaulted(o.PageBytes, DefaultPageBytes)
	o.SharedBytes = defaulted(o.SharedBytes, DefaultSharedBytes)
	o.AckWait = defaulted(o.AckWait, DefaultAckWait)
	o.MaxUnacked = defaulted(o.MaxUnacked, DefaultMaxUnacked)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	h := &Hub{opt: o, seed: maphash.MakeSeed()}
	for i := range h.shards {
		h.shards[i].topics = make(map[string]*topic)
	}
	h.ctx, h.stop = context.WithCancel(context.Background())
	h.run.ready.L = &h.run.mu
	for range o.Workers {
		h.work.Go(h.catchUp)
	}
	h.work.Go(h.retry)
	h.work.Go(h.redeliver)
	return h
}

func defaulted[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// Close stops the workers and waits for them. Cursors move no more.
func (h *Hub) Close() {
	h.stop()
	h.run.end()
	h.work.Wait()
}

func (h *Hub) shard(channel string) *shard {
	return &h.shards[maphash.String(h.seed, channel)%shards]
}

// Stats are counts since New, but Channels and Cursors, which are now.
type Stats struct {
	Channels, Cursors int
	Delivered         uint64 // frames of messages that sockets' queues took
	Skipped           uint64 // messages at QoS 0 that a socket missed, being full or behind
	FellBehind        uint64 // times that a live cursor's socket was full
	CaughtUp          uint64 // times that a cursor joined the live path
	Gaps              uint64 // gap frames
	Holes             uint64 // times that the live path lacked a message, found by prev, and read again
	Redelivered       uint64 // times that a cursor went back to what was acknowledged
}

// Stats returns the counts.
func (h *Hub) Stats() Stats {
	st := Stats{
		Delivered: h.delivered.Load(), Skipped: h.skipped.Load(), FellBehind: h.fellBehind.Load(),
		CaughtUp: h.caughtUp.Load(), Gaps: h.gaps.Load(), Holes: h.holes.Load(),
		Redelivered: h.redelivered.Load(),
	}
	for i := range h.shards {
		sh := &h.shards[i]
		sh.mu.Lock()
		st.Channels += len(sh.topics)
		for _, t := range sh.topics {
			st.Cursors += len(t.cursors)
		}
		sh.mu.Unlock()
	}
	return st
}
