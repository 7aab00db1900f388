package index

import "math"

// Window gathers the messages of an older range of the log, to be joined to an index by Prepend. It belongs to one goroutine,
// and then to Prepend.
type Window struct {
	core
	from, to uint64
	last     uint64 // the last sequence added
	time     int64  // of the first message added
}

// NewWindow begins the window of the sequences in [from, to). To must be the index's floor when the window is prepended.
func NewWindow(from, to uint64) *Window {
	from = max(from, 1)
	return &Window{core: newCore(), from: from, to: to, last: from - 1, time: math.MaxInt64}
}

// Add adds a message, ascending by sequence; what is outside the window, or does not ascend, is left out.
func (w *Window) Add(channel string, seq uint64, t int64) {
	if seq <= w.last || seq >= w.to || len(channel) > maxName {
		return
	}
	if w.last < w.from {
		w.time = t
	}
	w.last = seq
	_, ch := w.intern(channel)
	w.push(ch, seq, t)
}

// adoptStep is how many channels of a window are joined before others may have the lock.
const adoptStep = 64

// Prepend joins a finished window that ends at the floor; then the floor is its from, or higher if the budget is reached: there
// is no use in windows below that. A window that does not end at the floor (because the budget has moved it, or after
// Reset) is left out: Floor tells. Appends and reads go on meanwhile. The window must not be used afterwards.
func (x *Index) Prepend(w *Window) {
	x.prepending.Lock()
	defer x.prepending.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	if w.to != x.floor || w.from >= w.to {
		return
	}
	resets := x.resets
	x.evicted = 0
	for id := uint32(1); id <= w.channels.top; id++ {
		x.adopt(w, w.channels.at(id))
		if id%adoptStep == 0 {
			x.breathe()
			if x.resets != resets || x.floor != w.to { // what was joined so far is below the floor
				return
			}
		}
	}
	if x.floor = max(w.from, x.evicted); x.floor == w.from { // otherwise appends made room at the cost of what was just joined
		x.floorTime = min(x.floorTime, w.time)
	}
	x.evict()
}

// adopt joins what the window has of one channel. Caller must hold mu.
func (x *Index) adopt(w *Window, from *channel) {
	id, ch := x.intern(string(w.name(from)))
	x.clear(ch)
	newest := from.open.maxT
	full := x.older(ch)
	for i := 0; i < len(full) && full[i].maxT < newest; i++ {
		full[i].maxT = newest
	}
	if ch.open.n > 0 {
		ch.open.maxT = max(ch.open.maxT, newest)
	}
	x.adoptBlock(ch, &from.open, w)
	older := w.older(from)
	for i := len(older) - 1; i >= 0; i-- {
		x.adoptBlock(ch, &older[i], w)
	}
	x.enqueue(id, ch)
	x.limit(ch)
}

// clear frees the entries below the floor, so that a window that holds them again can be joined. Caller must hold mu.
func (x *Index) clear(ch *channel) {
	for b := x.front(ch); b.n > 0 && b.first < x.floor; b = x.front(ch) {
		var seq uint64
		if b.last < x.floor {
			seq = x.dropFront(ch).last
		} else {
			seq = x.popFront(ch)
		}
		if seq < x.first {
			ch.dropped = max(ch.dropped, seq)
		}
	}
}

// adoptBlock copies a block of the window to the front of the channel. Caller must hold mu.
func (x *Index) adoptBlock(ch *channel, b *block, w *Window) {
	deltas := b.deltas(&w.arena)
	front := x.front(ch)
	if front.n > 0 && front.merge(&x.arena, b, deltas) {
		if ch.long != 0 {
			x.longs.at(ch.long).entries += uint64(b.n)
		}
		return
	}
	own := *b
	own.class = class(len(deltas))
	own.data, own.off, own.end = x.arena.alloc(own.class), 0, uint8(len(deltas))
	if own.class != 0 {
		copy(x.arena.bytes(own.data, own.class), deltas)
	}
	if front.n == 0 {
		ch.open = own
	} else {
		x.pushFront(ch, own)
	}
}
