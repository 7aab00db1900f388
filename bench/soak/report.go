package soak

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jetwire/jetwire/bench/oracle"
)

// Counters are what a run made the clients and the servers do.
type Counters struct {
	// Of the clients.
	Reconnects  uint64 `json:"reconnects"`
	Retries     uint64 `json:"retries"`     // requests sent again
	Repairs     uint64 `json:"repairs"`     // subscriptions made anew because prev showed that a message was missing
	Sheds       uint64 `json:"sheds"`       // subscriptions given back because the handler was too slow
	Redelivered uint64 `json:"redelivered"` // messages that the clients dropped because they had them already
	Passes      uint64 `json:"passes"`      // subscribers that listened from then on, and left
	Walks       uint64 `json:"walks"`       // through the history
	Acks        uint64 `json:"acks"`        // of devices, answered
	Rewinds     uint64 `json:"rewinds"`     // times that a device was sent again what it had not acknowledged, on the same connection
	Takeovers   uint64 `json:"takeovers"`   // connections of devices closed because there was a newer one

	// Of the servers, as of shortly before each end.
	Slow      uint64 `json:"slow"`       // times that a subscription left the live path because its socket was full
	CatchUps  uint64 `json:"catch_ups"`  // times that a subscription joined the live path from behind
	Holes     uint64 `json:"holes"`      // messages that the live path lacked and that were read again
	GapPushes uint64 `json:"gap_pushes"` // gaps told to clients

	Redeliveries uint64 `json:"redeliveries"` // times that a device's subscription went back to what was acknowledged
}

func (c *Counters) each(o *Counters, f func(mine *uint64, theirs uint64)) {
	f(&c.Reconnects, o.Reconnects)
	f(&c.Retries, o.Retries)
	f(&c.Repairs, o.Repairs)
	f(&c.Sheds, o.Sheds)
	f(&c.Redelivered, o.Redelivered)
	f(&c.Passes, o.Passes)
	f(&c.Walks, o.Walks)
	f(&c.Acks, o.Acks)
	f(&c.Rewinds, o.Rewinds)
	f(&c.Takeovers, o.Takeovers)
	f(&c.Slow, o.Slow)
	f(&c.CatchUps, o.CatchUps)
	f(&c.Holes, o.Holes)
	f(&c.GapPushes, o.GapPushes)
	f(&c.Redeliveries, o.Redeliveries)
}

func (c *Counters) add(o Counters) { c.each(&o, func(mine *uint64, theirs uint64) { *mine += theirs }) }

func (c *Counters) most(o Counters) {
	c.each(&o, func(mine *uint64, theirs uint64) { *mine = max(*mine, theirs) })
}

// Report is the outcome of a run.
type Report struct {
	Scenario string  `json:"scenario"`
	Seed     uint64  `json:"seed"`
	Duration float64 `json:"duration_seconds"` // of faults
	Took     float64 `json:"took_seconds"`     // with coming to rest and reading everything

	oracle.Verdict
	Failures []string `json:"failures,omitempty"` // what went wrong besides: subscriptions that ended, publishes refused for no reason

	Kills        uint64  `json:"kills"`
	Drains       uint64  `json:"drains"`
	Cuts         uint64  `json:"cuts"`
	Stalls       uint64  `json:"stalls"` // connections that carried nothing for a while, and handlers that did not return
	Vanishes     uint64  `json:"vanishes"`
	SlowestStart float64 `json:"slowest_start_seconds"`
	Counters

	Schedule []Event `json:"schedule"`
}

func (r *run) report(took time.Duration) *Report {
	v := r.oracle.Judge()
	c := r.server.counters()
	r.totalMu.Lock()
	c.add(r.total)
	r.totalMu.Unlock()
	n := &r.faults
	return &Report{
		Scenario: "soak", Seed: r.o.Seed, Duration: r.o.Duration.Seconds(), Took: took.Seconds(),
		Verdict: *v, Failures: r.failures.all(),
		Kills: n.of(Kill), Drains: n.of(Drain), Cuts: n.of(Cut), Stalls: n.of(Mute) + n.of(Choke) + n.of(Hold), Vanishes: n.of(Vanish),
		SlowestStart: r.server.slowest.Seconds(),
		Counters:     c, Schedule: r.o.Plan,
	}
}

// Broken says that a promise was broken, or that something else went wrong.
func (r *Report) Broken() bool { return !r.OK() || len(r.Failures) > 0 }

// JSON returns the report as one indented JSON object.
func (r *Report) JSON() ([]byte, error) {
	p, err := json.MarshalIndent(r, "", "  ")
	return append(p, '\n'), err
}

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintf(&b, "soak: seed %d, %.0f s of faults, %.1f s in all\n", r.Seed, r.Duration, r.Took)
	line("published", "%d messages in %d attempts: %d acknowledged (%d as duplicates), %d refused, %d of unknown outcome",
		r.Published, r.Attempts, r.Acknowledged, r.Duplicates, r.Refused, r.Unknown)
	line("delivered", "%d to subscribers and walks through the history (%d walks)", r.Delivered, r.Walks)
	line("faults", "%d kills, %d drains, %d cuts, %d stalls, %d vanished and came back", r.Kills, r.Drains, r.Cuts, r.Stalls, r.Vanishes)
	line("clients", "%d reconnects, %d requests again, %d repairs, %d sheds, %d redelivered and dropped, %d passed by",
		r.Reconnects, r.Retries, r.Repairs, r.Sheds, r.Redelivered, r.Passes)
	line("devices", "%d acks answered, went back %d times (%d arrived), %d taken over", r.Acks, r.Redeliveries, r.Rewinds, r.Takeovers)
	line("server", "%d subscriptions became slow, %d catch-ups, %d holes refilled, %d gaps told; slowest start %.2f s",
		r.Slow, r.CatchUps, r.Holes, r.GapPushes, r.SlowestStart)
	line("verdict", "lost %d, duplicated %d, reordered %d, invented %d, altered %d, misplaced %d, misanswered %d",
		r.Lost, r.Duplicated, r.Reordered, r.Invented, r.Altered, r.Misplaced, r.Misanswered)
	if r.Forgotten > 0 {
		line("note", "the walks through the whole history were judged without the first %d messages", r.Forgotten)
	}
	for _, v := range r.Violations {
		line("violation", "%s", v)
	}
	for _, f := range r.Failures {
		line("failure", "%s", f)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
