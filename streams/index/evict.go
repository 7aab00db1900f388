package index

import "sort"

// bucket lists the channels whose oldest block ended in [key<<bits, (key+1)<<bits) when they were entered: their tickets. A
// channel has one valid ticket, in the bucket of its oldest block or an older one, so that freeing what is oldest visits only
// channels that have something to free or that have moved on since they were last visited.
type bucket struct {
	key      uint64
	channels []uint32
}

const ticketBytes = 4

// enqueue sees to a channel's ticket after its oldest block has become older, or the channel has become known. Caller must
// hold mu.
func (x *Index) enqueue(id uint32, ch *channel) {
	key := x.front(ch).last >> x.bits
	if ch.ticket != 0 && ch.ticket-1 <= uint32(key) {
		return
	}
	x.file(id, ch, key)
}

// file writes a channel's ticket. Caller must hold mu.
func (x *Index) file(id uint32, ch *channel, key uint64) {
	i := len(x.buckets) - 1
	if i < 0 || x.buckets[i].key != key {
		i = sort.Search(len(x.buckets), func(i int) bool { return x.buckets[i].key >= key })
		if i == len(x.buckets) || x.buckets[i].key != key {
			x.buckets = append(x.buckets, bucket{})
			copy(x.buckets[i+1:], x.buckets[i:])
			x.buckets[i] = bucket{key: key}
		}
	}
	x.buckets[i].channels = append(x.buckets[i].channels, id)
	x.fixed += ticketBytes
	ch.ticket = uint32(key) + 1
}

// Trim tells the log's first sequence: what is below has left it. It takes time in proportion to what is freed, but holds the
// lock only for short spells.
func (x *Index) Trim(first uint64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.first = max(x.first, first)
	for len(x.buckets) > 0 && (x.buckets[0].key+1)<<x.bits <= x.first {
		x.sweep()
		x.breathe()
	}
}

// breathe lets others have the lock. Caller must hold mu.
func (x *Index) breathe() {
	x.mu.Unlock()
	if x.between != nil {
		x.between()
	}
	x.mu.Lock()
}

// evict raises the floor until the budget is kept, but never past the bucket of the newest message. Caller must hold mu.
func (x *Index) evict() {
	for x.budget > 0 && x.bytes() > x.budget && len(x.buckets) > 0 && x.buckets[0].key < x.head>>x.bits {
		if end, freed := x.sweep(); freed {
			x.floor = max(x.floor, end)
			x.evicted = max(x.evicted, end)
		}
	}
}

// sweep frees what ends in the oldest bucket, and gives the bucket's end and whether anything below it was lost. Caller must
// hold mu.
func (x *Index) sweep() (end uint64, freed bool) {
	b := x.buckets[0]
	x.buckets[0] = bucket{}
	x.buckets = x.buckets[1:]
	x.fixed -= ticketBytes * int64(len(b.channels))
	end = (b.key + 1) << x.bits
	for _, id := range b.channels {
		ch := x.channels.at(id)
		if ch.name != 0 && ch.ticket == uint32(b.key)+1 && x.shed(id, ch, end) {
			freed = true
		}
	}
	return end, freed
}

// shed frees the blocks of a channel that lie below end, or the channel if nothing is left of it, writes it a new ticket
// otherwise, and reports whether anything was lost. Caller must hold mu.
func (x *Index) shed(id uint32, ch *channel, end uint64) (lost bool) {
	for b := x.front(ch); b.n > 0 && b.last < end; b = x.front(ch) {
		was := x.dropFront(ch)
		if was.last < x.first {
			ch.dropped = max(ch.dropped, was.last)
		} else {
			x.floorTime = max(x.floorTime, was.maxT)
			lost = true
		}
	}
	b := x.front(ch)
	switch {
	case b.n > 0:
		x.file(id, ch, b.last>>x.bits)
	case ch.dropped >= end: // remembered, because only the index knows of it
		x.file(id, ch, ch.dropped>>x.bits)
	default:
		lost = lost || ch.dropped >= x.first
		x.forget(id, ch)
	}
	return lost
}
