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
	body, refused := s.content(grant, auth.Command, c.Destination, c.Data, c.Encoding)
	if refused != nil {
		s.fail(id, refused)
		return
	}
	s.opt.Backends.Command(Task{c.Destination, c.ID, grant.User, body}, answering(s, id, wire.AppendTaskReply))
}
