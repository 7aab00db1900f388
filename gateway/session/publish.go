package session

import (
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (s *Session) publish(id uint64, grant *auth.Grant, c *wire.Publish) {
	if err := s.allow(grant, auth.Publish, c.Channel); err != nil {
		s.fail(id, err)
		return
	}
	body, err := wire.DecodeBody(c.Data, c.Encoding)
	if err != nil {
		s.fail(id, wireError(err))
		return
	}
	s.begin()
	p := Publication{Channel: c.Channel, ID: c.ID, From: grant.User, QoS: c.QoS, Body: body}
	s.opt.Broker.Publish(p, func(r wire.PublishReply, err error) {
		s.end()
		if err != nil {
			s.fail(id, wireError(err))
			return
		}
		s.reply(id, func(dst []byte) []byte { return wire.AppendPublishReply(dst, id, &r) })
	})
}
