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
	s.opt.Presence(c.Channel, answering(s, id, wire.AppendPresenceReply))
}
