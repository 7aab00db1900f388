// Package index maps each channel of one stream to the sequences of its messages, a few bytes each, so that the gateway can
// answer "what came after", "the last N", "since that time" and "what was before this one" without asking the log, and then
// read bodies by sequence.
//
// Invariants:
//   - The index is complete from Floor on: of every channel it knows each message it was told of with a sequence >= Floor,
//     except those that have left the log (Trim, SetMaxPerChannel, Remove). Below Floor it answers nothing.
//   - Floor rises only when the budget forces out the oldest entries (of all channels, up to one sequence), sinks only when
//     Prepend joins the window that ends at it, and is set by Reset. Trim does not move it: once the log's first sequence has
//     reached Floor (Floor() <= first, whichever of the two moved), nothing lies below that the index does not know, and
//     the index is complete altogether. Then Prev's 0 is exact: the log holds nothing older on that channel.
//   - A sequence that Prev or Append gives is either exact or a bound: nothing of the channel lies between it and the message
//     asked about. It is never lower than the truth, so that a receiver that compares it with its position never overlooks
//     a loss; where it is a bound it may see one that was none.
//
// A channel's deletions are known only as far as they are told. SetMaxPerChannel infers them, by count: if the log has deleted
// a message of a full channel that nobody has told Remove of, the index lets go of one that the log still has.
//
// The package knows names, numbers and times. It must not know NATS, messages or policies, and it holds no truth: the log may
// have deleted a message that the index was not told about, and whoever reads by its answers must be ready for that.
package index

import (
	"math"
	"sync"
	"time"
)

// ClockSlack is how far the store's clock may have stepped back for SeekTime to be safe about messages that the index was
// never told of (those below the window last prepended). For all others it is safe whatever the clock did.
const ClockSlack = time.Minute

// bucketBits is log2 of how many sequences the floor rises by when the budget is reached.
const bucketBits = 12

// maxAnswer keeps sums of counts from overflowing.
const maxAnswer = math.MaxInt32

// Index is the index of one stream. Its methods may be called by any number of goroutines.
//
// Lock order: prepending, then mu.
type Index struct {
	// fixed after New
	budget  int64
	bits    uint   // bucketBits, less in tests
	stretch uint32 // matchChannels, less in tests
	between func() // called where a long operation lets the lock go; nil but in tests

	prepending sync.Mutex // held throughout a Prepend

	mu sync.Mutex // sections are too short for readers to gain from sharing it
	// guarded by mu
	core
	buckets   []bucket // ascending by key, none empty
	resets    uint64   // how many there were
	floor     uint64   // complete from here
	first     uint64   // the log's first sequence, as far as Trim told
	head      uint64   // the last sequence told
	born      uint64   // the floor of the last Reset: from here on all was told as it came
	floorTime int64    // what lies below floor is not newer (give or take ClockSlack, if it was never told)
	max       int64    // entries a channel keeps, 0: all
	evicted   uint64   // bound of what the budget forced out since the running Prepend began
}

// New gives an index for a stream without messages, as after Reset(1). It takes about budget bytes,
// as Stats counts them; 0 is no limit. What the newest 4096 sequences need is kept in any case.
func New(budget int64) *Index {
	x := &Index{budget: budget, bits: bucketBits, stretch: matchChannels}
	x.Reset(1)
	return x
}

// Reset forgets all, Trim's sequence too: the stream is another one, or the tail begins anew. Everything with a sequence >=
// floor will be told by Append from now on; what is older, by Prepend or never. The channels' limit stays.
func (x *Index) Reset(floor uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	floor = max(floor, 1)
	x.core, x.buckets = newCore(), nil
	x.resets++
	x.floor, x.born, x.first, x.head = floor, floor, 1, floor-1
	x.floorTime, x.evicted = math.MaxInt64, 0
}

// Append adds the stream's newest message, stored at t (Unix ns), and returns what Prev will say of it. Sequences ascend; one
// that does not is taken as told before, and changes nothing. Channels longer than 255 bytes are not kept, and have a bound
// for every answer.
func (x *Index) Append(channel string, seq uint64, t int64) (prev uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(channel) > maxName || seq <= x.head {
		prev = x.prev(channel, seq)
		x.head = max(x.head, seq)
		return prev
	}
	x.head = seq
	if x.floorTime == math.MaxInt64 {
		x.floorTime = t
	}
	id, ch := x.intern(channel)
	if prev = max(ch.open.last, ch.dropped); ch.open.n == 0 {
		prev = x.bound(ch, seq)
	}
	x.push(ch, seq, t)
	x.enqueue(id, ch)
	x.limit(ch)
	x.evict()
	return prev
}

// Floor gives the sequence from which on the index is complete.
func (x *Index) Floor() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.floor
}

// SetMaxPerChannel makes each channel keep its newest n entries, as MaxMsgsPerSubject does in the log; 0 is no limit. It takes
// time in proportion to the number of channels.
func (x *Index) SetMaxPerChannel(n int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.max = n
	for id := uint32(1); n > 0 && id <= x.channels.top; id++ {
		x.limit(x.channels.at(id))
	}
}

// limit lets the oldest entries of a channel go until it keeps no more than it may. Caller must hold mu.
func (x *Index) limit(ch *channel) {
	if x.max <= 0 {
		return
	}
	for n := x.entries(ch); n > uint64(x.max); {
		if k := uint64(x.front(ch).n); n-k >= uint64(x.max) {
			ch.dropped = max(ch.dropped, x.dropFront(ch).last)
			n -= k
		} else {
			ch.dropped = max(ch.dropped, x.popFront(ch))
			n--
		}
	}
}

// Remove tells that the log no longer holds this one message. Nothing changes if the index does not know the message.
func (x *Index) Remove(channel string, seq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if ch := x.find(channel); ch != nil && x.remove(ch, seq) {
		ch.dropped = max(ch.dropped, seq)
	}
}

// After appends to dst up to n sequences of the channel in (after, until], oldest first; those the index knows, so none below
// Floor.
func (x *Index) After(dst []uint64, channel string, after, until uint64, n int) []uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	ch := x.find(channel)
	if ch == nil || after >= until || n <= 0 {
		return dst
	}
	return x.ascend(dst, ch, max(after+1, x.low()), until, min(n, maxAnswer))
}

// Before appends to dst up to n sequences of the channel in (after, until], newest first; those the index knows, so none
// below Floor.
func (x *Index) Before(dst []uint64, channel string, after, until uint64, n int) []uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	ch := x.find(channel)
	if ch == nil || after >= until || n <= 0 {
		return dst
	}
	return x.descend(dst, ch, max(after+1, x.low()), until, min(n, maxAnswer))
}

// low is the first sequence that the index may answer with. Entries below it wait to be freed. Caller must hold mu.
func (x *Index) low() uint64 { return max(x.floor, x.first) }

// Prev gives the sequence before seq on the channel: the highest known below it, be it in the log or known to have left it. If
// none is known, 0 when the index is complete and the log holds none; otherwise the least bound, as the package comment says.
//
// On a channel that holds as many messages as SetMaxPerChannel allows, of which some may have been stored before the last
// Reset, older ones may have left the log unseen: the oldest message then has the bound seq-1, not 0.
func (x *Index) Prev(channel string, seq uint64) (prev uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.prev(channel, seq)
}

// prev is Prev. Caller must hold mu.
func (x *Index) prev(channel string, seq uint64) uint64 {
	if len(channel) > maxName {
		return max(seq, 1) - 1
	}
	ch := x.find(channel)
	if ch == nil {
		return x.bound(nil, seq)
	}
	p := x.before(ch, seq)
	if p == 0 {
		return x.bound(ch, seq)
	}
	if ch.dropped < seq {
		p = max(p, ch.dropped)
	}
	return p
}

// bound is what can be said of the message before seq when no entry is known below it. Entries that wait to be freed count
// as known: what they say is true, for nothing is ever missing between them and the newest. Caller must hold mu.
func (x *Index) bound(ch *channel, seq uint64) uint64 {
	var dropped uint64
	if ch != nil {
		dropped = ch.dropped
	}
	switch {
	case seq == 0:
		return 0
	case dropped >= seq: // something newer has left the log; whether something older has is forgotten
		return seq - 1
	case x.floor > x.first:
		return max(min(x.floor, seq)-1, dropped)
	case dropped == 0 && ch != nil && x.born > 1 && x.max > 0 && x.entries(ch) >= uint64(x.max):
		return seq - 1
	}
	return dropped
}

// Dropped gives the highest sequence of the channel that is known to have left the log, by Trim, SetMaxPerChannel or Remove; 0
// when none is. It remembers all that left at or above max(Floor, Trim's first), less of what is below: there, compare with
// Trim's first.
func (x *Index) Dropped(channel string) uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	ch := x.find(channel)
	if ch == nil {
		return 0
	}
	return max(ch.dropped, x.before(ch, x.first))
}

// SeekTime gives a sequence such that every message of the channel with a time >= t (Unix ns) has that sequence or a higher
// one. Times are kept per block, so it may be early by a block's entries, or more after the clock has stepped back. 0 means that the
// index cannot say, because messages below Floor may qualify; if no message does, it is above all of them.
func (x *Index) SeekTime(channel string, t int64) (seq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.floor > x.first && (t <= x.floorTime || t-x.floorTime <= int64(ClockSlack)) {
		return 0
	}
	ch := x.find(channel)
	if ch == nil {
		if len(channel) > maxName {
			return 0
		}
		return x.head + 1
	}
	if seq = x.since(ch, t); seq == 0 {
		return x.head + 1
	}
	return max(seq, x.first)
}

// Stats gives the number of channels the index holds anything about, and the bytes it counts against its budget: all that is
// in use. The process holds some more for it: up to a quarter where many channels of middling size grow at once.
func (x *Index) Stats() (channels int, bytes int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.channels.live(), x.bytes()
}
