package session

import (
	"errors"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// renew gives the connection a new token of the same user. One that is refused leaves things as they are.
func (s *Session) renew(id uint64, c *wire.Renew) {
	grant, err := s.opt.Verify(c.Token, s.opt.Now())
	if errors.Is(err, auth.ErrLater) {
		s.redeem(c.Token, func(grant *auth.Grant, err error) {
			s.renewed(id, grant, err)
			s.goOn()
		})
		return
	}
	s.renewed(id, grant, err)
}

// renewed goes on where the token was checked.
func (s *Session) renewed(id uint64, grant *auth.Grant, err error) {
	if err != nil {
		s.fail(id, s.refusal(err))
		return
	}
	s.mu.Lock()
	user := s.grant.User
	s.mu.Unlock()
	if grant.User != user {
		s.fail(id, wire.PermissionDenied.With("the token is another user's: connect anew with it"))
		return
	}
	if s.admitted(id, grant) {
		s.reply(id, func(dst []byte) []byte {
			return wire.AppendRenewReply(dst, id, &wire.RenewReply{Expires: grant.Expires})
		})
		s.restrict(grant)
	}
}

// restrict ends the subscriptions that a new token does not allow. In a durable session they stay in the record: a token to come may
// allow them again.
func (s *Session) restrict(grant *auth.Grant) {
	subs, _ := s.Subscriptions()
	for _, sub := range subs {
		denied := s.allow(grant, auth.Subscribe, sub.Channel)
		if denied == nil {
			continue
		}
		s.leave(sub.Channel, func(left *subscription) {
			s.keep(left)
			s.changed()
			s.send(func(dst []byte) []byte {
				return wire.AppendUnsubscribedPush(dst, &wire.Unsubscribed{Channel: left.channel, Error: *denied})
			})
		})
	}
}

// keep parks the position of a subscription that was taken out; no more than there may be subscriptions.
func (s *Session) keep(sub *subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.aside == nil || s.aside.name == "" || len(s.aside.parked) >= s.opt.MaxSubscriptions {
		return
	}
	if p, ok := sub.position(); ok {
		s.aside.parked = append(s.aside.parked, p)
	}
}
