// Package index maps a channel to the sequences of its messages.
package index

import (
	"sort"
	"sync"
)

// Index is a first, plain version; its methods are the package's contract.
type Index struct {
	mu          sync.RWMutex
	m           map[string][]entry
	dropped     map[string]uint64
	floor, head uint64
	first       uint64
	max         int64
}

type entry struct {
	seq uint64
	t   int64
}

// Window gathers an older range.
type Window struct {
	from, to uint64
	m        map[string][]entry
}

// New makes an index.
func New(budget int64) *Index { x := &Index{}; x.Reset(1); return x }

// NewWindow begins the window [from, to).
func NewWindow(from, to uint64) *Window {
	return &Window{from: from, to: to, m: map[string][]entry{}}
}

// Add adds a message, ascending within the window.
func (w *Window) Add(channel string, seq uint64, t int64) {
	w.m[channel] = append(w.m[channel], entry{seq, t})
}

// Reset forgets all.
func (x *Index) Reset(floor uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.m, x.dropped = map[string][]entry{}, map[string]uint64{}
	x.floor, x.head, x.first = max(floor, 1), max(floor, 1)-1, 1
}

// Append adds the newest message and returns what Prev says of it.
func (x *Index) Append(channel string, seq uint64, t int64) (prev uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	prev = x.prev(channel, seq)
	if seq > x.head {
		x.head = seq
		x.m[channel] = append(x.m[channel], entry{seq, t})
		x.limit(channel)
	}
	return prev
}

func (x *Index) limit(channel string) {
	es := x.m[channel]
	if x.max > 0 && int64(len(es)) > x.max {
		k := int64(len(es)) - x.max
		x.dropped[channel] = max(x.dropped[channel], es[k-1].seq)
		x.m[channel] = es[k:]
	}
}

// Prepend joins an older window.
func (x *Index) Prepend(w *Window) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if w.to != x.floor {
		return
	}
	for c, es := range w.m {
		x.m[c] = append(es, x.m[c]...)
		x.limit(c)
	}
	x.floor = w.from
}

// Floor is the sequence from which the index is complete.
func (x *Index) Floor() uint64 { x.mu.RLock(); defer x.mu.RUnlock(); return x.floor }

// Trim tells the log's first sequence.
func (x *Index) Trim(first uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.first = max(x.first, first)
	for c, es := range x.m {
		k := sort.Search(len(es), func(i int) bool { return es[i].seq >= x.first })
		if k > 0 {
			x.dropped[c] = max(x.dropped[c], es[k-1].seq)
			x.m[c] = es[k:]
		}
	}
}

// SetMaxPerChannel keeps the newest n of each channel.
func (x *Index) SetMaxPerChannel(n int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.max = n
	for c := range x.m {
		x.limit(c)
	}
}

// Remove forgets one message that the log no longer holds.
func (x *Index) Remove(channel string, seq uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, e := range x.m[channel] {
		if e.seq == seq {
			x.m[channel] = append(append([]entry(nil), x.m[channel][:i]...), x.m[channel][i+1:]...)
			x.dropped[channel] = max(x.dropped[channel], seq)
			return
		}
	}
}

// After appends up to n sequences in (after, until], ascending.
func (x *Index) After(dst []uint64, channel string, after, until uint64, n int) []uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for _, e := range x.m[channel] {
		if n > 0 && e.seq > after && e.seq <= until && e.seq >= x.floor {
			dst = append(dst, e.seq)
			n--
		}
	}
	return dst
}

// Before appends up to n sequences in (after, until], newest first.
func (x *Index) Before(dst []uint64, channel string, after, until uint64, n int) []uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	es := x.m[channel]
	for i := len(es) - 1; i >= 0 && n > 0; i-- {
		if s := es[i].seq; s > after && s <= until && s >= x.floor {
			dst = append(dst, s)
			n--
		}
	}
	return dst
}

// Prev is the sequence before seq on the channel, or the least bound, or 0.
func (x *Index) Prev(channel string, seq uint64) (prev uint64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.prev(channel, seq)
}

func (x *Index) prev(channel string, seq uint64) (prev uint64) {
	for _, e := range x.m[channel] {
		if e.seq < seq {
			prev = e.seq
		}
	}
	if d := x.dropped[channel]; d < seq {
		prev = max(prev, d)
	}
	if x.floor > x.first && prev < x.floor-1 {
		prev = min(x.floor, seq) - 1
	}
	return prev
}

// Dropped is the highest sequence known to have left this channel.
func (x *Index) Dropped(channel string) uint64 {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.dropped[channel]
}

// SeekTime gives a sequence at or before the first message with time >= t.
func (x *Index) SeekTime(channel string, t int64) (seq uint64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if x.floor > x.first {
		return 0
	}
	for _, e := range x.m[channel] {
		if e.t >= t {
			return e.seq
		}
	}
	return x.head + 1
}

// Stats tells how much the index holds.
func (x *Index) Stats() (channels int, bytes int64) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return len(x.m), 0
}
