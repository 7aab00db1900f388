package index

// ref names a piece of an arena: page * pageUnits + unit; 0 names none.
type ref uint32

const (
	pieceUnit = 8   // bytes; refs count in it
	maxPiece  = 256 // bytes; the largest class
	pageBytes = 4096
	pageUnits = pageBytes / pieceUnit
	sparePage = 16 // that many empty pages are kept, and an eighth of those in use
)

// classSize gives the bytes of each size class; class 0 is no piece at all.
var classSize = [...]uint16{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256}

// classOf gives the least class that holds n bytes, by (n+7)/8.
var classOf = func() (t [maxPiece/pieceUnit + 1]uint8) {
	for n, c := 0, 0; n <= maxPiece; n += pieceUnit {
		for int(classSize[c]) < n {
			c++
		}
		t[n/pieceUnit] = uint8(c)
	}
	return t
}()

func class(n int) uint8 { return classOf[(n+pieceUnit-1)/pieceUnit] }

// page is what an arena knows of one page. All its pieces are of one class, so that pages of sizes no longer asked for come free.
type page struct {
	next, prev uint32 // in the list of its class's pages with room, or of the empty ones; 0 ends it
	free       uint16 // 1 + the unit of the first piece given back, 0: none; each holds the next in its first bytes
	fresh      uint16 // the first unit never handed out
	live       uint16 // pieces handed out
	class      uint8
}

func (p *page) full() bool {
	return p.free == 0 && int(p.fresh)+int(classSize[p.class])/pieceUnit > pageUnits
}

// arena hands out small pieces of memory that the garbage collector does not look into.
type arena struct {
	mem   []*[pageBytes]byte // by page; nil: given back to the heap
	pages []page             // page 0 is never used
	room  [len(classSize)]uint32
	empty uint32 // list of pages without pieces that have memory
	bare  uint32 // list of those without memory
	spare int    // how many are in empty
	used  int64  // bytes of the pieces handed out
}

// bytes gives the piece r of class c in full.
func (a *arena) bytes(r ref, c uint8) []byte {
	at := int(r%pageUnits) * pieceUnit
	return a.mem[r/pageUnits][at : at+int(classSize[c])]
}

// alloc hands out a piece of class c, whose content is arbitrary; class 0 gives ref 0.
func (a *arena) alloc(c uint8) ref {
	if c == 0 {
		return 0
	}
	a.used += int64(classSize[c])
	i := a.room[c]
	if i == 0 {
		i = a.newPage(c)
	}
	p := &a.pages[i]
	var unit uint16
	if p.free != 0 {
		unit = p.free - 1
		piece := a.mem[i][int(unit)*pieceUnit:]
		p.free = uint16(piece[0]) | uint16(piece[1])<<8
	} else {
		unit = p.fresh
		p.fresh += classSize[c] / pieceUnit
	}
	p.live++
	if p.full() {
		a.unlink(&a.room[c], i)
	}
	return ref(i*pageUnits + uint32(unit))
}

// release takes back a piece.
func (a *arena) release(r ref, c uint8) {
	if c == 0 {
		return
	}
	a.used -= int64(classSize[c])
	i, unit := uint32(r/pageUnits), uint16(r%pageUnits)
	p := &a.pages[i]
	wasFull := p.full()
	piece := a.mem[i][int(unit)*pieceUnit:]
	piece[0], piece[1] = byte(p.free), byte(p.free>>8)
	p.free = unit + 1
	p.live--
	switch {
	case p.live == 0:
		if !wasFull {
			a.unlink(&a.room[c], i)
		}
		a.retire(i)
	case wasFull:
		a.link(&a.room[c], i)
	}
}

// newPage gives a class a page, first in its list.
func (a *arena) newPage(c uint8) uint32 {
	var i uint32
	switch {
	case a.empty != 0:
		i = a.empty
		a.unlink(&a.empty, i)
		a.spare--
	case a.bare != 0:
		i = a.bare
		a.unlink(&a.bare, i)
		a.mem[i] = new([pageBytes]byte)
	default:
		if len(a.pages) == 0 {
			a.pages, a.mem = make([]page, 1), make([]*[pageBytes]byte, 1)
		}
		i = uint32(len(a.pages))
		a.pages, a.mem = append(a.pages, page{}), append(a.mem, new([pageBytes]byte))
	}
	a.pages[i] = page{class: c}
	a.link(&a.room[c], i)
	return i
}

// retire keeps an empty page for any class, or gives its memory back to the heap.
func (a *arena) retire(i uint32) {
	if a.spare > sparePage+len(a.pages)/8 {
		a.mem[i] = nil
		a.link(&a.bare, i)
		return
	}
	a.spare++
	a.link(&a.empty, i)
}

func (a *arena) link(list *uint32, i uint32) {
	a.pages[i].next, a.pages[i].prev = *list, 0
	if *list != 0 {
		a.pages[*list].prev = i
	}
	*list = i
}

func (a *arena) unlink(list *uint32, i uint32) {
	p := &a.pages[i]
	if p.prev != 0 {
		a.pages[p.prev].next = p.next
	} else {
		*list = p.next
	}
	if p.next != 0 {
		a.pages[p.next].prev = p.prev
	}
}

// slab holds values of one type at addresses that stay, named by ids from 1.
type slab[T any] struct {
	chunks [][]T
	free   []uint32
	top    uint32 // the highest id ever given
}

const slabChunk = 256

func (s *slab[T]) at(id uint32) *T { return &s.chunks[id/slabChunk][id%slabChunk] }

func (s *slab[T]) alloc() uint32 {
	if n := len(s.free); n > 0 {
		id := s.free[n-1]
		s.free = s.free[:n-1]
		return id
	}
	s.top++
	if int(s.top/slabChunk) >= len(s.chunks) {
		s.chunks = append(s.chunks, make([]T, slabChunk))
	}
	return s.top
}

// release clears the value and takes its id back.
func (s *slab[T]) release(id uint32) {
	var zero T
	*s.at(id) = zero
	s.free = append(s.free, id)
}

func (s *slab[T]) live() int { return int(s.top) - len(s.free) }
