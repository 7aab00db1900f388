// Package limit counts what connections, users and addresses ask for against rates: so much a second, and so much at once.
//
// What it holds is bounded: a table forgets who was seen longest ago, and so lets them begin anew. Nothing is refused that keeps
// within its rate, but for a user whose messages go through several gateways, which Users explains. All that counts allocates only
// for those it has not seen lately.
//
// The package knows numbers, names and time. It must not know sockets, commands or NATS.
package limit

import (
	"math"
	"time"

	"golang.org/x/time/rate"
)

// Rate is how much is allowed. The zero Rate is no limit.
type Rate struct {
	PerSecond float64 // 0: no limit
	Burst     int     // at once; 0: what comes in a second, at least 1
}

// On reports whether there is a limit.
func (r Rate) On() bool { return r.PerSecond > 0 }

func (r Rate) burst() int {
	if r.Burst > 0 {
		return r.Burst
	}
	return int(math.Ceil(min(max(r.PerSecond, 1), math.MaxInt32)))
}

func (r Rate) limiter() *rate.Limiter { return rate.NewLimiter(rate.Limit(r.PerSecond), r.burst()) }

// take counts one, and returns 0; or it counts nothing, and returns after what time one will be allowed.
func take(l *rate.Limiter, now time.Time) time.Duration {
	if l.AllowN(now, 1) {
		return 0
	}
	missing := max(1-l.TokensAt(now), 0)
	return max(time.Duration(min(missing/float64(l.Limit()), longest.Seconds())*float64(time.Second)), time.Millisecond)
}

// longest bounds the wait that is told: after it, whoever asked may ask again.
const longest = time.Hour

// charge counts n that were not asked about; the debt is paid before more is allowed.
func charge(l *rate.Limiter, now time.Time, n int) {
	for most := l.Burst(); n > 0; n -= most {
		l.ReserveN(now, min(n, most))
	}
}
