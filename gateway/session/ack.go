package session

import "github.com/jetwire/jetwire/gateway/wire"

// ack moves a subscription's acknowledged position: forwards only, and not beyond what was sent. In a durable session it is kept;
// at QoS 2 it is answered once it is.
func (s *Session) ack(id uint64, c *wire.Ack) {
	channel, seq := c.Channel, c.Seq
	s.mu.Lock()
	sub := s.findLocked(channel)
	var place Subscription
	if sub != nil && !sub.held {
		place = sub.place
	}
	s.mu.Unlock()
	if place == nil {
		s.fail(id, notSubscribed(channel))
		return
	}
	if err := place.Ack(c.Epoch, seq); err != nil {
		s.fail(id, wireError(err))
		return
	}
	done := func() {
		s.reply(id, func(dst []byte) []byte { return wire.AppendAckReply(dst, id, channel, seq) })
	}
	if sub.qos == wire.ExactlyOnce {
		s.store(id, done)
		return
	}
	s.changed()
	done()
}
