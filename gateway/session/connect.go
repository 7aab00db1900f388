package session

import (
	"errors"

	"github.com/nats-io/nuid"

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
		s.refuse(id, wire.Unauthenticated)
		return
	}
	grant, err := s.opt.Verify(c.Token, s.opt.Now())
	switch {
	case errors.Is(err, auth.ErrExpired):
		s.refuse(id, wire.ExpiredToken)
		return
	case err != nil:
		s.opt.Logger.Info("token refused", "error", err)
		s.refuse(id, wire.BadToken)
		return
	}
	s.mu.Lock()
	s.grant = grant
	s.mu.Unlock()
	s.conn.Establish()
	r := wire.ConnectReply{
		Session:     nuid.Next(),
		User:        grant.User,
		Ping:        s.opt.Ping.Seconds(),
		RetryWindow: s.opt.RetryWindow.Seconds(),
		MaxMessage:  s.opt.MaxMessage,
	}
	if !grant.Expires.IsZero() {
		r.Expires = grant.Expires.UnixMilli()
	}
	s.opt.Logger.Debug("connected", "session", r.Session, "user", grant.User, "client", c.Client)
	s.reply(id, func(dst []byte) []byte { return wire.AppendConnectReply(dst, id, &r) })
}

func (s *Session) refuse(id uint64, code wire.Code) {
	s.fail(id, code.Err())
	s.close(code)
}
