package session

import (
	"math"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Drained is called when the connection has room again for what a subscription could not send.
func (s *Session) Drained() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sub := s.subs; sub != nil; sub = sub.next {
		if sub.place != nil && !sub.held {
			sub.place.Drained()
		}
	}
}

// Beat is called about once in a ping interval. A token that has expired is announced, and an interval later the
// connection is closed.
func (s *Session) Beat() {
	s.mu.Lock()
	expired := s.grant != nil && s.grant.Expired(s.opt.Now())
	warned := s.warned
	s.warned = expired
	s.mu.Unlock()
	switch {
	case expired && warned:
		s.close(wire.ExpiredToken)
	case expired:
		s.send(func(dst []byte) []byte { return wire.AppendExpiredPush(dst, s.opt.Ping.Seconds()) })
	}
}

// CheckRevoked ends the connection if its token holds no longer.
func (s *Session) CheckRevoked() {
	s.mu.Lock()
	grant := s.grant
	s.mu.Unlock()
	if grant != nil && s.opt.Revoked(grant) {
		s.close(wire.Revoked)
	}
}

// Drain asks the client to come back after a while, to this server or another, and closes the connection.
func (s *Session) Drain(after time.Duration) {
	seconds := math.Round(after.Seconds()*1000) / 1000
	s.send(func(dst []byte) []byte { return wire.AppendReconnectPush(dst, seconds, wire.Draining.String()) })
	s.close(wire.Draining)
}

// Closed ends the session with its connection.
func (s *Session) Closed() {
	s.mu.Lock()
	var places []Subscription
	for sub := s.subs; sub != nil; sub = sub.next {
		sub.ended = true
		if sub.place != nil {
			places = append(places, sub.place)
		}
	}
	a := s.aside
	if a == nil || a.name == "" {
		s.subs = nil // otherwise the record is still to be written
	}
	s.closed = true
	s.mu.Unlock()
	for _, place := range places {
		place.Cancel()
	}
	if a != nil && a.device != nil {
		a.device.Release()
	}
}
