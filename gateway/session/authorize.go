package session

import (
	"bytes"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Authorizer is asked what tokens and rules cannot say, once they have said yes.
type Authorizer interface {
	// Known reports whether nobody has to be asked: what user wants is allowed, or with a refusal it is not. It does not block.
	Known(user string, op auth.Op, channel string) (known bool, refusal *wire.Error)
	// Ask calls done once, from any goroutine, perhaps before it returns; nil allows. It does not keep Data.
	Ask(q Question, done func(refusal *wire.Error))
}

// Question is what an Authorizer is asked.
type Question struct {
	User    string
	Op      auth.Op
	Channel string // of a subscription, perhaps a pattern; of a command or call, the destination

	Session, Device string

	Data     []byte // the JSON value of what is sent; nil: nothing is
	Encoding wire.Encoding
}

// question is what is asked about a command; one without Op is not asked about.
func question(c *wire.Command) Question {
	switch c.Op {
	case wire.OpSubscribe:
		return Question{Op: auth.Subscribe, Channel: c.Subscribe.Channel}
	case wire.OpPublish:
		return Question{Op: auth.Publish, Channel: c.Publish.Channel, Data: c.Publish.Data, Encoding: c.Publish.Encoding}
	case wire.OpHistory:
		return Question{Op: auth.History, Channel: c.History.Channel}
	case wire.OpPresence:
		return Question{Op: auth.Presence, Channel: c.Presence.Channel}
	case wire.OpCommand:
		return Question{Op: auth.Command, Channel: c.Task.Destination, Data: c.Task.Data, Encoding: c.Task.Encoding}
	case wire.OpCall:
		return Question{Op: auth.Call, Channel: c.Call.Destination, Data: c.Call.Data, Encoding: c.Call.Encoding}
	}
	return Question{}
}

// authorized reports whether a command may be done now, as far as the Authorizer goes. Otherwise it has been answered, or is done later:
// what comes behind it is held until then.
func (s *Session) authorized(c *wire.Command, grant *auth.Grant) bool {
	if s.opt.Authorizer == nil {
		return true
	}
	q := question(c)
	if q.Op == 0 || s.allow(grant, q.Op, q.Channel) != nil { // the command will be answered with that
		return true
	}
	known, refusal := s.opt.Authorizer.Known(grant.User, q.Op, q.Channel)
	switch {
	case refusal != nil:
		s.fail(c.ID, refusal)
		return false
	case known:
		return true
	}
	s.hold("")
	later := *c
	for _, data := range []*[]byte{&later.Publish.Data, &later.Task.Data, &later.Call.Data} {
		*data = bytes.Clone(*data)
	}
	s.ask(q, grant, func(refusal *wire.Error) {
		if refusal != nil {
			s.fail(later.ID, refusal)
		} else {
			s.resume(&later)
		}
		s.goOn()
	})
	return false
}

// resume does a command that has been allowed, unless the session has ended meanwhile.
func (s *Session) resume(c *wire.Command) {
	s.mu.Lock()
	grant, over := s.grant, s.ending || s.closed
	s.mu.Unlock()
	if !over {
		s.do(c, grant)
	}
}

func (s *Session) ask(q Question, grant *auth.Grant, done func(refusal *wire.Error)) {
	_, device := s.Subscriptions()
	q.User, q.Session, q.Device = grant.User, s.ID(), device
	s.opt.Authorizer.Ask(q, done)
}

// mayRead calls then with nil once the Authorizer allows to subscribe a channel of the device's, which token and rules do.
func (s *Session) mayRead(channel string, grant *auth.Grant, then func(refusal *wire.Error)) {
	if s.opt.Authorizer == nil {
		then(nil)
		return
	}
	if known, refusal := s.opt.Authorizer.Known(grant.User, auth.Subscribe, channel); known {
		then(refusal)
		return
	}
	s.ask(Question{Op: auth.Subscribe, Channel: channel}, grant, then)
}
