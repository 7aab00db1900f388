package session

import "github.com/jetwire/jetwire/gateway/wire"

// Limiter counts what a client asks for. Its methods do not block.
type Limiter interface {
	// Command counts a command of one who has connected; op is 0 if it could not be read. It returns nil, or why the command is
	// refused; over says that the connection is to end with it.
	Command(c Conn, user string, op wire.Op) (refusal *wire.Error, over bool)
	// Distrust is told that a bad token was shown.
	Distrust(c Conn)
}

// limited counts a command, and reports whether it was refused and answered.
func (s *Session) limited(id uint64, user string, op wire.Op) bool {
	if s.opt.Limiter == nil {
		return false
	}
	refusal, over := s.opt.Limiter.Command(s.conn, user, op)
	if refusal == nil {
		return false
	}
	s.fail(id, refusal)
	if over {
		s.close(refusal.Code)
	}
	return true
}
