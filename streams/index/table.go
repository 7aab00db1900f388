package index

// table is a hash table from 32 bits of hash to an id, with linear probing. A slot holds hash<<32 | id, 0 when empty, so that
// it grows without looking at the names, and the garbage collector has nothing to follow.
type table struct {
	slots []uint64
	n     int
}

const minSlots = 8

// find calls same for each id filed under the hash until it returns true, and gives that id, or 0.
func (t *table) find(hash uint32, same func(id uint32) bool) uint32 {
	if len(t.slots) == 0 {
		return 0
	}
	mask := uint32(len(t.slots) - 1)
	for i := hash & mask; t.slots[i] != 0; i = (i + 1) & mask {
		if uint32(t.slots[i]>>32) == hash && same(uint32(t.slots[i])) {
			return uint32(t.slots[i])
		}
	}
	return 0
}

// insert files an id that is not there yet, and returns by how many bytes the table has grown.
func (t *table) insert(hash, id uint32) int64 {
	var grown int64
	if t.n+1 > len(t.slots)/5*4 {
		grown = t.resize(max(minSlots, 2*len(t.slots)))
	}
	t.n++
	t.put(uint64(hash)<<32 | uint64(id))
	return grown
}

func (t *table) put(slot uint64) {
	mask := uint32(len(t.slots) - 1)
	i := uint32(slot>>32) & mask
	for t.slots[i] != 0 {
		i = (i + 1) & mask
	}
	t.slots[i] = slot
}

func (t *table) resize(size int) int64 {
	old := t.slots
	t.slots = make([]uint64, size)
	for _, slot := range old {
		if slot != 0 {
			t.put(slot)
		}
	}
	return 8 * int64(size-len(old))
}

// remove takes an id out, and returns by how many bytes the table has grown (it may shrink). The slots behind it move up, so
// that no search ends too early.
func (t *table) remove(hash, id uint32) int64 {
	mask := uint32(len(t.slots) - 1)
	i := hash & mask
	for t.slots[i] != uint64(hash)<<32|uint64(id) {
		i = (i + 1) & mask
	}
	for j := (i + 1) & mask; t.slots[j] != 0; j = (j + 1) & mask {
		home := uint32(t.slots[j]>>32) & mask
		if (j-home)&mask >= (j-i)&mask { // its home is not between the hole and itself
			t.slots[i] = t.slots[j]
			i = j
		}
	}
	t.slots[i] = 0
	t.n--
	if len(t.slots) > minSlots && t.n < len(t.slots)/8 {
		return t.resize(len(t.slots) / 2)
	}
	return 0
}
