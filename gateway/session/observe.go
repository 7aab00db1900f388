package session

import (
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Observer is told what becomes of sessions, of each in the order in which it happens: first Connected, last that its connection has been
// closed, which is not told here. Its methods are called while a session is locked: they do not wait, and do not call the session.
type Observer interface {
	Connected(c Conn, session, user, device, client string)
	Subscribed(c Conn, channel string)   // the subscription, to a channel or pattern, is in place
	Unsubscribed(c Conn, channel string) // it no longer is; not told of those that end with the connection
}

// entered is called when the session has connected.
func (s *Session) entered(session, client string, grant *auth.Grant, d *wire.Durable) {
	o := s.opt.Observer
	if o == nil {
		return
	}
	device := ""
	if d != nil {
		device = d.Device
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		o.Connected(s.conn, session, grant.User, device, client)
	}
}

// inPlaceLocked is called when a subscription has its place and may send.
func (s *Session) inPlaceLocked(sub *subscription) {
	if o := s.opt.Observer; o != nil && !sub.ended {
		o.Subscribed(s.conn, sub.channel)
	}
}

// takenOutLocked is called when a subscription is no longer the session's.
func (s *Session) takenOutLocked(sub *subscription) {
	if o := s.opt.Observer; o != nil && sub.place != nil && !sub.held {
		o.Unsubscribed(s.conn, sub.channel)
	}
}
