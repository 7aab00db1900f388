package streams

import (
	"testing"
	"time"
)

// pacing plays publishers against a pacer: one sync takes so long, and a message that is synced is answered at its end.
type pacing struct {
	p     pacer
	takes time.Duration
	next  []time.Duration // when each publisher's next message is stored
	// When the one after it is, from what happens to this one.
	arrived, answered func(i int, now time.Duration) time.Duration

	now     time.Duration
	waits   []int // publishers of messages that wait
	running []int // and of those that are being synced
	end     time.Duration
	since   []time.Duration

	messages int
	syncs    int
	delay    time.Duration // from stored until synced, of all messages
}

// never is a time that does not come.
const never = time.Hour

const tick = 10 * time.Microsecond

// run plays for so long.
func (g *pacing) run(d time.Duration) {
	at := func() time.Time { return time.Unix(1000, 0).Add(g.now) }
	g.messages, g.syncs, g.delay = 0, 0, 0
	if g.since == nil {
		g.since = make([]time.Duration, len(g.next))
	}
	for until := g.now + d; g.now < until; g.now += tick {
		for i, t := range g.next {
			if t <= g.now {
				g.waits = append(g.waits, i)
				g.since[i] = g.now
				g.p.arrive(1, at())
				g.next[i] = g.arrived(i, g.now)
			}
		}
		if g.running != nil {
			if g.now < g.end {
				continue
			}
			g.p.end(g.takes)
			for _, i := range g.running {
				g.messages++
				g.delay += g.now - g.since[i]
				if t := g.answered(i, g.now); t != never {
					g.next[i] = t
				}
			}
			g.running = nil
		}
		if len(g.waits) > 0 && g.p.wait(at()) <= 0 {
			g.p.begin(at())
			g.running, g.waits = g.waits, nil
			g.syncs++
			g.end = g.now + g.takes
		}
	}
}

// oneByOne are publishers that wait for each answer.
func oneByOne(n int, again time.Duration) *pacing {
	g := &pacing{p: pacer{least: time.Millisecond, probe: firstProbe}, takes: 300 * time.Microsecond, next: make([]time.Duration, n)}
	g.arrived = func(int, time.Duration) time.Duration { return never }
	g.answered = func(i int, now time.Duration) time.Duration { return now + again + time.Duration(i)*tick }
	return g
}

// steady are messages that come at a rate, whatever is answered.
func steady(every time.Duration) *pacing {
	g := &pacing{p: pacer{least: time.Millisecond, probe: firstProbe}, takes: 300 * time.Microsecond, next: make([]time.Duration, 1)}
	g.arrived = func(_ int, now time.Duration) time.Duration { return now + every }
	g.answered = func(int, time.Duration) time.Duration { return never }
	return g
}

// Who waits for every answer is not made to wait for others who do not come.
func TestPacerHurriesForThoseWhoWait(t *testing.T) {
	for _, n := range []int{1, 2, 5, 32} {
		g := oneByOne(n, 100*time.Microsecond)
		g.run(time.Second) // it learns
		g.run(10 * time.Second)
		// A round trip takes 400 µs, and more with every publisher of which each is a tick behind the one before.
		best := float64(n) * float64(10*time.Second) / float64(400*time.Microsecond+time.Duration(n)*tick)
		if got := float64(g.messages); got < 0.75*best {
			t.Errorf("%d publishers: %.0f messages of about %.0f, with %d syncs", n, got, best, g.syncs)
		}
		if n > 1 && g.syncs > g.messages*2/n {
			t.Errorf("%d publishers: %d syncs for %d messages", n, g.syncs, g.messages)
		}
	}
}

// Where messages keep coming, syncs take a bounded share of the time.
func TestPacerBoundsWhatSyncsCost(t *testing.T) {
	for _, every := range []time.Duration{20 * time.Microsecond, 110 * time.Microsecond, 500 * time.Microsecond, 700 * time.Microsecond} {
		g := steady(every)
		g.run(time.Second)
		g.run(10 * time.Second)
		if spent := time.Duration(g.syncs) * g.takes; spent > 12*time.Second/syncShare {
			t.Errorf("a message every %v: %d syncs took %v of 10 s", every, g.syncs, spent)
		}
		if wait := time.Duration(g.syncs) * maxPause; wait < 9*time.Second {
			t.Errorf("a message every %v: %d syncs in 10 s, which is not often enough", every, g.syncs)
		}
	}
}

// What comes seldom is synced when it comes.
func TestPacerAddsNoDelayWhereLittleComes(t *testing.T) {
	g := steady(8 * time.Millisecond)
	g.run(10 * time.Second)
	if late := g.delay/time.Duration(g.messages) - g.takes; late > 2*tick {
		t.Errorf("messages waited %v before they were synced", late)
	}
}

// When others come, or go, the pacer notices.
func TestPacerNoticesOthers(t *testing.T) {
	g := oneByOne(1, 100*time.Microsecond)
	g.run(time.Second)
	g.arrived = func(_ int, now time.Duration) time.Duration { return now + 500*time.Microsecond }
	g.answered = func(int, time.Duration) time.Duration { return never }
	g.next[0] = g.now // in step with the syncs, so that nothing ever comes during one
	g.run(time.Second)
	g.run(time.Second)
	if spent := time.Duration(g.syncs) * g.takes; spent > time.Second*12/10/syncShare {
		t.Errorf("messages keep coming: %d syncs took %v of 1 s", g.syncs, spent)
	}
	g = oneByOne(1, 100*time.Microsecond)
	g.run(20 * time.Second) // it looks seldom
	g.arrived = func(_ int, now time.Duration) time.Duration { return now + 270*time.Microsecond }
	g.answered = func(int, time.Duration) time.Duration { return never }
	g.next[0] = g.now
	if g.run(100 * time.Millisecond); g.syncs > 45 {
		t.Errorf("messages keep coming, some of them during syncs: %d syncs in 100 ms", g.syncs)
	}
	g = oneByOne(10, 100*time.Microsecond)
	g.run(time.Second)
	alone := g.answered
	g.answered = func(i int, now time.Duration) time.Duration {
		if i > 0 {
			return never
		}
		return alone(i, now)
	}
	g.run(time.Second)
	g.run(time.Second)
	if g.messages < 1500 {
		t.Errorf("one publisher is left, and has %d messages synced in 1 s", g.messages)
	}
}

// TestPacerFlows: a round whose second half brings messages says that they keep coming; what was gathered in one counts by when it came.
func TestPacerFlows(t *testing.T) {
	at := func(ms float64) time.Time {
		return time.Unix(1000, 0).Add(time.Duration(ms * float64(time.Millisecond)))
	}
	p := pacer{least: 4 * time.Millisecond, probe: firstProbe}
	p.begin(at(0))
	p.arrive(1, at(3))
	if p.begin(at(4)); !p.flows {
		t.Fatal("a message in the second half")
	}
	p.send(at(7)) // gathered until then
	p.arrive(5, at(7.5))
	if p.begin(at(8)); !p.flows {
		t.Fatal("a message gathered in the second half")
	}
	p.send(at(9))
	p.arrive(5, at(11.5))
	if p.begin(at(12)); p.flows {
		t.Fatal("what was gathered in the first half was stored in the second")
	}
	p.arrive(5, at(12.5))
	if p.begin(at(16)); p.flows || p.enough != 5 {
		t.Fatalf("everybody waits, and %d messages end a round", p.enough)
	}
	p.arrive(1, at(19))
	p.begin(at(20))
	if p.begin(at(2000)); p.flows {
		t.Fatal("after a pause")
	}
}
