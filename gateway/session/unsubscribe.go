package session

import "github.com/jetwire/jetwire/gateway/wire"

func (s *Session) unsubscribe(id uint64, c *wire.Unsubscribe) {
	s.mu.Lock()
	sub := s.findLocked(c.Channel)
	s.mu.Unlock()
	if sub == nil {
		s.fail(id, notSubscribed(c.Channel))
		return
	}
	if place := s.remove(sub); place != nil {
		place.Cancel()
	}
	channel := sub.channel
	s.reply(id, func(dst []byte) []byte { return wire.AppendUnsubscribeReply(dst, id, channel) })
}

func notSubscribed(channel string) *wire.Error {
	return wire.NotSubscribed.With("this connection is not subscribed to " + channel)
}
