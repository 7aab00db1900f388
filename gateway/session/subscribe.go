package session

import (
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
	switch device := s.device(); {
	case device == nil:
		s.attach(id, sub, c)
	case c.QoS == wire.AtMostOnce:
		s.attachLossy(device, id, sub, c)
	default:
		s.attachDurable(id, sub, c)
	}
}

// attach puts a subscription in place.
func (s *Session) attach(id uint64, sub *subscription, c wire.Subscribe) {
	s.begin()
	attached := func(r wire.SubscribeReply) { s.subscribed(id, &r) }
	s.opt.Broker.Subscribe(s.conn, Request{Subscribe: c}, attached, func(place Subscription, err error) {
		s.end()
		if err != nil {
			s.unattached(id, sub, err)
			return
		}
		s.settle(sub, place)
	})
}

// attachLossy has a subscription stored and puts it in place: there is no position to store, and the record comes first.
func (s *Session) attachLossy(device Device, id uint64, sub *subscription, c wire.Subscribe) {
	s.begin()
	device.Store(func(err error) {
		s.end()
		if err != nil {
			s.unattached(id, sub, err)
			return
		}
		s.attach(id, sub, c)
	})
}

// attachDurable puts a subscription in place, has it stored, answers, and lets its messages come.
func (s *Session) attachDurable(id uint64, sub *subscription, c wire.Subscribe) {
	s.begin()
	var reply wire.SubscribeReply
	attached := func(r wire.SubscribeReply) { reply = r }
	s.opt.Broker.Subscribe(s.conn, Request{Subscribe: c, Acked: true, Held: true}, attached, func(place Subscription, err error) {
		if err != nil {
			s.end()
			s.unattached(id, sub, err)
			return
		}
		s.enlist(sub, place, func(err error) {
			s.end()
			if err != nil {
				s.fail(id, wireError(err))
				return
			}
			s.subscribed(id, &reply)
			s.release(sub)
		})
	})
}

func (s *Session) subscribed(id uint64, r *wire.SubscribeReply) {
	s.reply(id, func(dst []byte) []byte { return wire.AppendSubscribeReply(dst, id, r) })
}

// unattached answers for a subscription that could not be put in place.
func (s *Session) unattached(id uint64, sub *subscription, err error) {
	left := s.remove(sub, true)
	s.changed() // the record may have it already
	s.fail(id, wireError(err))
	if left != nil {
		left()
	}
}

// add reserves a subscription's place among the session's.
func (s *Session) add(sub *subscription) *wire.Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed { // nobody would cancel it
		return wire.GoingAway.Err()
	}
	last, n := &s.subs, 0
	for ; *last != nil; last = &(*last).next {
		if (*last).channel == sub.channel {
			return wire.AlreadySubscribed.With("this connection is subscribed to " + sub.channel + " already")
		}
		n++
	}
	if n >= s.opt.MaxSubscriptions {
		return wire.TooManySubscriptions.Err()
	}
	*last = sub
	if s.aside != nil {
		s.unparkLocked(sub)
	}
	return nil
}

// settle gives a reserved subscription its place at the log, unless it was ended meanwhile.
func (s *Session) settle(sub *subscription, place Subscription) {
	s.mu.Lock()
	ended, left := sub.ended, sub.leaving
	sub.place = place
	s.inPlaceLocked(sub)
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
	for sub := s.subs; sub != nil; sub = sub.next {
		if sub.channel == channel {
			return sub
		}
	}
	return nil
}

// remove takes out a subscription that could not be put in place, and returns what answers an unsubscribe that waits for it. With
// keep, what the device's record has of it stays there, unless it was unsubscribed meanwhile.
func (s *Session) remove(sub *subscription, keep bool) (left func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.removeLocked(sub) && keep && sub.from != nil {
		s.aside.parked = append(s.aside.parked, *sub.from)
	}
	return sub.leaving
}

// removeLocked reports false if it was removed before.
func (s *Session) removeLocked(sub *subscription) bool {
	sub.ended = true
	for at := &s.subs; *at != nil; at = &(*at).next {
		if *at == sub {
			*at, sub.next = sub.next, nil
			s.takenOutLocked(sub)
			return true
		}
	}
	return false
}
