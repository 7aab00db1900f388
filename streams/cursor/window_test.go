package cursor

import (
	"math/rand/v2"
	"testing"
)

// The position is behind everything that is not done, in whatever order things are done.
func TestWindow(t *testing.T) {
	for range 200 {
		w := newWindow(100, 10)
		open := map[uint64]func(){}
		seq := uint64(10)
		for range 60 {
			if rand.IntN(2) == 0 || len(open) == 0 {
				seq += 1 + rand.Uint64N(3)
				open[seq] = w.add(seq)
			} else {
				for s, done := range open { // any
					done()
					delete(open, s)
					break
				}
			}
			least := seq + 1
			for s := range open {
				least = min(least, s)
			}
			if got := w.position(); got != least-1 {
				t.Fatalf("position %d, want %d", got, least-1)
			}
		}
	}
}
