package session

import "github.com/jetwire/jetwire/gateway/wire"

// unsubscribe ends a subscription. If that is still being put in place, the answer waits for it: messages may come until then.
func (s *Session) unsubscribe(id uint64, c *wire.Unsubscribe) {
	channel := c.Channel
	s.mu.Lock()
	sub := s.findLocked(channel)
	if sub == nil {
		s.mu.Unlock()
		s.fail(id, notSubscribed(channel))
		return
	}
	s.removeLocked(sub)
	place := sub.place
	if place == nil {
		s.beginLocked()
		sub.leaving = func() {
			s.end()
			s.unsubscribed(id, channel)
		}
	}
	s.mu.Unlock()
	if place == nil {
		return
	}
	place.Cancel()
	s.unsubscribed(id, channel)
}

// unsubscribed answers, in a durable session once the record says so.
func (s *Session) unsubscribed(id uint64, channel string) {
	s.store(id, func() {
		s.reply(id, func(dst []byte) []byte { return wire.AppendUnsubscribeReply(dst, id, channel) })
	})
}

func notSubscribed(channel string) *wire.Error {
	return wire.NotSubscribed.With("this connection is not subscribed to " + channel)
}
