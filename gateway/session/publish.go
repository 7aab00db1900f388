package session

import (
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (s *Session) publish(id uint64, grant *auth.Grant, c *wire.Publish) {
	body, refused := s.content(grant, auth.Publish, c.Channel, c.Data, c.Encoding)
	if refused != nil {
		s.fail(id, refused)
		return
	}
	s.begin()
	p := Publication{Channel: c.Channel, ID: c.ID, From: grant.User, QoS: c.QoS, Body: body}
	s.opt.Broker.Publish(p, func(r wire.PublishReply, err error) { // answering would do, and allocate more
		s.end()
		if err != nil {
			s.fail(id, wireError(err))
			return
		}
		s.reply(id, func(dst []byte) []byte { return wire.AppendPublishReply(dst, id, &r) })
	})
}

// content returns the body of what a client sends, if it may: to a channel, or to a backend's destination.
func (s *Session) content(grant *auth.Grant, op auth.Op, to string, data []byte, e wire.Encoding) ([]byte, *wire.Error) {
	if err := s.allow(grant, op, to); err != nil {
		return nil, err
	}
	body, err := wire.DecodeBody(data, e)
	if err != nil {
		return nil, wireError(err)
	}
	return body, nil
}
