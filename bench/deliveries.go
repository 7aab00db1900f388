package bench

import (
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// deliveries is the sink of subscribers: it counts and judges every message.
type deliveries struct {
	flow *flow
	each func(c *conn, t *track, now int64) // told of every message that bench wrote; may be nil

	// Guarded by the loop's mu.
	from, to int64 // latencies of messages that were meant to be sent between them count
	counts   deliveryCounts
	fresh    int // since the loop last settled
	hist     report.Histogram
	latest   lately // of all times
}

// deliveryCounts is what a deliveries sink has seen so far.
type deliveryCounts struct {
	Received   uint64 `json:"received"` // duplicates included
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`
	Foreign    uint64 `json:"foreign"`
	Gaps       uint64 `json:"gaps"`
}

func (c *deliveryCounts) add(d deliveryCounts) {
	c.Received += d.Received
	c.Duplicated += d.Duplicated
	c.Reordered += d.Reordered
	c.Foreign += d.Foreign
	c.Gaps += d.Gaps
}

// report adds it to what a report says of the whole run.
func (c *deliveryCounts) report(r *report.Report) {
	r.Received += c.Received
	r.Duplicated += c.Duplicated
	r.Reordered += c.Reordered
	r.Foreign += c.Foreign
	r.Gaps += c.Gaps
}

var (
	_ sink    = (*deliveries)(nil)
	_ counter = (*deliveries)(nil)
	_ tallied = (*deliveries)(nil)
)

// counter is a sink that counts deliveries.
type counter interface{ counted() *deliveries }

func (d *deliveries) counted() *deliveries { return d }

func (d *deliveries) tally(t *tally, latest *lately) {
	t.delivered += d.counts.Received
	latest.take(&d.latest)
}

func (d *deliveries) message(c *conn, m *push, now int64) {
	for i := range c.tracks {
		t := &c.tracks[i]
		if string(m.channel) != t.ch.name {
			continue
		}
		d.counts.Received++
		d.fresh++
		switch t.see(m) {
		case duplicated:
			d.counts.Duplicated++
		case reordered:
			d.counts.Reordered++
		case foreign:
			d.counts.Foreign++
			return
		}
		d.latest.record(now - m.sent)
		if m.sent >= d.from && m.sent < d.to {
			d.hist.Record(now - m.sent)
		}
		if d.each != nil {
			d.each(c, t, now)
		}
		return
	}
	d.counts.Foreign++
}

func (d *deliveries) gap(*conn) { d.counts.Gaps++ }

func (d *deliveries) settled(*conn, int64) error {
	if d.fresh > 0 {
		d.flow.arrive(d.fresh)
		d.fresh = 0
	}
	return nil
}

func (*deliveries) answer(*conn, *answer, int64) {}

func (*deliveries) refused(*conn, uint64, *wire.Error) {}
