package session

import (
	"slices"

	"github.com/jetwire/jetwire/gateway/wire"
)

// What backends may ask of a session. These methods may be called from any goroutine.

// User is whom the session belongs to; empty: nobody has connected yet.
func (s *Session) User() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.grant == nil {
		return ""
	}
	return s.grant.User
}

// Subscribed is one subscription of a session.
type Subscribed struct {
	Channel string // or a pattern
	QoS     wire.QoS
}

// Subscriptions returns what the session is subscribed to, and the device that it holds; empty: none.
func (s *Session) Subscriptions() (list []Subscribed, device string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := s.subs; sub != nil; sub = sub.next {
		list = append(list, Subscribed{sub.channel, sub.qos})
	}
	if s.aside != nil {
		device = s.aside.name
	}
	return list, device
}

// Disconnect ends the connection for good, or asks the client to connect anew.
func (s *Session) Disconnect(reconnect bool) {
	if reconnect {
		s.Drain(0)
		return
	}
	s.close(wire.Disconnected)
}

// Expel ends the subscription of a channel or a pattern, tells the client, and reports false if there is none.
func (s *Session) Expel(channel string) bool {
	gone := wire.Unsubscribed{Channel: channel, Error: *wire.Disconnected.With("a backend has ended this subscription")}
	return s.leave(channel, func(*subscription) {
		s.changed()
		s.send(func(dst []byte) []byte { return wire.AppendUnsubscribedPush(dst, &gone) })
	}) || s.forget(channel)
}

// forget takes a subscription that is not in place out of the device's record.
func (s *Session) forget(channel string) bool {
	s.mu.Lock()
	known := 0
	if s.aside != nil {
		known = len(s.aside.parked)
		s.aside.parked = slices.DeleteFunc(s.aside.parked, func(p Position) bool { return p.Channel == channel })
		known -= len(s.aside.parked)
	}
	s.mu.Unlock()
	if known > 0 {
		s.changed()
	}
	return known > 0
}
