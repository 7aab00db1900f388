package client

import (
	"math"
	"slices"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// How long the reader waits for a slow handler before it gives the subscription back to the server, which keeps its cursor: the wait keeps the
// server from sending what cannot be taken yet, and costs nothing but the time of what else comes over the same socket. So the
// patience depends on whether anything else waits. A subscription that was given back is asked for again when its queue is empty.
const (
	patienceReplies = 100 * time.Millisecond // replies are awaited, perhaps by the handler itself
	patienceOthers  = 250 * time.Millisecond // there are other subscriptions
	patienceAlone   = 5 * time.Second        // the server's pings must be answered; at most half of their interval
	stallMemory     = time.Second            // waits less than this apart are added up
	stallSlice      = 10 * time.Millisecond  // how often the reader looks again
)

// received takes a message from the reader.
func (c *Client) received(cn *conn, m *wire.Message) {
	if cn.over() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := m.Channel
	if m.Pattern != "" {
		name = m.Pattern
	}
	s := c.subs[name]
	if s == nil {
		return
	}
	again := s.seenLocked(m)
	for s.listensLocked() && s.admitLocked(m, again) {
		if !s.fullLocked() {
			s.pushLocked(m)
			return
		}
		if m.Seq == 0 || s.qos == wire.AtMostOnce {
			c.count.dropped.Add(1)
			return
		}
		if !s.waitLocked(cn) {
			return
		}
	}
}

// over reports whether cn has ended: what the reader still has of it would follow what was dropped while it waited for room.
func (cn *conn) over() bool {
	select {
	case <-cn.quit:
		return true
	default:
		return false
	}
}

// seenLocked notes how far the server has sent on this connection. It reports whether it has sent m on it before.
func (s *Subscription) seenLocked(m *wire.Message) (again bool) {
	if m.Seq == 0 || s.stage != active || !s.durableLocked() {
		return false
	}
	again = m.Seq <= s.seen
	s.seen = max(s.seen, m.Seq)
	return again
}

// gap takes a gap push from the reader.
func (c *Client) gap(cn *conn, g *wire.Gap) {
	if cn.over() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.subs[g.Channel]
	if s == nil {
		return
	}
	if s.stage == active && g.Epoch == s.pos.Epoch && s.durableLocked() {
		s.seen = max(s.seen, g.To)
		s.ackLocked(time.Now())
	}
	for s.listensLocked() && s.concernsLocked(g) {
		if !s.fullLocked() {
			own := *g
			s.gapLocked(&own)
			return
		}
		if !s.waitLocked(cn) {
			return
		}
	}
}

// listensLocked reports whether pushes count. The caller must hold Client.mu, here and below.
func (s *Subscription) listensLocked() bool { return s.stage == asked || s.stage == active }

// admitLocked reports whether m is what follows the position. If a message between them is missing, the subscription is made anew
// from the position, once; if that brings the same again, the log has nothing between them, and a gap is handed on. A durable subscription is not
// made anew: the server might forget it between the two commands. The connection is. again says that the server has sent m on this connection before.
func (s *Subscription) admitLocked(m *Message, again bool) bool {
	switch {
	case m.Seq == 0 || s.qos == wire.AtMostOnce:
		return true
	case !s.known: // what comes before subscribe's reply is not ours
		return false
	case m.Seq <= s.pos.Seq:
		s.sentAgainLocked(m)
		if again && s.redeliverLocked(m) {
			return true
		}
		s.c.count.duplicates.Add(1)
		return false
	case m.Prev <= s.pos.Seq:
		s.behind = false
		return true
	case s.stage == asked, s.behind: // sent for the subscribe before this one; or behind what was dropped
		return false
	}
	s.c.count.gaps.Add(1)
	if s.repaired && s.repairedAt == s.pos.Seq {
		s.gapLocked(&Gap{Channel: s.channel, Epoch: s.pos.Epoch, From: s.pos.Seq + 1, To: m.Prev, Reason: wire.GapRetention})
		return true
	}
	s.c.log.Warn("a message is missing: subscribing anew", "channel", s.channel, "position", s.pos.Seq, "prev", m.Prev, "seq", m.Seq)
	s.c.count.repairs.Add(1)
	s.repaired, s.repairedAt = true, s.pos.Seq
	if s.durableLocked() {
		s.behind = true
		s.c.conn.moveLocked(0, errResend)
		return false
	}
	s.forgetLocked(false)
	s.askLocked()
	return false
}

// redeliverLocked reports whether a known message is to be handed on once more: the server's ack_wait is over, and the application, which promised to
// acknowledge by itself, has not. No message is queued twice at a time.
func (s *Subscription) redeliverLocked(m *Message) bool {
	if !s.o.ManualAck || s.orphan || s.qos != wire.AtLeastOnce || m.Seq <= s.acked.Seq {
		return false
	}
	if at := s.Position(); at.Epoch != s.pos.Epoch || m.Seq > at.Seq {
		return false // it waits for its first time
	}
	return s.redeliveries == 0 || m.Seq > s.redelivered
}

// concernsLocked reports whether a gap push says something new.
func (s *Subscription) concernsLocked(g *Gap) bool {
	switch {
	case s.qos == wire.AtMostOnce || !s.known:
		return false
	case s.otherEpochLocked(g):
		return true
	case g.Reason == wire.GapEpoch: // reported already
		return false
	case g.To != 0 && g.To <= s.pos.Seq:
		return false
	}
	// While a subscribe is on its way, a gap further on may be of the one before: what lies between is still to come. So it is behind what was
	// dropped: the server sends that again, and the gap too.
	return s.stage == active && !s.behind || g.From <= s.pos.Seq+1
}

func (s *Subscription) otherEpochLocked(g *Gap) bool {
	return s.pos.Epoch != g.Epoch && (s.pos.Epoch != "" || g.Reason == wire.GapEpoch)
}

// gapLocked queues a gap and moves the position behind it.
func (s *Subscription) gapLocked(g *Gap) {
	if s.otherEpochLocked(g) {
		s.pos = Position{Epoch: g.Epoch}
		s.acked = s.pos
		s.releaseLocked(errOldEpoch, math.MaxUint64)
		s.beginAcksLocked(0)
		s.redelivered, s.redeliveries = 0, 0
	} else {
		s.pos.Seq = max(s.pos.Seq, g.To)
	}
	s.repaired, s.behind = false, false
	s.queue = append(s.queue, event{gap: g, at: s.pos})
	s.startLocked()
}

// pushLocked queues a message and moves the position to it.
func (s *Subscription) pushLocked(m *Message) {
	own := *m
	own.Body = slices.Clone(m.Body) // it aliases the frame
	switch {
	case m.Seq == 0:
	case m.Seq > s.pos.Seq || s.qos == wire.AtMostOnce:
		s.pos.Seq = m.Seq
	default:
		own.Redelivered = true
		s.redelivered = m.Seq
		s.redeliveries++
	}
	s.queue = append(s.queue, event{message: own, at: s.pos})
	s.queueBytes += len(own.Body)
	s.c.count.received.Add(1)
	s.startLocked()
}

func (s *Subscription) fullLocked() bool {
	most := s.c.o.QueueMessages
	if s.durableLocked() {
		most = max(most, s.c.conn.maxUnacked)
	}
	return len(s.queue) >= most || s.queueBytes >= s.c.o.QueueBytes
}

// waitLocked waits a little for room in the queue, without mu. It returns false if the subscription was given back to the server instead, or if
// the connection ended. It is the reader's.
func (s *Subscription) waitLocked(cn *conn) bool {
	if s.orphan { // the server sends it again
		s.behind = true
		return false
	}
	now := time.Now()
	if now.Sub(s.stalledAt) > stallMemory {
		s.stalled = 0
	}
	left := s.patienceLocked(cn) - s.stalled
	if left <= 0 {
		s.c.count.sheds.Add(1)
		s.stalled = 0
		if s.durableLocked() {
			s.behind = true
			return false
		}
		s.stage = shed
		s.forgetLocked(false)
		return false
	}
	s.c.mu.Unlock()
	t := time.NewTimer(min(left, stallSlice))
	alive := true
	select {
	case <-s.room:
	case <-s.done:
	case <-t.C:
	case <-cn.quit:
		alive = false
	}
	t.Stop()
	s.c.mu.Lock()
	after := time.Now()
	s.stalled, s.stalledAt = s.stalled+after.Sub(now), after
	return alive
}

func (s *Subscription) patienceLocked(cn *conn) time.Duration {
	switch {
	case cn.inFlight > 0:
		return patienceReplies
	case len(s.c.subs) > 1:
		return patienceOthers
	case cn.ping > 0:
		return min(patienceAlone, cn.ping/2)
	}
	return patienceAlone
}

// startLocked starts deliver if it does not run. The caller is a goroutine that Close waits for.
func (s *Subscription) startLocked() {
	if !s.running && !s.orphan {
		s.running = true
		s.c.wg.Go(s.deliver)
	}
}

// deliver hands on what is queued, and ends when nothing is. At most one runs for each subscription.
func (s *Subscription) deliver() {
	const keepSpare = 64 // events an idle subscription may keep room for
	c := s.c
	var spare []event
	handled, redeliveries := 0, 0
	for {
		c.mu.Lock()
		s.redeliveries = max(0, s.redeliveries-redeliveries)
		if handled > 0 {
			s.takenLocked(handled)
		}
		handled, redeliveries = 0, 0
		many, noted := s.manyLocked(), time.Now()
		if len(s.queue) == 0 {
			switch {
			case c.conn == nil:
			case s.stage == shed:
				s.askLocked()
			case s.stage == active && s.behind:
				c.conn.moveLocked(0, errResend)
			}
			if cap(s.queue) > keepSpare {
				s.queue = nil
			}
			s.running = false
			tell, err := s.tell, s.err
			s.tell = false
			c.mu.Unlock()
			if tell {
				s.o.OnError(err)
			}
			return
		}
		batch := s.queue
		s.queue, s.queueBytes = spare, 0
		c.mu.Unlock()
		select {
		case s.room <- struct{}{}:
		default:
		}
		for i := range batch {
			if s.silenced.Load() {
				break
			}
			s.handOn(&batch[i])
			if batch[i].message.Redelivered {
				redeliveries++
			}
			if handled++; many > 0 && (handled >= many || time.Since(noted) >= ackEvery) {
				c.mu.Lock()
				s.takenLocked(handled)
				c.mu.Unlock()
				handled, noted = 0, time.Now()
			}
		}
		clear(batch)
		spare = batch[:0]
	}
}

func (s *Subscription) handOn(e *event) {
	switch {
	case e.gap != nil && s.o.OnGap != nil:
		s.o.OnGap(*e.gap)
	case e.gap == nil && s.o.OnMessage != nil:
		s.o.OnMessage(e.message)
	}
	if !e.message.Redelivered {
		s.setHanded(e.at)
	}
}
