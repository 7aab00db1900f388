package session

import (
	"errors"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// connect authenticates the connection. A token that is refused ends it: nothing else could be done with it.
func (s *Session) connect(id uint64, c *wire.Connect) {
	s.mu.Lock()
	again := s.grant != nil
	s.mu.Unlock()
	if again {
		s.fail(id, wire.AlreadyConnected.Err())
		return
	}
	if c.Token == "" {
		s.anonymous(id, c)
		return
	}
	grant, err := s.opt.Verify(c.Token, s.opt.Now())
	device, client := c.Device, c.Client
	if errors.Is(err, auth.ErrLater) {
		s.redeem(c.Token, func(grant *auth.Grant, err error) { s.signIn(id, device, client, grant, err) })
		return
	}
	s.signIn(id, device, client, grant, err)
}

// signIn goes on where the token was checked.
func (s *Session) signIn(id uint64, device, client string, grant *auth.Grant, err error) {
	if err != nil {
		s.refuse(id, s.refusal(err))
		return
	}
	s.Admit(id, grant, client, device)
}

// Admit connects, as connect does, whom somebody else has verified. It is called once at most, in the place of connect.
func (s *Session) Admit(id uint64, grant *auth.Grant, client, device string) {
	session := s.ID()
	s.opt.Logger.Debug("connected", "session", session, "user", grant.User, "client", client, "device", device)
	if device != "" {
		s.take(id, session, device, client, grant)
		return
	}
	if s.admitted(id, grant) {
		s.connected(id, session, client, grant, nil)
		s.goOn()
	}
}

// anonymous connects without a token. The user's name is of this connection, and of no other.
func (s *Session) anonymous(id uint64, c *wire.Connect) {
	switch {
	case !s.opt.Anonymous:
		s.refuse(id, wire.Unauthenticated.Err())
		return
	case c.Device != "":
		s.refuse(id, wire.Unauthenticated.With("a device belongs to a user: connect with a token"))
		return
	}
	grant := &auth.Grant{User: auth.AnonymousPrefix + s.ID(), Anonymous: true, Issued: s.opt.Now().UnixMilli()}
	s.Admit(id, grant, c.Client, "")
}

// redeem checks a token that takes time: what comes meanwhile is held. then is called once, unless the connection has ended; it is to
// call goOn, or to end the connection.
func (s *Session) redeem(token string, then func(*auth.Grant, error)) {
	s.hold("")
	s.opt.Redeem(token, func(grant *auth.Grant, err error) {
		s.mu.Lock()
		over := s.ending || s.closed
		s.mu.Unlock()
		if !over {
			then(grant, err)
		}
	})
}

// refusal is what a client is told of a token that is not good.
func (s *Session) refusal(err error) *wire.Error {
	var already *wire.Error
	switch {
	case errors.As(err, &already):
		return already
	case errors.Is(err, auth.ErrExpired):
		return wire.ExpiredToken.Err()
	case errors.Is(err, auth.ErrRevoked):
		return wire.Revoked.Err()
	case errors.Is(err, auth.ErrUnavailable):
		return wire.Unavailable.With("the token cannot be checked now; try again")
	}
	log := func() { s.opt.Logger.Info("token refused", "error", err) }
	if s.opt.Refusals != nil {
		s.opt.Refusals.Do(log)
	} else {
		log()
	}
	return wire.BadToken.Err()
}

// admitted gives the session its grant. A token that has been revoked since it was checked is refused: whoever ends the
// connections with such tokens may have passed by before.
func (s *Session) admitted(id uint64, grant *auth.Grant) bool {
	s.mu.Lock()
	s.grant, s.warned = grant, false
	s.mu.Unlock()
	if s.opt.Revoked(grant) {
		s.refuse(id, wire.Revoked.Err())
		return false
	}
	return true
}

// connected answers connect.
func (s *Session) connected(id uint64, session, client string, grant *auth.Grant, d *wire.Durable) {
	s.conn.Establish()
	s.entered(session, client, grant, d)
	r := wire.ConnectReply{
		Session:     session,
		User:        grant.User,
		Expires:     grant.Expires,
		Ping:        s.opt.Ping.Seconds(),
		RetryWindow: s.opt.RetryWindow.Seconds(),
		MaxMessage:  s.opt.MaxMessage,
		Durable:     d,
	}
	s.reply(id, func(dst []byte) []byte { return wire.AppendConnectReply(dst, id, &r) })
}

// refuse answers connect with an error, which ends the connection.
func (s *Session) refuse(id uint64, e *wire.Error) {
	if e.Code == wire.BadToken && s.opt.Limiter != nil {
		s.opt.Limiter.Distrust(s.conn)
	}
	s.fail(id, e)
	s.close(e.Code)
}
