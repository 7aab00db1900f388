package session

import (
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (s *Session) history(id uint64, grant *auth.Grant, c wire.History) {
	if err := s.allow(grant, auth.History, c.Channel); err != nil {
		s.fail(id, err)
		return
	}
	s.opt.Broker.History(s.conn, c, answering(s, id, wire.AppendHistoryReply))
}
