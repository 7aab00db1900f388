package soak

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is a kind of event.
type Fault string

// The faults.
const (
	Kill   Fault = "kill"   // the server, by SIGKILL; it starts again after For
	Drain  Fault = "drain"  // the server, by SIGTERM; it starts again after For
	Cut    Fault = "cut"    // a client's connection, in the middle of what comes next
	Mute   Fault = "mute"   // a client's connection carries nothing in either direction, for For
	Choke  Fault = "choke"  // a client's connection brings nothing from the server, for For
	Hold   Fault = "hold"   // a subscriber's handler does not return, for For
	Vanish Fault = "vanish" // a subscriber closes, and comes back after For; a device has forgotten everything then
	Lapse  Fault = "lapse"  // a device acknowledges nothing, for For
	Take   Fault = "take"   // a device connects a second time, and the older connection has to go
)

// Event is one fault.
type Event struct {
	At     time.Duration `json:"at"` // since the beginning
	Fault  Fault         `json:"fault"`
	Target string        `json:"target"` // "server", or a client's name
	For    time.Duration `json:"for,omitempty"`
}

// String is one line of a schedule.
func (e Event) String() string {
	s := fmt.Sprintf("%8.3fs %-6s %s", e.At.Seconds(), e.Fault, e.Target)
	if e.For > 0 {
		s += fmt.Sprintf(" for %v", e.For)
	}
	return s
}

// newRand returns the source of one party.
func newRand(seed uint64, party string, n int) *rand.Rand {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, party, " ", n)
	return rand.New(rand.NewPCG(seed, h.Sum64())) //nolint:gosec // it must be the same again
}

func between(r *rand.Rand, lo, hi time.Duration) time.Duration {
	return (lo + time.Duration(r.Int64N(int64(hi-lo)))).Truncate(time.Millisecond)
}

// NewPlan draws a schedule of faults. It depends on the seed, the duration and how many there are of each kind, and on nothing else.
func NewPlan(o *Options) []Event {
	own := *o
	own.setDefaults()
	p := &planner{o: &own}
	p.server()
	for i := range own.Publishers {
		p.network(publisherName(i), 3*time.Second, 1500*time.Millisecond, false)
	}
	for _, k := range kinds {
		for i := range k.count(&own) {
			name := k.name(i)
			p.network(name, 5*time.Second, 6*time.Second, k == stalling)
			switch k {
			case stalling:
				p.spans(Hold, name, 4*time.Second, 100*time.Millisecond, 2*time.Second)
			case vanishing:
				p.spans(Vanish, name, 4*time.Second, 50*time.Millisecond, 4*time.Second)
			case durable:
				p.spans(Hold, name, 4*time.Second, 100*time.Millisecond, 3*time.Second)
				p.spans(Vanish, name, 5*time.Second, 50*time.Millisecond, 4*time.Second)
				p.spans(Lapse, name, 4*time.Second, 500*time.Millisecond, 5*time.Second)
				p.spans(Take, name, 3*time.Second, 0, time.Millisecond)
			case matching:
				p.spans(Hold, name, 4*time.Second, 100*time.Millisecond, 2*time.Second)
				p.spans(Vanish, name, 4*time.Second, 50*time.Millisecond, 4*time.Second)
			}
		}
	}
	slices.SortStableFunc(p.events, func(a, b Event) int {
		return cmp.Or(cmp.Compare(a.At, b.At), strings.Compare(a.Target, b.Target))
	})
	return p.events
}

type planner struct {
	o      *Options
	events []Event
}

// server draws kills at random moments, and one drain among them.
func (p *planner) server() {
	r := newRand(p.o.Seed, "server", 0)
	n := p.o.Kills + 1
	slot := p.o.Duration / time.Duration(n)
	drain := r.IntN(n)
	for i := range n {
		e := Event{Fault: Kill, Target: "server", For: between(r, 0, max(slot/4, time.Millisecond))}
		e.For = min(e.For, 3*time.Second)
		e.At = time.Duration(i)*slot + between(r, slot/10, slot)
		if i == drain {
			e.Fault = Drain
		}
		p.events = append(p.events, e)
	}
}

// network draws what happens to one client's connection, about every so often. Muted for longer than two pings, it is given up by either side.
func (p *planner) network(name string, every, longest time.Duration, slow bool) {
	r := newRand(p.o.Seed, "network "+name, 0)
	for at := p.wait(r, every); at < p.o.Duration; at += p.wait(r, every) {
		e := Event{At: at, Fault: Cut, Target: name}
		switch n := r.IntN(10); {
		case n < 2:
			e.Fault, e.For = Mute, between(r, 10*time.Millisecond, longest)
		case n < 4 || slow && n < 8:
			e.Fault, e.For = Choke, between(r, 50*time.Millisecond, longest)
		}
		at += e.For
		p.events = append(p.events, e)
	}
}

// spans draws a fault that lasts, about every so often.
func (p *planner) spans(f Fault, name string, every, least, most time.Duration) {
	r := newRand(p.o.Seed, string(f)+" "+name, 0)
	for at := p.wait(r, every); at < p.o.Duration; at += p.wait(r, every) {
		e := Event{At: at, Fault: f, Target: name, For: between(r, least, most)}
		at += e.For
		p.events = append(p.events, e)
	}
}

// wait draws a pause that is about `every` on average, shorter in a short run.
func (p *planner) wait(r *rand.Rand, every time.Duration) time.Duration {
	every = min(every, p.o.Duration/3)
	return between(r, every/4, every*7/4)
}
