package session

import (
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Task is a command on its way to a backend. The body is valid until Backends.Command returns.
type Task struct {
	Destination, ID, From string
	Body                  []byte
}

// command stores work for a backend.
func (s *Session) command(id uint64, grant *auth.Grant, c *wire.Task) {
	body, refused := s.forBackend(grant, auth.Command, c.Destination, c.Data, c.Encoding)
	if refused != nil {
		s.fail(id, refused)
		return
	}
	s.begin()
	s.opt.Backends.Command(Task{c.Destination, c.ID, grant.User, body}, func(r wire.TaskReply, err error) {
		s.end()
		if err != nil {
			s.fail(id, wireError(err))
			return
		}
		s.reply(id, func(dst []byte) []byte { return wire.AppendTaskReply(dst, id, &r) })
	})
}

// forBackend returns the body of a command or a call, if the client may send it.
func (s *Session) forBackend(grant *auth.Grant, op auth.Op, destination string, data []byte, e wire.Encoding) ([]byte, *wire.Error) {
	if err := s.allow(grant, op, destination); err != nil {
		return nil, err
	}
	body, err := wire.DecodeBody(data, e)
	if err != nil {
		return nil, wireError(err)
	}
	return body, nil
}
