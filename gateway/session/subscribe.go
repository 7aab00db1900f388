package session

import (
	"slices"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (s *Session) subscribe(id uint64, grant *auth.Grant, c wire.Subscribe) {
	if err := s.allow(grant, auth.Subscribe, c.Channel); err != nil {
		s.fail(id, err)
		return
	}
	sub := &subscription{channel: c.Channel, qos: c.QoS}
	if err := s.add(sub); err != nil {
		s.fail(id, err)
		return
	}
	s.begin()
	attached := func(r wire.SubscribeReply) {
		s.reply(id, func(dst []byte) []byte { return wire.AppendSubscribeReply(dst, id, &r) })
	}
	s.opt.Broker.Subscribe(s.conn, c, attached, func(place Subscription, err error) {
		s.end()
		if err != nil {
			left := s.remove(sub)
			s.fail(id, wireError(err))
			if left != nil {
				left()
			}
			return
		}
		s.settle(sub, place)
	})
}

// add reserves a subscription's place among the session's.
func (s *Session) add(sub *subscription) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.findLocked(sub.channel) != nil {
		return wire.AlreadySubscribed.With("this connection is subscribed to " + sub.channel + " already")
	}
	if len(s.subs) >= s.opt.MaxSubscriptions {
		return wire.TooManySubscriptions.Err()
	}
	s.subs = append(s.subs, sub)
	return nil
}

// settle gives a reserved subscription its place at the log, unless it was ended meanwhile.
func (s *Session) settle(sub *subscription, place Subscription) {
	s.mu.Lock()
	ended, left := sub.ended, sub.leaving
	sub.place, sub.epoch = place, place.Epoch()
	s.mu.Unlock()
	if ended {
		place.Cancel()
		if left != nil {
			left()
		}
		return
	}
	place.Drained() // the connection may have drained before it knew this subscription
}

func (s *Session) findLocked(channel string) *subscription {
	for _, sub := range s.subs {
		if sub.channel == channel {
			return sub
		}
	}
	return nil
}

// remove takes out a subscription that could not be put in place, and returns what answers an unsubscribe that waits for it.
func (s *Session) remove(sub *subscription) (left func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(sub)
	return sub.leaving
}

func (s *Session) removeLocked(sub *subscription) {
	if i := slices.Index(s.subs, sub); i >= 0 {
		s.subs = slices.Delete(s.subs, i, i+1)
	}
	sub.ended = true
}
