package session

import (
	"slices"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Position is one subscription of a device.
type Position struct {
	Channel string // or a pattern
	QoS     wire.QoS
	Epoch   string
	Seq     uint64 // acknowledged up to here
}

// Record is what is known of a device.
type Record struct {
	Found     bool
	Positions []Position
}

// Holder is a session that holds a device. Its methods do not block.
type Holder interface {
	Positions() []Position
	TakenOver() // a newer session has the device
}

// Device is the record of the device that a session holds. What it stores it takes from Holder.Positions.
type Device interface {
	Changed()               // what was acknowledged has moved: written soon
	Store(done func(error)) // written now; done is called once, from any goroutine, with an *wire.Error if it was not
	Release()               // the session has ended
}

// device returns the record of the device that the session holds; nil: it holds none.
func (s *Session) device() Device {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aside == nil {
		return nil
	}
	return s.aside.device
}

// take makes this session the holder of the device, and restores what that is subscribed to.
func (s *Session) take(id uint64, session, device, client string, grant *auth.Grant) {
	s.hold(device)
	s.opt.Broker.Take(grant.User, device, session, s, func(d Device, r Record, err error) {
		if err != nil {
			s.refuse(id, wireError(err))
			return
		}
		if !s.hasTaken(d, r.Positions) {
			d.Release()
			return
		}
		known := s.admit(grant, r.Positions)
		s.addInbox(grant, func(inbox *subscription, err error) {
			if err != nil {
				s.refuse(id, wireError(err))
				return
			}
			told := &wire.Durable{Device: device, Resumed: r.Found, AckWait: s.opt.AckWait.Seconds(), MaxUnacked: s.opt.MaxUnacked}
			for _, sub := range known {
				told.Restored = append(told.Restored, restored(*sub.from))
			}
			if inbox != nil {
				epoch, seq := inbox.place.Acked()
				told.Restored = append(told.Restored, restored(Position{inbox.channel, inbox.qos, epoch, seq}))
			}
			if !s.admitted(id, grant) {
				return
			}
			s.connected(id, session, client, grant, told)
			for _, sub := range known {
				s.restore(sub, grant)
			}
			if inbox != nil {
				s.release(inbox)
			}
			s.goOn()
		})
	})
}

func restored(p Position) wire.Restored {
	return wire.Restored{Channel: p.Channel, QoS: p.QoS, Epoch: p.Epoch, Since: p.Seq}
}

// hasTaken reports false if the connection has ended meanwhile; the record stays as it is.
func (s *Session) hasTaken(d Device, record []Position) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ending || s.closed {
		s.aside.parked = record
		return false
	}
	s.aside.device = d
	return true
}

// admit adds the subscriptions of a record that the token allows.
func (s *Session) admit(grant *auth.Grant, record []Position) []*subscription {
	for _, p := range record {
		sub := &subscription{channel: p.Channel, qos: p.QoS, from: &p}
		if s.allow(grant, auth.Subscribe, p.Channel) != nil || s.add(sub) != nil {
			s.park(p)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var subs []*subscription
	for sub := s.subs; sub != nil; sub = sub.next {
		subs = append(subs, sub)
	}
	return subs
}

func (s *Session) park(p Position) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aside.parked = append(s.aside.parked, p)
}

// addInbox subscribes the user's inbox, unless the record has it or the user may not. What follows is held. An error is one that
// will pass.
func (s *Session) addInbox(grant *auth.Grant, then func(*subscription, error)) {
	sub := &subscription{channel: "user." + grant.User, qos: wire.AtLeastOnce}
	if s.allow(grant, auth.Subscribe, sub.channel) != nil || s.isParked(sub.channel) || s.add(sub) != nil {
		then(nil, nil)
		return
	}
	failed := func(e *wire.Error) {
		s.remove(sub, false)
		if e.Code.Comeback() == wire.Later {
			then(nil, e)
			return
		}
		then(nil, nil)
	}
	r := Request{Subscribe: wire.Subscribe{Channel: sub.channel, QoS: sub.qos}, Acked: true, Held: true}
	s.mayRead(sub.channel, grant, func(refusal *wire.Error) {
		if refusal != nil {
			failed(refusal)
			return
		}
		s.opt.Broker.Subscribe(s.conn, r, func(wire.SubscribeReply) {}, func(place Subscription, err error) {
			if err != nil {
				failed(wireError(err))
				return
			}
			s.enlist(sub, place, func(err error) {
				if err != nil {
					sub = nil
				}
				then(sub, err)
			})
		})
	})
}

// unparkLocked lets a subscription take the place of what the record has of its channel. That stays in the record until there is a
// new position.
func (s *Session) unparkLocked(sub *subscription) {
	d := s.aside
	d.parked = slices.DeleteFunc(d.parked, func(p Position) bool {
		if p.Channel != sub.channel {
			return false
		}
		if sub.from == nil {
			sub.from = &p
		}
		return true
	})
}

func (s *Session) isParked(channel string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.aside.parked, func(p Position) bool { return p.Channel == channel })
}

// enlist stores a subscription that is in place, and held, in the device's record. After done without an error the caller releases it.
func (s *Session) enlist(sub *subscription, place Subscription, done func(error)) {
	s.mu.Lock()
	sub.place, sub.held = place, true
	ended := sub.ended
	s.mu.Unlock()
	if ended {
		place.Cancel()
	}
	s.device().Store(func(err error) {
		if err != nil {
			place.Cancel()
			if left := s.remove(sub, true); left != nil {
				left()
			}
		}
		done(err)
	})
}

// release lets the messages of a held subscription come.
func (s *Session) release(sub *subscription) {
	s.mu.Lock()
	sub.held = false
	left := sub.leaving
	sub.leaving = nil
	s.inPlaceLocked(sub)
	s.mu.Unlock()
	if left != nil {
		left()
	}
	sub.place.Drained()
}

// restore puts a subscription of the record in place again.
func (s *Session) restore(sub *subscription, grant *auth.Grant) {
	from := *sub.from
	lossy := from.QoS == wire.AtMostOnce
	r := Request{Subscribe: wire.Subscribe{Channel: from.Channel, QoS: from.QoS, Since: from.Seq, Resume: !lossy, Epoch: from.Epoch}, Acked: !lossy}
	s.mayRead(from.Channel, grant, func(refusal *wire.Error) {
		if refusal != nil {
			s.unrestored(sub, refusal)
			return
		}
		s.opt.Broker.Subscribe(s.conn, r, func(wire.SubscribeReply) {}, func(place Subscription, err error) {
			if err != nil {
				s.unrestored(sub, wireError(err))
				return
			}
			s.settle(sub, place)
		})
	})
}

// unrestored tells of a subscription of the record that could not be put in place.
func (s *Session) unrestored(sub *subscription, e *wire.Error) {
	later := e.Code.Comeback() == wire.Later
	if left := s.remove(sub, later); left != nil { // it was unsubscribed meanwhile
		left()
		return
	}
	if !later {
		s.changed()
	}
	s.send(func(dst []byte) []byte {
		return wire.AppendUnsubscribedPush(dst, &wire.Unsubscribed{Channel: sub.channel, Error: *e})
	})
}

// changed tells the device, if there is one, that the positions have changed.
func (s *Session) changed() {
	if device := s.device(); device != nil {
		device.Changed()
	}
}

// store has the record written before a command is answered; at once where there is no device.
func (s *Session) store(id uint64, done func()) {
	device := s.device()
	if device == nil {
		done()
		return
	}
	s.begin()
	device.Store(func(err error) {
		s.end()
		if err != nil {
			s.fail(id, wireError(err))
			return
		}
		done()
	})
}

// Positions implements Holder.
func (s *Session) Positions() []Position {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ps []Position
	for sub := s.subs; sub != nil; sub = sub.next {
		if p, ok := sub.position(); ok {
			ps = append(ps, p)
		}
	}
	return append(ps, s.aside.parked...)
}

// position is what the record has of a subscription; false: nothing yet.
func (sub *subscription) position() (p Position, ok bool) {
	p = Position{Channel: sub.channel, QoS: sub.qos}
	switch {
	case sub.qos == wire.AtMostOnce:
	case sub.place != nil:
		p.Epoch, p.Seq = sub.place.Acked()
	case sub.from != nil:
		p = *sub.from
	default:
		return p, false
	}
	return p, true
}

// TakenOver implements Holder.
func (s *Session) TakenOver() { s.close(wire.TakenOver) }
