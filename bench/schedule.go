package bench

import (
	"context"
	"math"
	"runtime"
	"time"
)

// schedule is when things are due: at a rate that rises from nothing to its height within the ramp, and stays there.
type schedule struct {
	rate float64 // a second
	ramp time.Duration
}

// at is when the i-th is due, in nanoseconds after the start; the first is the 0th.
func (s schedule) at(i uint64) int64 {
	n, ramp := float64(i), s.ramp.Seconds()
	// While it rises, rate*t²/(2*ramp) are due within t, half as many in the whole ramp as later in the same time.
	if risen := s.rate * ramp / 2; n >= risen {
		return int64((ramp + (n-risen)/s.rate) * 1e9)
	}
	return int64(math.Sqrt(2*ramp*n/s.rate) * 1e9)
}

// pace calls do for whatever is due from start until end, times of the clock. It does not wait for what is slow: what is late is done at
// once, and told when it was meant to be.
func (c clock) pace(ctx context.Context, s schedule, start, end int64, do func(i uint64, at int64) error) error {
	runtime.LockOSThread() // its naps are sharper than other threads'
	defer runtime.UnlockOSThread()
	sharpenNaps()
	for i := uint64(0); ; i++ {
		at := start + s.at(i)
		if at >= end {
			return nil
		}
		for now := c.now(); now < at; now = c.now() {
			nap(min(time.Duration(at-now), longestNap))
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
		if err := do(i, at); err != nil {
			return err
		}
	}
}
