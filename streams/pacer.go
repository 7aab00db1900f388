package streams

import "time"

// What syncs may cost where messages keep coming, and how the pacer finds out that they do not.
const (
	syncShare   = 10                   // the time between two syncs is so many times what one takes …
	maxPause    = 5 * time.Millisecond // … but not longer, unless SyncPause is
	firstProbe  = 16                   // rounds
	lastProbe   = 512
	costWeight  = 8 // of what syncs took before, against the last one
	forgetAfter = time.Second
	sendLead    = time.Millisecond // for what was gathered to be stored before a sync
)

// pacer says when the next sync is due. A round is the time from one sync's beginning to the next one's.
//
// While messages keep coming, rounds are so long that syncs take a bounded share of the time. That would only slow
// publishers down that all wait for their answers, so the pacer learns how many there are: if nothing comes in the
// second half of a round, twice running, whoever publishes waits. From then on as many messages end a round at once.
// As others may have come, it looks again every now and then, and when something comes that it did not expect.
//
// It belongs to whoever holds syncer.mu.
type pacer struct {
	least time.Duration // Options.SyncPause

	began  time.Time     // the round
	came   int           // messages of it
	last   time.Time     // when the last of them came
	cost   time.Duration // of a sync, on average
	enough int           // messages that end a round at once; 0: not known
	before int           // what enough was before the look that is being taken; 0: none is
	silent int           // rounds running whose second half brought nothing
	probe  int           // rounds from one look to the next
	rounds int           // since the last one
	flows  bool          // messages keep coming: the round before had some in its second half
	sent   bool          // what was gathered in this round has been sent: when it is stored tells nothing
}

// arrive takes note of n more messages.
func (p *pacer) arrive(n int, now time.Time) {
	if n > 0 {
		p.came += n
		if !p.sent {
			p.last = now
		}
	}
}

// send takes note that what was gathered is sent; the last of it came at a time.
func (p *pacer) send(last time.Time) {
	p.sent = true
	if last.After(p.last) {
		p.last = last
	}
}

// lead is how long before a sync what was gathered is to be sent.
func (p *pacer) lead() time.Duration { return min(sendLead, p.length()/2) }

// full reports whether nothing more is to be waited for.
func (p *pacer) full() bool { return p.enough > 0 && p.came >= p.enough }

// length is how long a round is where messages keep coming.
func (p *pacer) length() time.Duration { return max(p.least, min(syncShare*p.cost, maxPause)) }

// wait returns how much longer the next sync shall wait.
func (p *pacer) wait(now time.Time) time.Duration {
	if p.full() {
		return 0
	}
	return p.length() - now.Sub(p.began)
}

// begin ends a round, and begins the next one with a sync.
func (p *pacer) begin(now time.Time) {
	p.learn(now)
	p.began, p.came, p.sent = now, 0, false
}

func (p *pacer) learn(now time.Time) {
	half := p.began.Add(p.length() / 2)
	p.flows = p.last.After(half) && !p.full()
	switch {
	case now.Sub(p.began) > forgetAfter:
		p.forget()
		p.flows = false
	case p.full():
		if p.rounds++; p.rounds >= p.probe {
			p.before, p.enough, p.rounds = p.enough, 0, 0
		}
	case p.came == 0:
	case p.last.After(half):
		p.forget()
	default:
		p.silent++
		if p.enough > 0 || p.came == p.before || p.silent > 1 {
			p.settle()
		}
	}
}

// settle takes what came in this round for all that comes.
func (p *pacer) settle() {
	if p.came == p.before {
		p.probe = min(2*p.probe, lastProbe)
	} else {
		p.probe = firstProbe
	}
	p.enough, p.before, p.silent, p.rounds = p.came, 0, 0, 0
}

func (p *pacer) forget() { p.enough, p.before, p.silent = 0, 0, 0 }

// end takes note of what the sync took. Had everybody waited for it, nothing would have come meanwhile.
func (p *pacer) end(took time.Duration) {
	if p.cost == 0 {
		p.cost = took
	}
	p.cost += (took - p.cost) / costWeight
	if p.came > 0 {
		p.forget()
	}
}
