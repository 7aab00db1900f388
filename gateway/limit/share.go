package limit

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"time"
)

// Interval is how often gateways tell each other what users have used.
const Interval = time.Second

const (
	untold  = 8   // of what a user may use, the part that may be used elsewhere without being told
	perTold = 256 // users in one message between gateways
)

// usage is a message between gateways.
type usage struct {
	From string         `json:"from"` // the gateway
	Used map[string]int `json:"used"` // by user
}

// ErrUsage is returned for what is no message of Share's.
var ErrUsage = errors.New("limit: this does not say what users have used")

// Share tells the other gateways what users use here, under the name of this one, until ctx ends. gateways is how many there are.
func (u *Users) Share(ctx context.Context, self string, gateways func() int, tell func(body []byte)) {
	t := time.NewTicker(Interval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			u.share(self, gateways(), tell)
		}
	}
}

// share leaves out those who use so little here that as much on every other gateway does not matter.
func (u *Users) share(self string, gateways int, tell func(body []byte)) {
	others := max(gateways-1, 0)
	used := u.usedHere(int(math.Ceil(u.rate.PerSecond * Interval.Seconds() / float64(untold*max(others, 1)))))
	if others == 0 {
		return
	}
	some := usage{From: self, Used: make(map[string]int)}
	flush := func() {
		if len(some.Used) > 0 {
			body, _ := json.Marshal(some) // of strings and numbers
			tell(body)
			clear(some.Used)
		}
	}
	for name, n := range used {
		if some.Used[name] = n; len(some.Used) == perTold {
			flush()
		}
	}
	flush()
}

// Shared takes what another gateway has told; what this one has told itself, under the name self, is known already.
func (u *Users) Shared(self string, body []byte, now time.Time) error {
	var told usage
	if json.Unmarshal(body, &told) != nil || told.From == "" {
		return ErrUsage
	}
	if told.From == self {
		return nil
	}
	// No gateway can have let more through in one go: a message that says so would shut a user out.
	most := u.rate.burst() + int(math.Ceil(u.rate.PerSecond*2*Interval.Seconds()))
	for name, n := range told.Used {
		if name != "" && n > 0 {
			u.elsewhere(name, min(n, most), now)
		}
	}
	return nil
}
