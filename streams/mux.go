package streams

import (
	"strconv"
	"sync"
	"time"
)

// mux matches answers on one wildcard inbox to what waits for them. The reply subjects are kept and used again, so that a request costs no
// allocation here; a subject whose answer did not come in time is never used again, so that a late answer meets nothing.
type mux[T any] struct {
	prefix string // ends with a dot

	mu    sync.Mutex
	slots []slot[T]
	free  []uint32
	used  int
}

type slot[T any] struct {
	reply    string // prefix, number, dot, life
	life     uint32
	used     bool
	deadline int64 // Unix ns
	value    T
}

// add returns the reply subject for what waits until the deadline.
func (x *mux[T]) add(value T, deadline int64) (reply string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	var n uint32
	if k := len(x.free); k > 0 {
		n, x.free = x.free[k-1], x.free[:k-1]
	} else {
		n = uint32(len(x.slots))
		x.slots = append(x.slots, slot[T]{})
		x.nameLocked(n)
	}
	s := &x.slots[n]
	s.used, s.deadline, s.value = true, deadline, value
	x.used++
	return s.reply
}

func (x *mux[T]) nameLocked(n uint32) {
	b := append([]byte(x.prefix), strconv.FormatUint(uint64(n), 36)...)
	b = append(b, '.')
	b = strconv.AppendUint(b, uint64(x.slots[n].life), 36)
	x.slots[n].reply = string(b)
}

// findLocked returns the number of the slot that waits at the subject.
func findLocked[T any, S string | []byte](x *mux[T], subject S) (n uint32, ok bool) {
	for i := len(x.prefix); i < len(subject); i++ {
		c := subject[i]
		switch {
		case c == '.':
			ok = int(n) < len(x.slots) && x.slots[n].used && x.slots[n].reply == string(subject)
			return n, ok
		case c >= '0' && c <= '9':
			n = n*36 + uint32(c-'0')
		case c >= 'a' && c <= 'z':
			n = n*36 + uint32(c-'a') + 10
		default:
			return 0, false
		}
	}
	return 0, false
}

// get returns what waits at the subject and leaves it there: more answers come.
func (x *mux[T]) get(subject []byte) (value T, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := findLocked(x, subject)
	if ok {
		value = x.slots[n].value
	}
	return value, ok
}

// take removes and returns what waits at the subject.
func (x *mux[T]) take(subject []byte) (value T, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := findLocked(x, subject)
	if ok {
		value = x.releaseLocked(n)
		x.free = append(x.free, n)
	}
	return value, ok
}

// abandon removes what waits at the subject; an answer may still come.
func (x *mux[T]) abandon(subject string) (value T, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	n, ok := findLocked(x, subject)
	if ok {
		value = x.abandonLocked(n)
	}
	return value, ok
}

func (x *mux[T]) releaseLocked(n uint32) (value T) {
	var zero T
	s := &x.slots[n]
	value, s.value, s.used = s.value, zero, false
	x.used--
	return value
}

func (x *mux[T]) abandonLocked(n uint32) T {
	value := x.releaseLocked(n)
	x.slots[n].life++
	x.nameLocked(n)
	x.free = append(x.free, n)
	return value
}

// expire abandons everything whose deadline is not after now.
func (x *mux[T]) expire(now time.Time) (values []T) {
	return x.abandonIf(func(s *slot[T]) bool { return s.deadline <= now.UnixNano() })
}

// abandonAll abandons everything.
func (x *mux[T]) abandonAll() (values []T) {
	return x.abandonIf(func(*slot[T]) bool { return true })
}

func (x *mux[T]) abandonIf(p func(*slot[T]) bool) (values []T) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.used == 0 {
		return nil
	}
	for n := range x.slots {
		if s := &x.slots[n]; s.used && p(s) {
			values = append(values, x.abandonLocked(uint32(n)))
		}
	}
	return values
}

func (x *mux[T]) len() int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.used
}
