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
		s.refuse(id, wire.Unauthenticated.Err())
		return
	}
	grant, err := s.opt.Verify(c.Token, s.opt.Now())
	switch {
	case errors.Is(err, auth.ErrExpired):
		s.refuse(id, wire.ExpiredToken.Err())
		return
	case err != nil:
		s.opt.Logger.Info("token refused", "error", err)
		s.refuse(id, wire.BadToken.Err())
		return
	}
	s.Admit(id, grant, c.Client, c.Device)
}

// Admit connects, as connect does, whom somebody else has verified. It is called once at most, in the place of connect.
func (s *Session) Admit(id uint64, grant *auth.Grant, client, device string) {
	session := s.ID()
	s.opt.Logger.Debug("connected", "session", session, "user", grant.User, "client", client, "device", device)
	if device != "" {
		s.take(id, session, device, grant)
		return
	}
	s.mu.Lock()
	s.grant = grant
	s.mu.Unlock()
	s.connected(id, session, grant, nil)
}

// connected answers connect.
func (s *Session) connected(id uint64, session string, grant *auth.Grant, d *wire.Durable) {
	s.conn.Establish()
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
