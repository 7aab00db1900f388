package bench

import (
	"strconv"
	"sync/atomic"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// post is what one socket publishes: always depth messages in flight, a new one for each that is answered. All that a read
// makes room for leaves in one write.
type post struct {
	channel  *channel
	inFlight int
	free     int    // answered since the loop last settled
	newest   uint64 // id
	lastID   uint64 // answered
	lastSeq  uint64 // of lastID
}

// posts is the sink of publishing sockets. A command's id is the time at which it was sent, made unique, so that its
// answer tells how long it took.
type posts struct {
	size  sizer
	qos   wire.QoS
	nonce string // begins the message ids of QoS 2
	run   *postRun

	// Guarded by the loop's mu.
	hist   report.Histogram
	latest lately // of all times
	sent   uint64
	out    []byte
	text   []byte
	body   []byte
	total  postCounts
}

// postRun is shared by all loops.
type postRun struct {
	on       atomic.Bool  // new messages are sent
	from, to atomic.Int64 // latencies of messages sent between them count
}

type postCounts struct {
	acked      uint64
	duplicated uint64
	reordered  uint64
	errors     uint64
	first      string // error
	class      class  // of the last answer
}

var (
	_ sink    = (*posts)(nil)
	_ tallied = (*posts)(nil)
)

func (s *posts) tally(t *tally, latest *lately) {
	t.published += s.total.acked
	latest.take(&s.latest)
}

func (s *posts) message(*conn, *push, int64) {}

func (s *posts) gap(*conn) {}

func (s *posts) answer(c *conn, a *answer, now int64) {
	p := c.post
	s.total.acked++
	s.total.class = a.class
	p.inFlight--
	p.free++
	if a.duplicate {
		s.total.duplicated++
	}
	if a.id > p.lastID {
		if a.seq <= p.lastSeq && a.seq != 0 {
			s.total.reordered++
		}
		p.lastID, p.lastSeq = a.id, a.seq
	}
	s.latest.record(now - int64(a.id))
	if sent := int64(a.id); sent >= s.run.from.Load() && sent < s.run.to.Load() {
		s.hist.Record(now - sent)
	}
}

// refused counts an error reply. Its place in flight stays empty until the next round: a server that refuses is not flooded.
func (s *posts) refused(c *conn, _ uint64, why *wire.Error) {
	c.post.inFlight--
	s.total.errors++
	if s.total.first == "" {
		s.total.first = why.Error()
	}
}

func (s *posts) settled(c *conn, now int64) error {
	if c.phase != joined || c.post.free == 0 || !s.run.on.Load() {
		return nil
	}
	n := c.post.free
	c.post.free = 0
	return s.publish(c, n, now)
}

// publish sends n messages in one write. The loop's mu must be held.
func (s *posts) publish(c *conn, n int, now int64) error {
	p := c.post
	s.out = s.out[:0]
	for range n {
		id := max(uint64(now), p.newest+1, maxJoinID+1)
		p.newest, p.inFlight = id, p.inFlight+1
		s.sent++
		s.body = appendPayload(s.body[:0], now, s.sent, s.size.next())
		command := wire.Publish{Channel: p.channel.name, Data: s.body, QoS: s.qos}
		if s.qos == wire.ExactlyOnce {
			command.ID = s.nonce + "-" + strconv.FormatUint(id, 36)
		}
		s.text = wire.AppendPublish(s.text[:0], id, &command)
		s.out = wsock.AppendMasked(s.out, ws.OpText, s.text)
	}
	return c.send(s.out)
}
