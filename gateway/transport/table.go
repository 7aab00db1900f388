package transport

import (
	"bytes"
	"sync"
	"time"
)

// table holds the Conns of a group in numbered slots, and beside each the tick at which its time comes: a pointer and a
// byte for a Conn. The bytes are a timing wheel turned inside out. To set a time is to write its number; a tick looks
// for its own among them all, which for a million takes some 20 µs, and there is nothing to move or to unlink.
// A deadline comes up to two ticks late, never early, and reaches at most one turn ahead.
type table struct {
	tick time.Duration

	mu    sync.Mutex
	conns []*Conn // by slot; nil: free
	due   []byte  // by slot, the number of a tick, or never
	free  []uint32
	now   byte   // the tick that advance turned to last
	gen   uint32 // of the Conn added last
	ended bool
}

const (
	tableTicks = 128
	never      = 255
)

// newTable makes a table for deadlines up to longest ahead.
func newTable(longest time.Duration) *table {
	return &table{tick: max(longest/(tableTicks-3), time.Millisecond)}
}

// add gives c a slot and a generation, and a deadline in d. It reports false if the table has ended.
func (t *table) add(c *Conn, d time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended {
		return false
	}
	if n := len(t.free); n > 0 {
		c.slot, t.free = t.free[n-1], t.free[:n-1]
	} else {
		c.slot = uint32(len(t.conns))
		t.conns, t.due = append(t.conns, nil), append(t.due, never)
	}
	t.gen++
	c.gen = t.gen
	t.conns[c.slot], t.due[c.slot] = c, t.inLocked(d)
	return true
}

// inLocked is the number of the first tick that cannot come before d is over: the next one may come at once.
func (t *table) inLocked(d time.Duration) byte {
	ticks := min(int((max(d, 0)+t.tick-1)/t.tick)+1, tableTicks-1)
	return byte((int(t.now) + ticks) % tableTicks)
}

// set moves c's deadline, if c is in the table.
func (t *table) set(c *Conn, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.hasLocked(c) {
		t.due[c.slot] = t.inLocked(d)
	}
}

// waits says whether c has a deadline.
func (t *table) waits(c *Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hasLocked(c) && t.due[c.slot] != never
}

func (t *table) hasLocked(c *Conn) bool {
	return int(c.slot) < len(t.conns) && t.conns[c.slot] == c
}

// remove takes c out, and reports false if it was not in.
func (t *table) remove(c *Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.hasLocked(c) {
		return false
	}
	t.conns[c.slot], t.due[c.slot] = nil, never
	t.free = append(t.free, c.slot)
	return true
}

// token names a Conn for as long as it is in the table: the slot's next Conn has another generation.
func (c *Conn) token() uint64 { return uint64(c.gen)<<32 | uint64(c.slot) }

// findLocked returns the Conn that a token names; nil: it is gone.
func (t *table) findLocked(token uint64) *Conn {
	if slot := uint32(token); int(slot) < len(t.conns) {
		if c := t.conns[slot]; c != nil && c.token() == token {
			return c
		}
	}
	return nil
}

// advance turns to the next tick and appends the Conns whose time has come to due. They have no deadline any more.
func (t *table) advance(due []*Conn) []*Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now = (t.now + 1) % tableTicks
	for slot := 0; ; slot++ {
		next := bytes.IndexByte(t.due[slot:], t.now)
		if next < 0 {
			return due
		}
		slot += next
		t.due[slot] = never
		due = append(due, t.conns[slot])
	}
}

// all appends every Conn to conns.
func (t *table) all(conns []*Conn) []*Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.allLocked(conns)
}

func (t *table) allLocked(conns []*Conn) []*Conn {
	for _, c := range t.conns {
		if c != nil {
			conns = append(conns, c)
		}
	}
	return conns
}

// end empties the table for good, and returns what it held.
func (t *table) end() []*Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	conns := t.allLocked(nil)
	t.ended, t.conns, t.due, t.free = true, nil, nil, nil
	return conns
}
