package session

import "bytes"

// aside is what few sessions have: those with a device, and those that wait for something before they go on.
type aside struct {
	waits    bool     // for a token to be checked, or a device to be taken: nothing is done until then
	draining bool     // what was held is being done; what comes has to wait
	held     [][]byte // bounded by what the connection had read when it was told to read no more

	name   string     // of the device; empty: there is none
	device Device     // nil until it is taken
	parked []Position // which the token does not allow, or which could not be restored for now: they stay in the record
}

// hold keeps what comes behind the command in hand as it is, until goOn. If it is a device that is waited for, it has a name.
func (s *Session) hold(device string) {
	s.mu.Lock()
	if s.aside == nil {
		s.aside = &aside{}
	}
	s.aside.waits = true
	if device != "" {
		s.aside.name = device
	}
	s.mu.Unlock()
	s.conn.SetReading(false)
}

// holdsLocked says whether what comes is held.
func (s *Session) holdsLocked() bool { return s.aside != nil && (s.aside.waits || s.aside.draining) }

// goOn does the commands that were held, if any were, and lets new ones come. If it ends what one of them has begun, whoever does
// them goes on.
func (s *Session) goOn() {
	s.mu.Lock()
	a := s.aside
	if a == nil || !a.waits {
		s.mu.Unlock()
		return
	}
	a.waits = false
	inside := a.draining
	a.draining = true
	s.mu.Unlock()
	for !inside {
		s.mu.Lock()
		over := s.ending || s.closed
		if len(a.held) == 0 || over || a.waits {
			a.draining = false
			if over {
				a.held = nil
			}
			if !a.waits {
				if a.name == "" {
					s.aside = nil
				}
				if int(s.inFlight) < s.opt.MaxInFlight {
					s.conn.SetReading(true)
				}
			}
			s.mu.Unlock()
			return
		}
		next := a.held[0]
		a.held = a.held[1:]
		s.mu.Unlock()
		s.commands(next, true)
	}
}

// over reports whether no more commands of a message are to be done: what is left of it waits its turn, or the session ends. held
// says that the message has waited before.
func (s *Session) over(rest []byte, held bool) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch a := s.aside; {
	case a == nil:
	case held && a.waits:
		a.held = append([][]byte{bytes.Clone(rest)}, a.held...)
		return true
	case !held && (a.waits || a.draining):
		a.held = append(a.held, bytes.Clone(rest))
		return true
	}
	return s.ending || s.closed
}
