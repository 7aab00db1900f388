package session

import "github.com/jetwire/jetwire/gateway/wire"

// unsubscribe ends a subscription. If that is still being put in place, the answer waits for it: messages may come until then.
func (s *Session) unsubscribe(id uint64, c *wire.Unsubscribe) {
	channel := c.Channel
	if !s.leave(channel, func(*subscription) { s.unsubscribed(id, channel) }) {
		s.fail(id, notSubscribed(channel))
	}
}

// leave ends a subscription and reports false if there is none. left is called when no message of it comes any more, and the command
// that has asked for it was answered.
func (s *Session) leave(channel string, left func(*subscription)) bool {
	s.mu.Lock()
	sub := s.findLocked(channel)
	if sub == nil {
		s.mu.Unlock()
		return false
	}
	s.removeLocked(sub)
	place, answered := sub.place, sub.place != nil && !sub.held
	if !answered {
		s.beginLocked()
		sub.leaving = func() {
			s.end()
			left(sub)
		}
	}
	s.mu.Unlock()
	if place != nil {
		place.Cancel()
	}
	if answered {
		left(sub)
	}
	return true
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
