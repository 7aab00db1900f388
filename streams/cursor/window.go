package cursor

import (
	"context"
	"sync"
)

// window is what was read of one stream in one of its lives, and what of that is done.
type window struct {
	size int
	room chan struct{} // one token: a place may be free

	mu   sync.Mutex
	open []*entry // in the order of their sequences, the first of them not done
	read uint64   // the last that was read
}

type entry struct {
	seq  uint64
	done bool
}

func newWindow(size int, position uint64) *window {
	return &window{size: size, room: make(chan struct{}, 1), read: position}
}

// add takes in a sequence behind all others, and returns what says that it is done.
func (w *window) add(seq uint64) (done func()) {
	e := &entry{seq: seq}
	w.mu.Lock()
	w.open = append(w.open, e)
	w.read = seq
	w.mu.Unlock()
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		e.done = true
		n := 0
		for n < len(w.open) && w.open[n].done {
			n++
		}
		if w.open = w.open[n:]; n > 0 {
			select {
			case w.room <- struct{}{}:
			default:
			}
		}
	}
}

// pass notes that nothing up to seq is left to be read.
func (w *window) pass(seq uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.read = max(w.read, seq)
}

// position is the sequence up to which all is done.
func (w *window) position() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.open) > 0 {
		return w.open[0].seq - 1
	}
	return w.read
}

func (w *window) state() (read uint64, waiting int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read, len(w.open)
}

// free waits until messages may be read, and returns how many; 0: ctx has ended.
func (w *window) free(ctx context.Context) int {
	for {
		if _, waiting := w.state(); waiting < w.size {
			return w.size - waiting
		}
		select {
		case <-w.room:
		case <-ctx.Done():
			return 0
		}
	}
}
