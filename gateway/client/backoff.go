package client

import (
	"math/rand/v2"
	"time"
)

// backoff computes waits with full jitter: the n-th is random between 0 and min(max, min << n), so that clients that
// were lost together do not come back together. The zero attempt is the first.
type backoff struct {
	min, max time.Duration
	attempt  int
}

// next returns the wait before the next attempt and counts it.
func (b *backoff) next() time.Duration {
	d := rand.N(b.ceiling() + 1)
	b.attempt++
	return d
}

// ceiling is the longest that next may return.
func (b *backoff) ceiling() time.Duration {
	d := b.min
	for range b.attempt {
		if d >= b.max {
			break
		}
		d *= 2
	}
	return min(d, b.max)
}

func (b *backoff) reset() { b.attempt = 0 }

// The back-off of a request that the server refused for now, on a connection that holds.
const (
	retryMin = 50 * time.Millisecond
	retryMax = 5 * time.Second
)

// retryWait returns how long to wait before a request is sent again: at least what the server asked for, with jitter added.
func retryWait(attempts int, after time.Duration) time.Duration {
	b := backoff{min: retryMin, max: retryMax, attempt: attempts}
	return after + b.next()
}

// seconds converts a protocol field. Values that make no sense become 0, and no wait is longer than an hour.
func seconds(s float64) time.Duration {
	switch {
	case !(s > 0):
		return 0
	case s > 3600:
		return time.Hour
	}
	return time.Duration(s * float64(time.Second))
}
