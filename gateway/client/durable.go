package client

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Restored is a subscription that the server holds for a device, and its position.
type Restored = wire.Restored

// Session is what the server said of a connection.
type Session struct {
	ID   string // the connection's id, for logs
	User string

	// What follows is of durable sessions; Device is empty if it is none.
	Device     string
	Resumed    bool          // the server knew the device; false on its first day, and after the server has forgotten it
	Restored   []Restored    // the subscriptions that go on
	AckWait    time.Duration // without an ack, a subscription's messages are sent again after this time
	MaxUnacked int           // messages of one subscription that wait for their acks
}

func sessionOf(reply *wire.ConnectReply) Session {
	s := Session{ID: reply.Session, User: reply.User}
	if d := reply.Durable; d != nil {
		s.Device, s.Resumed, s.Restored = d.Device, d.Resumed, d.Restored
		s.AckWait, s.MaxUnacked = seconds(d.AckWait), d.MaxUnacked
	}
	return s
}

// Session returns what the server said of the present connection, or of the last one.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.session
	s.Restored = slices.Clone(s.Restored)
	return s
}

// Restored returns the subscriptions of the device that nobody in this process has taken over yet, with the positions they go on from. Subscribe
// takes one over. Until then what comes for them is held, up to the server's max_unacked messages and Options.QueueBytes for each; the rest stays
// with the server, and nothing is acknowledged.
func (c *Client) Restored() []Restored {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Restored
	for _, s := range c.subsLocked() {
		if s.orphan {
			list = append(list, Restored{Channel: s.channel, QoS: s.qos, Epoch: s.acked.Epoch, Since: s.acked.Seq})
		}
	}
	return list
}

// Inbox subscribes to the user's inbox, user.<id>. In a durable session that takes over the subscription that the server has made by itself.
func (c *Client) Inbox(ctx context.Context, o SubscribeOptions) (*Subscription, error) {
	return c.Subscribe(ctx, "user."+c.Session().User, o)
}

// restoreLocked puts the subscriptions in place on a new connection: those that the server has restored go on, the others are asked for again.
// waiting are the unsubscribes that no server has answered. The caller must hold Client.mu.
func (c *Client) restoreLocked(list []Restored, waiting []*request) {
	restored := make(map[string]*Restored, len(list))
	for i := range list {
		restored[list[i].Channel] = &list[i]
	}
	for _, r := range waiting {
		delete(restored, r.channel)
	}
	for _, s := range c.subsLocked() {
		r := restored[s.channel]
		delete(restored, s.channel)
		switch {
		case r != nil && s.agreesLocked(r):
			s.resumeLocked(r)
		case s.orphan:
			s.endLocked(ErrUnsubscribed) // the server has let go of it
		default:
			s.replace = r != nil || s.replace
			s.askLocked()
		}
	}
	for _, r := range slices.SortedFunc(values(restored), func(a, b *Restored) int { return cmp.Compare(a.Channel, b.Channel) }) {
		if wire.ValidSubscription(r.Channel) != nil || r.QoS > wire.ExactlyOnce {
			c.log.Warn("the server restored what is no subscription", "channel", r.Channel)
			continue
		}
		s := c.newSubscription(r.Channel, SubscribeOptions{QoS: QoSOf(r.QoS)})
		s.orphan = true
		c.subs[r.Channel] = s
		s.resumeLocked(r)
	}
}

func values(m map[string]*Restored) func(func(*Restored) bool) {
	return func(yield func(*Restored) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// agreesLocked reports whether what the server has restored is what was asked for. If not, it is replaced.
func (s *Subscription) agreesLocked(r *Restored) bool {
	return r.QoS == s.qos && !s.replace && (s.answered || s.orphan || !s.known)
}

// resumeLocked takes over what the server has restored. What was received before stays queued or handed on: the server sends everything behind r.Since
// again, and received drops what is known.
func (s *Subscription) resumeLocked(r *Restored) {
	s.stage, s.tokens, s.again, s.later, s.behind = active, 0, 0, 0, false
	if s.qos != wire.AtMostOnce {
		at := Position{r.Epoch, r.Since}
		if s.known && s.pos.Epoch == "" {
			s.pos.Epoch, s.acked.Epoch = at.Epoch, at.Epoch
			s.nameEpoch(at.Epoch)
		}
		switch {
		case !s.known:
			s.pos, s.known, s.acked = at, true, at
			s.setHanded(at)
		case s.pos.Epoch != at.Epoch:
			s.gapLocked(&Gap{Channel: s.channel, Epoch: at.Epoch, Reason: wire.GapEpoch})
			s.pos, s.acked = at, at
		case at.Seq > s.pos.Seq: // another connection of this device has acknowledged it meanwhile
			s.pos, s.acked = at, at
		}
		s.beginAcksLocked(at.Seq)
	}
	if !s.orphan {
		s.answerLocked()
	}
}

// adoptLocked gives a restored subscription to the application that asks for its channel.
func (s *Subscription) adoptLocked(o SubscribeOptions) {
	s.o, s.orphan = o, false
	s.answerLocked()
	if len(s.queue) > 0 {
		s.startLocked()
	}
}

// unsubscribed takes the end of a subscription from the reader.
func (c *Client) unsubscribed(cn *conn, u *wire.Unsubscribed) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.subs[u.Channel]
	if s == nil || s.stage != active {
		return
	}
	why := u.Error
	c.log.Warn("the server has ended a subscription", "channel", u.Channel, "code", why.Code.String(), "message", why.Message)
	switch why.Code.Comeback() {
	case wire.Later:
		if r := s.askLocked(); r != nil {
			c.delayLocked(r, retryWait(s.later, seconds(why.RetryAfter)))
		}
		s.later++
		return
	case wire.WithToken:
		if c.o.Token != nil && s.tokens == 0 {
			s.tokens++
			s.stage = apart // attach asks again
			cn.moveLocked(0, errNewToken)
			return
		}
	}
	s.endLocked(&why)
}
