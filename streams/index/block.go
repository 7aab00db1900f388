package index

import "encoding/binary"

const (
	blockEntries = 128 // at most, in a block
	blockBytes   = 255 // at most, of deltas in a block: offsets fit a byte
)

// block is a run of ascending sequences of one channel: the first as it is, each other as the varint of its distance from
// the one before. A block of one entry has no piece of the arena.
type block struct {
	first, last uint64
	maxT        int64 // highest time of this block and of all blocks that stood before it on the channel: so it ascends
	data        ref
	off, end    uint8 // the deltas are data[off:end]
	n           uint8 // entries
	class       uint8 // of data
}

func single(seq uint64, t int64) block { return block{first: seq, last: seq, maxT: t, n: 1} }

// deltas gives the encoded distances.
func (b *block) deltas(a *arena) []byte {
	if b.class == 0 {
		return nil
	}
	return a.bytes(b.data, b.class)[b.off:b.end]
}

// add adds a sequence above all others and reports whether there was room.
func (b *block) add(a *arena, seq uint64) bool {
	delta := seq - b.last
	size := uvarintLen(delta)
	if b.n >= blockEntries || int(b.end-b.off)+size > blockBytes {
		return false
	}
	if int(b.end)+size > int(classSize[b.class]) || int(b.end)+size > blockBytes {
		need := int(b.end-b.off) + size
		b.resize(a, class(min(need+need/3, maxPiece)))
	}
	b.end += uint8(binary.PutUvarint(a.bytes(b.data, b.class)[b.end:], delta))
	b.last = seq
	b.n++
	return true
}

// resize moves the deltas to the start of a piece of class c, which must hold them.
func (b *block) resize(a *arena, c uint8) {
	old := b.deltas(a)
	if c == b.class {
		if c != 0 {
			copy(a.bytes(b.data, c), old)
		}
	} else {
		r := a.alloc(c)
		if c != 0 {
			copy(a.bytes(r, c), old)
		}
		a.release(b.data, b.class)
		b.data, b.class = r, c
	}
	b.off, b.end = 0, uint8(len(old))
}

// fit gives back what the deltas do not need.
func (b *block) fit(a *arena) {
	if c := class(int(b.end - b.off)); c < b.class {
		b.resize(a, c)
	}
}

// popFront takes out the first entry of a block that has more than one.
func (b *block) popFront(a *arena) (seq uint64) {
	delta, size := binary.Uvarint(b.deltas(a))
	seq = b.first
	b.first += delta
	b.off += uint8(size)
	if b.n--; b.n == 1 {
		b.resize(a, 0)
	}
	return seq
}

// drop gives back the block's memory and leaves it empty.
func (b *block) drop(a *arena) {
	a.release(b.data, b.class)
	*b = block{}
}

// appendTo appends the sequences from lo to hi inclusive, at most n.
func (b *block) appendTo(a *arena, dst []uint64, lo, hi uint64, n int) []uint64 {
	seq, p := b.first, b.deltas(a)
	for n > 0 && seq <= hi {
		if seq >= lo {
			dst = append(dst, seq)
			n--
		}
		if len(p) == 0 {
			break
		}
		delta, size := binary.Uvarint(p)
		seq, p = seq+delta, p[size:]
	}
	return dst
}

// before gives the highest sequence of the block below seq; the block's first must be.
func (b *block) before(a *arena, seq uint64) uint64 {
	if b.last < seq {
		return b.last
	}
	at, p := b.first, b.deltas(a)
	for {
		delta, size := binary.Uvarint(p)
		if at+delta >= seq {
			return at
		}
		at, p = at+delta, p[size:]
	}
}

// remove takes one sequence out of a block that has more than one entry, and reports whether it was there.
func (b *block) remove(a *arena, seq uint64) bool {
	if seq == b.first {
		b.popFront(a)
		return true
	}
	at, p := b.first, b.deltas(a)
	for len(p) > 0 {
		delta, size := binary.Uvarint(p)
		if at += delta; at != seq {
			p = p[size:]
			continue
		}
		b.n--
		if seq == b.last { // nothing follows
			b.last = seq - delta
			b.end -= uint8(size)
		} else { // the sum of two distances never takes more bytes than both
			next, nextSize := binary.Uvarint(p[size:])
			put := binary.PutUvarint(p, delta+next)
			rest := copy(p[put:], p[size+nextSize:])
			b.end -= uint8(len(p) - put - rest)
		}
		if b.n == 1 {
			b.resize(a, 0)
		}
		return true
	}
	return false
}

// merge puts the entries of an older block, whose deltas are given, before the block's own, and reports whether there was
// room.
func (b *block) merge(a *arena, older *block, deltas []byte) bool {
	own := b.deltas(a)
	gap := b.first - older.last
	size := len(deltas) + uvarintLen(gap) + len(own)
	if int(b.n)+int(older.n) > blockEntries || size > blockBytes {
		return false
	}
	c := class(size)
	r := a.alloc(c)
	p := a.bytes(r, c)
	k := copy(p, deltas)
	k += binary.PutUvarint(p[k:], gap)
	copy(p[k:], own)
	a.release(b.data, b.class)
	*b = block{first: older.first, last: b.last, maxT: max(b.maxT, older.maxT), data: r, end: uint8(size), n: b.n + older.n, class: c}
	return true
}

func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}
