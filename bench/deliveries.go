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
	received   uint64 // duplicates included
	duplicated uint64
	reordered  uint64
	foreign    uint64
	gaps       uint64
}

func (c *deliveryCounts) add(d deliveryCounts) {
	c.received += d.received
	c.duplicated += d.duplicated
	c.reordered += d.reordered
	c.foreign += d.foreign
	c.gaps += d.gaps
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
	t.delivered += d.counts.received
	latest.take(&d.latest)
}

func (d *deliveries) message(c *conn, m *push, now int64) {
	for i := range c.tracks {
		t := &c.tracks[i]
		if string(m.channel) != t.ch.name {
			continue
		}
		d.counts.received++
		d.fresh++
		switch t.see(m) {
		case duplicated:
			d.counts.duplicated++
		case reordered:
			d.counts.reordered++
		case foreign:
			d.counts.foreign++
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
	d.counts.foreign++
}

func (d *deliveries) gap(*conn) { d.counts.gaps++ }

func (d *deliveries) settled(*conn, int64) error {
	if d.fresh > 0 {
		d.flow.arrive(d.fresh)
		d.fresh = 0
	}
	return nil
}

func (*deliveries) answer(*conn, *answer, int64) {}

func (*deliveries) refused(*conn, uint64, *wire.Error) {}
