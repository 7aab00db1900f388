package session

import "github.com/jetwire/jetwire/gateway/wire"

// ack moves a subscription's acknowledged position: forwards only, and not beyond what was sent.
func (s *Session) ack(id uint64, c *wire.Ack) {
	if err := s.acknowledge(c); err != nil {
		s.fail(id, err)
		return
	}
	channel, seq := c.Channel, c.Seq
	s.reply(id, func(dst []byte) []byte { return wire.AppendAckReply(dst, id, channel, seq) })
}

func (s *Session) acknowledge(c *wire.Ack) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	sub := s.findLocked(c.Channel)
	switch {
	case sub == nil || sub.place == nil:
		return notSubscribed(c.Channel)
	case sub.qos == wire.AtMostOnce:
		return wire.BadRequest.With("a subscription at QoS 0 has nothing to acknowledge")
	}
	epoch := sub.place.Epoch()
	if epoch != sub.epoch {
		sub.epoch, sub.acked = epoch, 0
	}
	switch {
	case c.Epoch != "" && c.Epoch != epoch:
		return wire.WrongEpoch.Err()
	case c.Seq < sub.acked:
		return wire.AckBehind.Err()
	case c.Seq > sub.place.Position():
		return wire.AckAhead.Err()
	}
	sub.acked = c.Seq
	return nil
}
