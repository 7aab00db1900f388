package client

import (
	"context"
	"errors"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// The acks of a durable session. A subscription knows four sequences of its epoch:
//
//	acked      what the application has handled, by itself (ManualAck) or by taking it
//	seen       what the server has sent on this connection: an ack beyond it would be refused
//	told       what the last ack on this connection said
//	confirmed  what the server has answered
//
// An ack says min(acked, seen). After a reconnect the server begins behind what it has stored, so what was handled before is acknowledged again
// as it comes again. At most one ack of a subscription waits to be written or, where an answer is wanted, to be answered.

// ackEvery is the least time between two acks of a subscription, unless a quarter of what may be unacknowledged was handled in less.
const ackEvery = 100 * time.Millisecond

var errOldEpoch = wire.WrongEpoch.With("the stream was made anew, and what it held is gone")

// ackWaiter is a call of Ack.
type ackWaiter struct {
	seq  uint64
	done chan error // buffered
}

// durableLocked reports whether acks decide anything: in a durable session, for messages that have a place. The caller must hold Client.mu, here and below.
func (s *Subscription) durableLocked() bool {
	return s.c.conn != nil && s.c.conn.durable && s.qos != wire.AtMostOnce
}

// beginAcksLocked is told where the server begins: on a new connection, or with a new subscription.
func (s *Subscription) beginAcksLocked(since uint64) {
	s.seen, s.told, s.confirmed = since, since, since
	s.ackNumber++
	s.ackOut = false
	s.releaseLocked(nil, since)
}

// handledLocked notes that the application has handled everything up to p, in so many steps.
func (s *Subscription) handledLocked(p Position, steps int) {
	if p.Epoch == s.acked.Epoch && p.Seq > s.acked.Seq {
		s.acked.Seq = p.Seq
	}
	s.steps += steps
	s.ackLocked(time.Now())
}

// ackLocked sends an ack if one is due, and sees to it that it is called again if one will be.
func (s *Subscription) ackLocked(now time.Time) {
	if s.stage != active || s.ackOut || !s.durableLocked() {
		return
	}
	upTo := min(s.acked.Seq, s.seen)
	awaited := s.awaitedLocked(upTo)
	if upTo <= s.told && !awaited {
		return
	}
	cn := s.c.conn
	if due := s.ackedAt.Add(ackEvery); !awaited && s.steps < cn.maxUnacked/4 && now.Before(due) {
		if !s.ackTimed {
			s.ackTimed = true
			s.c.ackLater = append(s.c.ackLater, s)
			s.c.ring()
		}
		return
	}
	a := &wire.Ack{Channel: s.channel, Seq: upTo, Epoch: s.acked.Epoch}
	r := &request{op: wire.OpAck}
	if s.qos == wire.ExactlyOnce || awaited {
		r.retry = true
	} else {
		r.silent = true
	}
	number := s.ackNumber
	r.done = func(_ *wire.Incoming, err error) { s.ackEnded(number, upTo, !r.silent, err) }
	if s.c.submitLocked(r, func(id uint64) []byte { return wire.AppendAck(nil, id, a) }) != nil {
		return
	}
	s.told, s.steps, s.ackedAt, s.ackOut = upTo, 0, now, true
	s.c.count.acks.Add(1)
}

// awaitedLocked reports whether a call of Ack waits for the answer to an ack up to this sequence.
func (s *Subscription) awaitedLocked(upTo uint64) bool {
	for _, w := range s.waiters {
		if w.seq <= upTo {
			return true
		}
	}
	return false
}

// takenLocked notes that the application has taken so many messages, up to Position.
func (s *Subscription) takenLocked(n int) {
	if !s.o.ManualAck {
		s.handledLocked(s.Position(), n)
	}
}

// manyLocked returns after how many messages an ack is worth sending at once; 0: acks are not ours to send.
func (s *Subscription) manyLocked() int {
	if s.o.ManualAck || !s.durableLocked() {
		return 0
	}
	return max(1, s.c.conn.maxUnacked/4)
}

// ackTickLocked sends the acks that are due at now. It returns the time until the next one, at most longest.
func (c *Client) ackTickLocked(now time.Time, longest time.Duration) time.Duration {
	waiting := c.ackLater
	c.ackLater = nil
	for _, s := range waiting {
		if left := s.ackedAt.Add(ackEvery).Sub(now); left > 0 && s.stage != gone {
			longest = min(longest, left)
			c.ackLater = append(c.ackLater, s)
			continue
		}
		s.ackTimed = false
		s.ackLocked(now)
	}
	return longest
}

// ackEnded is told that an ack was written, if no answer was wanted, or how it was answered.
func (s *Subscription) ackEnded(number, upTo uint64, answered bool, err error) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if number != s.ackNumber || errors.Is(err, ErrNotConnected) || errors.Is(err, ErrClosed) {
		return // the connection is gone: what matters of it is told on the next one
	}
	s.ackOut = false
	var refused *wire.Error
	switch {
	case err == nil && answered:
		s.confirmed = max(s.confirmed, upTo)
		s.releaseLocked(nil, s.confirmed)
	case errors.As(err, &refused) && refused.Code == wire.AckBehind: // the server knows more
		s.confirmed = max(s.confirmed, upTo)
		s.releaseLocked(nil, s.confirmed)
	case errors.As(err, &refused) && refused.Code.Comeback() == wire.Never:
		c.log.Warn("the server refused an ack", "channel", s.channel, "seq", upTo, "code", refused.Code.String(), "message", refused.Message)
		s.releaseLocked(err, upTo)
	case err != nil: // no answer in time, or a new token is wanted
		s.told = s.confirmed
	}
	s.ackLocked(time.Now())
}

// releaseLocked ends the calls of Ack that wait for something up to seq.
func (s *Subscription) releaseLocked(err error, seq uint64) {
	left := s.waiters[:0]
	for _, w := range s.waiters {
		if w.seq <= seq {
			w.done <- err
		} else {
			left = append(left, w)
		}
	}
	clear(s.waiters[len(left):])
	s.waiters = left
}

// sentAgainLocked is told of a message that the server has sent although it was known. If it was handled, the ack has not arrived.
func (s *Subscription) sentAgainLocked(m *wire.Message) {
	if m.Seq > s.acked.Seq {
		return
	}
	s.told = min(s.told, m.Seq-1)
	s.ackLocked(time.Now())
}

// lastAcksLocked returns the frames of what a connection that is about to be closed in order should still tell.
func (c *Client) lastAcksLocked(cn *conn) (frames []byte) {
	if !cn.durable || c.conn != cn {
		return nil
	}
	for _, s := range c.subsLocked() {
		if s.stage != active || s.orphan || s.qos == wire.AtMostOnce {
			continue
		}
		if handed := s.Position(); !s.o.ManualAck && handed.Epoch == s.acked.Epoch {
			s.acked.Seq = max(s.acked.Seq, handed.Seq)
		}
		if upTo := min(s.acked.Seq, s.seen); upTo > s.confirmed {
			a := &wire.Ack{Channel: s.channel, Seq: upTo, Epoch: s.acked.Epoch}
			frames = appendFrame(frames, ws.OpText, wire.AppendAck(nil, 0, a))
		}
	}
	return frames
}

// Handled notes that the application has handled everything up to seq. The server is told soon, together with what is handled meanwhile; Ack
// waits for its answer. It is for subscriptions with ManualAck in a durable session, and does nothing elsewhere, nor for a seq that was not received.
func (s *Subscription) Handled(seq uint64) {
	c := s.c
	at := s.Position()
	c.mu.Lock()
	defer c.mu.Unlock()
	if seq <= s.pos.Seq && s.stage != gone {
		at.Seq = seq
		s.handledLocked(at, 1)
	}
}

// Ack tells the server that everything up to seq was handled, and waits for its answer. It is told again after a lost connection, until ctx ends.
// In a durable session the answer says, at ExactlyOnce, that this is stored; at AtLeastOnce it is stored within about a second. What was
// acknowledged before is acknowledged: only an ack beyond what was received is refused. Without a device an ack decides nothing.
func (s *Subscription) Ack(ctx context.Context, seq uint64) error {
	c := s.c
	at := s.Position()
	c.mu.Lock()
	if c.session.Device == "" || s.qos == wire.AtMostOnce {
		c.mu.Unlock()
		return s.ackAtOnce(ctx, seq, at.Epoch)
	}
	var err error
	switch {
	case s.stage == gone:
		err = s.err
	case at.Epoch != s.acked.Epoch:
		err = errOldEpoch
	case seq > s.pos.Seq:
		err = wire.AckAhead.Err()
	}
	if err != nil || seq <= s.confirmed {
		c.mu.Unlock()
		return err
	}
	w := &ackWaiter{seq, make(chan error, 1)}
	s.waiters = append(s.waiters, w)
	at.Seq = seq
	s.handledLocked(at, 1)
	c.mu.Unlock()
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, other := range s.waiters {
		if other == w {
			s.waiters = append(s.waiters[:i:i], s.waiters[i+1:]...)
			return context.Cause(ctx)
		}
	}
	return <-w.done
}

// ackAtOnce is Ack where the server only checks it.
func (s *Subscription) ackAtOnce(ctx context.Context, seq uint64, epoch string) error {
	a := &wire.Ack{Channel: s.channel, Seq: seq, Epoch: epoch}
	r := &request{op: wire.OpAck, keep: true, retry: true}
	return s.c.do(ctx, r, func(id uint64) []byte { return wire.AppendAck(nil, id, a) }, nil)
}
