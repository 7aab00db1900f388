package session

import (
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Call is a question to a backend. The body is valid until Backends.Call returns.
type Call struct {
	Destination, ID, From string
	Timeout               time.Duration // 0: where the client names none
	Body                  []byte
}

// call asks a backend.
func (s *Session) call(id uint64, grant *auth.Grant, c *wire.Call) {
	body, refused := s.content(grant, auth.Call, c.Destination, c.Data, c.Encoding)
	if refused != nil {
		s.fail(id, refused)
		return
	}
	timeout := time.Duration(c.Timeout * float64(time.Second))
	s.opt.Backends.Call(Call{c.Destination, c.ID, grant.User, timeout, body}, answering(s, id, wire.AppendCallReply))
}
