package bench

import (
	"context"
	"errors"
	"time"

	"github.com/jetwire/jetwire/bench/report"
)

// unlimited is how many sockets may open at the same time when a schedule says when.
const unlimited = 1 << 30

var errNoAnswer = errors.New("no answer from the server for " + stepTimeout.String())

// opening says which of a flow's sockets are to be opened, and how fast.
type opening struct {
	From  int     `json:"from"` // sockets From, From+Step, … below To
	To    int     `json:"to"`
	Step  int     `json:"step"`
	Rate  float64 `json:"rate,omitempty"` // a second, whatever the server does; 0: as fast as it goes, Ahead at the same time
	Ramp  int64   `json:"ramp,omitempty"` // nanoseconds in which the rate rises from nothing
	Start int64   `json:"start,omitempty"`
	Ahead int     `json:"ahead,omitempty"` // 0: the load's
}

func (o *opening) sockets() int { return max(0, (o.To-o.From+o.Step-1)/o.Step) }

// opened is what came of an opening.
type opened struct {
	Joined   int              `json:"joined"`
	Took     report.Histogram `json:"took"` // from when a socket was meant to be opened until all was answered
	Last     int64            `json:"last"` // when the last of them joined
	Failures map[string]int   `json:"failures,omitempty"`
}

func (o *opened) add(x *opened) {
	o.Joined, o.Last = o.Joined+x.Joined, max(o.Last, x.Last)
	o.Took.Merge(x.Took)
	for why, n := range x.Failures {
		tell(&o.Failures, why, n)
	}
}

// tell counts a reason, as long as there are not too many.
func tell(reasons *map[string]int, why string, n int) {
	const most = 16
	if *reasons == nil {
		*reasons = make(map[string]int)
	}
	if _, known := (*reasons)[why]; !known && len(*reasons) >= most {
		why = "other reasons"
	}
	(*reasons)[why] += n
}

// openHere opens sockets of this process. Socket i listens to channel i modulo their number.
func (f *flow) openHere(ctx context.Context, o opening) (opened, error) {
	fleet, n := f.fleet, o.sockets()
	conns := make([]*conn, 0, n)
	for i := o.From; i < o.To; i += o.Step {
		c, err := f.socket(i)
		if err != nil {
			return opened{}, err
		}
		conns = append(conns, c)
	}
	for _, l := range fleet.loops {
		l.mu.Lock()
		switch {
		case o.Rate > 0:
			l.ahead = unlimited
		case o.Ahead > 0:
			l.ahead = max(1, o.Ahead/len(fleet.loops))
		}
		l.mu.Unlock()
	}
	fleet.takeJoins()
	var err error
	if o.Rate > 0 {
		err = fleet.joinAt(ctx, conns, schedule{o.Rate, time.Duration(o.Ramp)}, o.Start)
	} else {
		err = fleet.join(ctx, fleet.loops, conns)
	}
	return fleet.takeJoins(), err
}

func (f *flow) socket(i int) (*conn, error) {
	c := &conn{tracks: []track{{ch: f.channels[i%len(f.channels)]}}}
	if f.own != "" {
		c.tracks = append(c.tracks, track{ch: numbered(f.own, i, nowhere)})
	}
	if f.user == nil {
		return c, nil
	}
	var err error
	c.as, err = f.user(i)
	return c, err
}

// joinAt opens connections when they are due, and returns once each has joined or failed.
func (f *fleet) joinAt(ctx context.Context, conns []*conn, s schedule, start int64) error {
	f.expect(len(conns))
	err := f.clock.pace(ctx, s, start, 1<<62, func(i uint64, at int64) error {
		if i == uint64(len(conns)) || f.failed() {
			return errDone
		}
		conns[i].began = at
		f.loops[i%uint64(len(f.loops))].add(conns[i : i+1])
		return nil
	})
	if !errors.Is(err, errDone) {
		return err
	}
	return f.awaitJoins(ctx, len(conns))
}

// errDone ends a pace.
var errDone = errors.New("done")

// takeJoins returns what has come of the connections since it was last called.
func (f *fleet) takeJoins() opened {
	f.mu.Lock()
	defer f.mu.Unlock()
	o := opened{Joined: f.total, Took: f.joins, Last: f.lastJoin, Failures: f.failures}
	f.total, f.joins, f.lastJoin, f.failures = 0, report.NewHistogram(), 0, nil
	return o
}

// giveUp ends the connections that have been begun and have not joined.
func (f *fleet) giveUp(why error) {
	for _, l := range f.loops {
		l.mu.Lock()
		for c := range l.begun() {
			if c.phase < joined {
				l.end(c, why)
			}
		}
		l.fill()
		l.mu.Unlock()
	}
}

// edge is what is known of the subscribers of one process at one moment.
type edge struct {
	Delivered uint64  `json:"delivered"`
	Busy      []int64 `json:"busy"` // nanoseconds for which each loop had work
	CPU       int64   `json:"cpu"`  // of the process, in nanoseconds
}

func (f *fleet) edge(also ...*loop) (e edge) {
	cpu, _ := cpuClock(0)
	e.CPU = int64(cpu)
	for _, l := range append(also, f.loops...) {
		l.mu.Lock()
		if s, ok := l.sink.(counter); ok {
			e.Delivered += s.counted().counts.Received
		}
		e.Busy = append(e.Busy, l.busy)
		l.mu.Unlock()
	}
	return e
}

// span has latencies of messages that were meant to be sent from one time to another count.
func (f *fleet) span(from, to int64) {
	for _, l := range f.loops {
		l.mu.Lock()
		d := l.sink.(counter).counted()
		d.from, d.to = from, to
		l.mu.Unlock()
	}
}

// published is what the subscribers are judged by: how many messages were sent to the channels in turn, and how many of each were refused.
type published struct {
	Sent     uint64         `json:"sent"`
	Channels int            `json:"channels"`
	Refused  map[int]uint64 `json:"refused,omitempty"`
}

// to is how many messages a channel was sent.
func (p *published) to(index int) uint64 {
	if index == nowhere {
		return 0
	}
	channels := uint64(p.Channels)
	return (p.Sent + channels - 1 - uint64(index)) / channels
}

// findings is what the subscribers of one process, or of all, got.
type findings struct {
	deliveryCounts
	Lost    uint64           `json:"lost"`
	Wrong   uint64           `json:"wrong"`
	Ended   uint64           `json:"ended"` // connections, by the server
	Reasons map[string]int   `json:"reasons,omitempty"`
	Took    report.Histogram `json:"took"`
}

func (t *findings) add(x *findings) {
	t.deliveryCounts.add(x.deliveryCounts)
	t.Lost += x.Lost
	t.Wrong += x.Wrong
	t.Ended += x.Ended
	for why, n := range x.Reasons {
		tell(&t.Reasons, why, n)
	}
	t.Took.Merge(x.Took)
}

// judge says what the subscribers of this process got of what was published.
func (f *fleet) judge(p *published) findings {
	x := findings{Took: report.NewHistogram()}
	for _, l := range f.loops {
		l.mu.Lock()
		d := l.sink.(counter).counted()
		x.deliveryCounts.add(d.counts)
		x.Took.Merge(d.hist)
		for c := range l.begun() {
			for i := range c.tracks {
				t := &c.tracks[i]
				x.Lost += t.lost(p.to(t.ch.index), p.Refused[t.ch.index])
				x.Wrong += t.wrong
			}
		}
		l.mu.Unlock()
	}
	f.mu.Lock()
	x.Ended, x.Reasons = f.lostConn, f.reasons
	f.mu.Unlock()
	return x
}

// report adds it to what a report says of the whole run.
func (t *findings) report(r *report.Report) {
	t.deliveryCounts.report(r)
	r.Lost += t.Lost
	r.Wrong += t.Wrong
	r.Disconnects += t.Ended
	for why, n := range t.Reasons {
		r.Note("%d connections ended: %s", n, why)
	}
}
