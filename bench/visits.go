package bench

import (
	"sort"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// changer is a sink of connections that subscribe and unsubscribe after they have joined.
type changer interface {
	subscribed(c *conn, r *wire.SubscribeReply, now int64)
	unsubscribed(c *conn, channel string)
}

// visits is the sink of sockets whose subscriptions begin and end while messages are published. Each subscription is judged from the
// position that the server named in its reply.
type visits struct {
	deliveries

	// Guarded by the loop's mu.
	took  report.Histogram // from when a change was meant to be made until it was answered
	ended []track          // of subscriptions that are over
	first string           // refusal
	fails int
}

var (
	_ sink    = (*visits)(nil)
	_ changer = (*visits)(nil)
)

func (v *visits) subscribed(c *conn, r *wire.SubscribeReply, now int64) {
	for i := range c.tracks {
		if t := &c.tracks[i]; t.ch.name == r.Channel {
			t.seq, t.since, t.changing = r.Seq, r.Seq, false
			v.took.Record(now - c.began)
		}
	}
}

func (v *visits) unsubscribed(c *conn, channel string) {
	for i := range c.tracks {
		if c.tracks[i].ch.name == channel {
			v.ended = append(v.ended, c.tracks[i])
			c.tracks = append(c.tracks[:i], c.tracks[i+1:]...)
			return
		}
	}
}

// refused counts a change that the server did not make.
func (v *visits) refused(c *conn, _ uint64, why *wire.Error) {
	if v.fails++; v.first == "" {
		v.first = why.Error()
	}
	for i := range c.tracks {
		if c.tracks[i].changing {
			c.tracks = append(c.tracks[:i], c.tracks[i+1:]...)
			return
		}
	}
}

// positions is where in the log the messages of a publisher are, as its answers said.
type positions struct {
	channels int
	seqs     []uint64 // of all messages in the order in which they were sent; 0: refused, or not answered
}

func (p *positions) note(i uint64, seq uint64) {
	for uint64(len(p.seqs)) <= i {
		p.seqs = append(p.seqs, 0)
	}
	p.seqs[i] = seq
}

// of is the position of a channel's n-th message, from 1; 0 if it has none.
func (p *positions) of(index int, n uint64) uint64 {
	if i := (n-1)*uint64(p.channels) + uint64(index); i < uint64(len(p.seqs)) {
		return p.seqs[i]
	}
	return 0
}

// after is the number of the first of a channel's messages up to the until-th that lies after a position; until+1 if none does.
func (p *positions) after(index int, since, until uint64) uint64 {
	return 1 + uint64(sort.Search(int(until), func(i int) bool {
		n := uint64(i) + 1
		for ; n <= until; n++ { // those without a position count as the one behind them
			if seq := p.of(index, n); seq != 0 {
				return seq > since
			}
		}
		return true
	}))
}

// stored is how many of a channel's messages in a range, inclusive, have a position.
func (p *positions) stored(index int, from, to uint64) (n uint64) {
	for ; from <= to; from++ {
		if p.of(index, from) != 0 {
			n++
		}
	}
	return n
}

// missed is how many messages a late subscription should have got, up to the until-th, and did not.
func (t *track) missed(p *positions) (n uint64) {
	first, next := t.first, t.next
	if next == 0 {
		first, next = t.until+1, t.until+1
	}
	if from := p.after(t.ch.index, t.since, t.until); from < first {
		n += p.stored(t.ch.index, from, first-1)
	}
	for _, h := range t.holes {
		n += p.stored(t.ch.index, h.from, h.to)
	}
	return n + t.gone + p.stored(t.ch.index, next, t.until)
}
