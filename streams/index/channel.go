package index

import (
	"hash/maphash"
	"sort"
	"unsafe"
)

const (
	maxName   = 255 // bytes; longer channels are not indexed (Jetwire's grammar ends at 200)
	subtables = 64  // grow one at a time, so that no append waits for all names to be filed anew
)

// channel is what is known of one channel. It has no pointers: a million of them cost the garbage collector nothing.
type channel struct {
	open    block  // the newest entries; empty only when there are no entries at all
	dropped uint64 // the highest sequence known to have left the log, 0: none
	name    ref    // a length byte and the name; 0: the slot is free
	hash    uint32
	long    uint32 // the older blocks, 0: none
	ticket  uint32 // low bits of the key of the bucket that holds this channel's ticket
}

// long holds the full blocks of a channel that has more than one: blocks[head:], oldest first, never empty.
type long struct {
	blocks  []block
	head    int
	entries uint64
}

const (
	channelBytes = int64(unsafe.Sizeof(channel{}))
	longBytes    = int64(unsafe.Sizeof(long{}))
	blockSize    = int64(unsafe.Sizeof(block{}))
)

// core holds channels and their entries, without any notion of what is complete or gone. Whoever embeds it locks it.
type core struct {
	seed     maphash.Seed
	tables   [subtables]table
	channels slab[channel]
	longs    slab[long]
	arena    arena
	fixed    int64 // bytes held beside the arena's and the slabs'
}

func newCore() core { return core{seed: maphash.MakeSeed()} }

// bytes is what all live parts take; memory given back waits in free lists and is not counted.
func (c *core) bytes() int64 {
	return c.arena.used + c.fixed + int64(c.channels.live())*channelBytes + int64(c.longs.live())*longBytes
}

func (c *core) hash(name string) (uint32, *table) {
	h := uint32(maphash.String(c.seed, name))
	return h, &c.tables[h>>26]
}

func (c *core) name(ch *channel) []byte {
	size := c.arena.bytes(ch.name, 1)[0]
	return c.arena.bytes(ch.name, class(1+int(size)))[1 : 1+int(size)]
}

// find gives the channel of this name, or nil.
func (c *core) find(name string) *channel {
	h, t := c.hash(name)
	if id := c.lookup(t, h, name); id != 0 {
		return c.channels.at(id)
	}
	return nil
}

func (c *core) lookup(t *table, h uint32, name string) uint32 {
	return t.find(h, func(id uint32) bool { return string(c.name(c.channels.at(id))) == name })
}

// intern gives the channel of this name, made if there is none.
func (c *core) intern(name string) (id uint32, ch *channel) {
	h, t := c.hash(name)
	if id = c.lookup(t, h, name); id != 0 {
		return id, c.channels.at(id)
	}
	id = c.channels.alloc()
	ch = c.channels.at(id)
	cl := class(1 + len(name))
	ch.hash, ch.name = h, c.arena.alloc(cl)
	p := c.arena.bytes(ch.name, cl)
	p[0] = uint8(len(name))
	copy(p[1:], name)
	c.fixed += t.insert(h, id)
	return id, ch
}

// forget removes a channel that has no entries.
func (c *core) forget(id uint32, ch *channel) {
	c.fixed += c.tables[ch.hash>>26].remove(ch.hash, id)
	c.arena.release(ch.name, class(1+len(c.name(ch))))
	c.channels.release(id)
}

// push adds the newest entry of a channel.
func (c *core) push(ch *channel, seq uint64, t int64) {
	b := &ch.open
	if b.n == 0 {
		*b = single(seq, t)
		return
	}
	t = max(t, b.maxT)
	if !b.add(&c.arena, seq) {
		b.fit(&c.arena)
		c.pushBlock(ch, *b)
		*b = single(seq, t)
	}
	b.maxT = t
}

// older gives the full blocks of a channel, oldest first; the open one follows them.
func (c *core) older(ch *channel) []block {
	if ch.long == 0 {
		return nil
	}
	l := c.longs.at(ch.long)
	return l.blocks[l.head:]
}

// front gives the oldest block; it is empty when the channel is.
func (c *core) front(ch *channel) *block {
	if ch.long == 0 {
		return &ch.open
	}
	l := c.longs.at(ch.long)
	return &l.blocks[l.head]
}

func (c *core) entries(ch *channel) uint64 {
	n := uint64(ch.open.n)
	if ch.long != 0 {
		n += c.longs.at(ch.long).entries
	}
	return n
}

func (c *core) ensureLong(ch *channel) *long {
	if ch.long == 0 {
		ch.long = c.longs.alloc()
	}
	return c.longs.at(ch.long)
}

// move gives l room for n blocks, with its own starting at head.
func (c *core) move(l *long, n, head int) {
	old := l.blocks[l.head:]
	blocks := make([]block, head+len(old), n)
	copy(blocks[head:], old)
	c.fixed += blockSize * int64(n-cap(l.blocks))
	l.blocks, l.head = blocks, head
}

// pushBlock puts a block behind all full ones.
func (c *core) pushBlock(ch *channel, b block) {
	l := c.ensureLong(ch)
	if len(l.blocks) == cap(l.blocks) {
		if live := len(l.blocks) - l.head; l.head > live/4 {
			copy(l.blocks, l.blocks[l.head:])
			l.blocks, l.head = l.blocks[:live], 0
		} else {
			c.move(l, live+1+live/4, 0)
		}
	}
	l.blocks = append(l.blocks, b)
	l.entries += uint64(b.n)
}

// pushFront puts a block before all others.
func (c *core) pushFront(ch *channel, b block) {
	l := c.ensureLong(ch)
	if l.head == 0 {
		room := 1 + len(l.blocks)/4
		c.move(l, len(l.blocks)+room, room)
	}
	l.head--
	l.blocks[l.head] = b
	l.entries += uint64(b.n)
}

// dropFront drops the oldest block, and gives it as it was.
func (c *core) dropFront(ch *channel) (was block) {
	b := c.front(ch)
	was = *b
	b.drop(&c.arena)
	if ch.long == 0 {
		return was
	}
	l := c.longs.at(ch.long)
	l.head++
	l.entries -= uint64(was.n)
	switch live := len(l.blocks) - l.head; {
	case live == 0:
		c.dropLong(ch)
	case live < cap(l.blocks)/4:
		c.move(l, live+1+live/4, 0)
	}
	return was
}

func (c *core) dropLong(ch *channel) {
	c.fixed -= blockSize * int64(cap(c.longs.at(ch.long).blocks))
	c.longs.release(ch.long)
	ch.long = 0
}

// popFront takes out the oldest entry of a channel whose oldest block has more than one.
func (c *core) popFront(ch *channel) (seq uint64) {
	b := c.front(ch)
	if ch.long != 0 {
		c.longs.at(ch.long).entries--
	}
	return b.popFront(&c.arena)
}

// remove takes out one entry wherever it is, and reports whether it was there.
func (c *core) remove(ch *channel, seq uint64) bool {
	full := c.older(ch)
	i := sort.Search(len(full), func(i int) bool { return full[i].last >= seq })
	b := &ch.open
	if i < len(full) {
		b = &full[i]
	}
	if b.n == 0 || seq < b.first || seq > b.last {
		return false
	}
	if b.n > 1 {
		found := b.remove(&c.arena, seq)
		if found && i < len(full) {
			c.longs.at(ch.long).entries--
		}
		return found
	}
	switch {
	case len(full) == 0:
		b.drop(&c.arena)
	case i == 0:
		c.dropFront(ch)
	case i < len(full):
		l := c.longs.at(ch.long)
		copy(full[i:], full[i+1:])
		l.blocks = l.blocks[:len(l.blocks)-1]
		l.entries--
	default: // the newest full block becomes the open one
		l := c.longs.at(ch.long)
		*b = full[i-1]
		l.blocks = l.blocks[:len(l.blocks)-1]
		if l.entries -= uint64(b.n); len(full) == 1 {
			c.dropLong(ch)
		}
	}
	return true
}

// before gives the highest entry below seq, or 0.
func (c *core) before(ch *channel, seq uint64) uint64 {
	if ch.open.n > 0 && ch.open.first < seq {
		return ch.open.before(&c.arena, seq)
	}
	full := c.older(ch)
	if i := sort.Search(len(full), func(i int) bool { return full[i].first >= seq }); i > 0 {
		return full[i-1].before(&c.arena, seq)
	}
	return 0
}

// ascend appends at most n entries from lo to hi inclusive, oldest first.
func (c *core) ascend(dst []uint64, ch *channel, lo, hi uint64, n int) []uint64 {
	full := c.older(ch)
	end := len(dst) + n
	for i := sort.Search(len(full), func(i int) bool { return full[i].last >= lo }); i < len(full) && len(dst) < end; i++ {
		if full[i].first > hi {
			return dst
		}
		dst = full[i].appendTo(&c.arena, dst, lo, hi, end-len(dst))
	}
	if ch.open.n > 0 && ch.open.last >= lo {
		dst = ch.open.appendTo(&c.arena, dst, lo, hi, end-len(dst))
	}
	return dst
}

// descend appends at most n entries from hi down to lo inclusive, newest first.
func (c *core) descend(dst []uint64, ch *channel, lo, hi uint64, n int) []uint64 {
	full := c.older(ch)
	i := len(full) // of the block to look at; len(full) is the open one
	if ch.open.n == 0 || ch.open.first > hi {
		i = sort.Search(len(full), func(i int) bool { return full[i].first > hi }) - 1
	}
	var buf [blockEntries]uint64
	for ; i >= 0 && n > 0; i-- {
		b := &ch.open
		if i < len(full) {
			b = &full[i]
		}
		if b.last < lo {
			break
		}
		seqs := b.appendTo(&c.arena, buf[:0], lo, hi, blockEntries)
		for k := len(seqs) - 1; k >= 0 && n > 0; k-- {
			dst = append(dst, seqs[k])
			n--
		}
	}
	return dst
}

// since gives the first sequence of the oldest block that holds, or follows one that held, a time >= t; 0: there is none.
func (c *core) since(ch *channel, t int64) uint64 {
	full := c.older(ch)
	if i := sort.Search(len(full), func(i int) bool { return full[i].maxT >= t }); i < len(full) {
		return full[i].first
	}
	if ch.open.n > 0 && ch.open.maxT >= t {
		return ch.open.first
	}
	return 0
}
