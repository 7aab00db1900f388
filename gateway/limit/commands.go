package limit

import (
	"time"

	"golang.org/x/time/rate"
)

// patience is how many times its rate a connection may exceed before it is not worth answering.
const patience = 10

// Commands is one connection's. It is for one goroutine at a time.
type Commands struct {
	allowed, refused *rate.Limiter
}

// NewCommands makes the Commands of a connection that has sent nothing yet.
func NewCommands(r Rate) *Commands {
	return &Commands{r.limiter(), Rate{PerSecond: patience * r.PerSecond, Burst: patience * r.burst()}.limiter()}
}

// Take counts a command. A wait says that it is refused, and for how long; over, that the connection does not heed refusals: it has
// sent ten times what it may beyond what it may.
func (c *Commands) Take(now time.Time) (wait time.Duration, over bool) {
	wait = take(c.allowed, now)
	return wait, wait > 0 && !c.refused.AllowN(now, 1)
}

// Idle reports whether c is as when it was made, so that it can be forgotten.
func (c *Commands) Idle(now time.Time) bool {
	return full(c.allowed, now) && full(c.refused, now)
}

func full(l *rate.Limiter, now time.Time) bool { return l.TokensAt(now) >= float64(l.Burst()) }
