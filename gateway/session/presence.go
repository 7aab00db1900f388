package session

import (
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (s *Session) presence(id uint64, grant *auth.Grant, c *wire.Presence) {
	if err := s.allow(grant, auth.Presence, c.Channel); err != nil {
		s.fail(id, err)
		return
	}
	s.begin()
	s.opt.Presence(c.Channel, func(r wire.PresenceReply, err error) {
		s.end()
		if err != nil {
			s.fail(id, wireError(err))
			return
		}
		s.reply(id, func(dst []byte) []byte { return wire.AppendPresenceReply(dst, id, &r) })
	})
}
