package transport

import (
	"sync"
	"time"
)

// wheel is a hashed timing wheel: each Conn stands in the slot of its next deadline, and a turn costs only the Conns
// whose time has come. Deadlines are rounded up to a tick and reach at most one turn ahead.
type wheel struct {
	tick time.Duration

	mu    sync.Mutex
	slots [][]*Conn
	now   int // the slot that advance returned last
}

// place says where in a wheel a Conn stands. Guarded by the wheel's mu.
type place struct {
	slot int16 // -1: nowhere
	at   int32
}

const wheelSlots = 128

// newWheel makes a wheel for deadlines up to longest ahead.
func newWheel(longest time.Duration) *wheel {
	return &wheel{tick: max(longest/(wheelSlots-2), time.Millisecond), slots: make([][]*Conn, wheelSlots)}
}

// set moves c to the slot that comes up in d.
func (w *wheel) set(c *Conn, d time.Duration) {
	ticks := min(max(int((d+w.tick-1)/w.tick), 1), wheelSlots-1)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removeLocked(c)
	slot := (w.now + ticks) % wheelSlots
	c.place = place{slot: int16(slot), at: int32(len(w.slots[slot]))}
	w.slots[slot] = append(w.slots[slot], c)
}

// remove takes c off the wheel.
func (w *wheel) remove(c *Conn) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.removeLocked(c)
}

func (w *wheel) removeLocked(c *Conn) {
	if c.place.slot < 0 {
		return
	}
	slot := w.slots[c.place.slot]
	last := slot[len(slot)-1]
	slot[c.place.at], last.place.at = last, c.place.at
	slot[len(slot)-1] = nil
	w.slots[c.place.slot] = slot[:len(slot)-1]
	c.place.slot = -1
}

// advance turns the wheel by one tick, appends the Conns whose time has come to due, and takes them off the wheel.
func (w *wheel) advance(due []*Conn) []*Conn {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = (w.now + 1) % wheelSlots
	slot := w.slots[w.now]
	for _, c := range slot {
		c.place.slot = -1
	}
	due = append(due, slot...)
	clear(slot)
	w.slots[w.now] = slot[:0]
	return due
}
