package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// SubscribeOptions says what to subscribe to and where to hand it. The callbacks of one subscription run one at a time, in order; they may
// take their time and may call the client, except Close.
type SubscribeOptions struct {
	QoS   QoS
	Since *uint64 // hand on what follows this sequence; nil: what is published from now on
	Epoch string  // the epoch that Since belongs to; empty: not known

	// ManualAck leaves the acks of a durable session to the application: Handled and Ack. Otherwise a message counts as handled when
	// OnMessage has returned. At AtLeastOnce, what is not acknowledged within the server's ack_wait is handed on once more, with
	// Message.Redelivered, behind what was handed on meanwhile; at ExactlyOnce, and without ManualAck, nothing is handed on twice.
	ManualAck bool

	OnMessage func(Message)
	OnGap     func(Gap)   // messages are lost, or may be; what follows is behind the gap
	OnError   func(error) // the subscription has ended, and not by Unsubscribe or Close; called last
}

// Position is a place in a channel's log: everything up to Seq was handed on.
type Position struct {
	Epoch string
	Seq   uint64
}

// Subscription is the messages of a channel, or of all channels that match a pattern. It goes on where it was after every reconnect.
type Subscription struct {
	// Fixed after construction.
	c       *Client
	channel string
	qos     wire.QoS
	room    chan struct{} // the queue was emptied
	done    chan struct{} // closed by endLocked
	first   chan struct{} // closed when the first subscribe is accepted

	silenced atomic.Bool // no callback starts any more

	// The place of what was handed on.
	handedMu sync.Mutex
	handed   Position

	o SubscribeOptions // written before deliver runs for the first time

	// Guarded by Client.mu.
	stage      subStage
	err        error    // why it ended
	pos        Position // of what was queued last: where a new subscribe resumes
	known      bool     // pos is set
	repaired   bool     // the subscription was made anew because a message was missing …
	repairedAt uint64   // … behind this sequence
	asks       uint64   // numbers the subscribe commands
	tokens     int      // subscribes in a row that were refused for want of another token
	again      int      // subscribes in a row that the server took for a second one
	later      int      // times in a row that the server ended it for now
	replace    bool     // what the server holds is not what was asked for: unsubscribe before subscribe
	orphan     bool     // restored by the server, and nobody has asked for it: the queue is held
	behind     bool     // in a durable session: what follows pos was dropped, and the server will send it again
	answered   bool     // Subscribe has its answer
	tell       bool     // deliver calls OnError when the queue is empty
	queue      []event
	queueBytes int
	running    bool          // deliver runs
	stalled    time.Duration // how long the reader has waited for room lately
	stalledAt  time.Time     // when it last did

	// Guarded by Client.mu, and of durable sessions: see ack.go.
	acked                 Position // of what the application has handled
	seen, told, confirmed uint64
	askedFrom             uint64    // the since of the last subscribe
	steps                 int       // messages handled since the last ack
	ackedAt               time.Time // when the last ack was sent
	ackOut                bool      // an ack is on its way
	ackTimed              bool      // it is in Client.ackLater
	ackNumber             uint64    // of the subscription's life on the server, so that late answers are told apart
	waiters               []*ackWaiter
	redelivered           uint64 // sequence of the last message queued for the second time
	redeliveries          int    // of these, not handed on yet
}

type subStage uint8

const (
	apart  subStage = iota // the server does not know of it: no connection
	asked                  // subscribe is on its way
	active                 // subscribe was answered
	shed                   // given back to the server because the queue was full; asked for again when it is empty
	gone                   // ended
)

// event is one thing to hand on.
type event struct {
	message Message
	gap     *Gap     // instead of message
	at      Position // behind it
}

// Subscribe asks for the messages of a channel, or of a pattern such as orders.*.status or orders.>, and waits until the server has answered. A refusal
// that says later is tried again until ctx ends. A client has at most one subscription to a channel, and to a pattern; a message that belongs to
// both a channel's and a pattern's is handed to each.
//
// In a durable session, a subscription that the server has restored is taken over: it goes on behind what was acknowledged. With Since, or with a
// QoS that is another, it is replaced.
func (c *Client) Subscribe(ctx context.Context, channel string, o SubscribeOptions) (*Subscription, error) {
	if err := wire.ValidSubscription(channel); err != nil {
		return nil, fmt.Errorf("client: subscribe: %w", err)
	}
	if err := o.QoS.valid(); err != nil {
		return nil, err
	}
	s := c.newSubscription(channel, o)
	if o.Since != nil {
		if s.qos == wire.AtMostOnce {
			return nil, errors.New("client: subscribe: Since needs AtLeastOnce or ExactlyOnce")
		}
		s.pos, s.known = Position{o.Epoch, *o.Since}, true
		s.handed, s.acked = s.pos, s.pos
	}
	c.mu.Lock()
	held := c.subs[channel]
	switch {
	case c.err != nil:
		c.mu.Unlock()
		return nil, c.err
	case c.ctx.Err() != nil:
		c.mu.Unlock()
		return nil, context.Cause(c.ctx)
	case held != nil && held.orphan && o.Since == nil && (o.QoS == Default || s.qos == held.qos):
		held.adoptLocked(o)
		c.mu.Unlock()
		return held, nil
	case held != nil && held.orphan:
		if o.Since == nil && s.qos != wire.AtMostOnce && held.known {
			s.pos, s.known, s.handed, s.acked = held.acked, true, held.acked, held.acked
		}
		s.replace = true
		held.endLocked(ErrUnsubscribed)
	case held != nil:
		c.mu.Unlock()
		return nil, wire.AlreadySubscribed.With("this client has a subscription to " + channel)
	}
	c.subs[channel] = s
	if r := c.unsubscribeLocked(channel); r != nil && r.stage == parked {
		c.requeueLocked(r) // it must come before the subscribe
	}
	if c.conn != nil {
		s.askLocked()
	}
	c.mu.Unlock()
	select {
	case <-s.first:
		return s, nil
	case <-s.done:
		return nil, s.Err()
	case <-ctx.Done():
		c.mu.Lock()
		if durable := c.session.Device != "" && s.asks > 0; durable || s.listensLocked() {
			s.forgetLocked(durable)
		}
		s.endLocked(context.Cause(ctx))
		c.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

func (c *Client) newSubscription(channel string, o SubscribeOptions) *Subscription {
	return &Subscription{
		c: c, channel: channel, o: o, qos: o.QoS.wire(wire.AtLeastOnce),
		room: make(chan struct{}, 1), done: make(chan struct{}), first: make(chan struct{}),
	}
}

// Channel returns the channel's name, or the pattern.
func (s *Subscription) Channel() string { return s.channel }

// Position returns the place of the last message or gap that was handed on: give it to Subscribe later to go on there.
func (s *Subscription) Position() Position {
	s.handedMu.Lock()
	defer s.handedMu.Unlock()
	return s.handed
}

// Done is closed when the subscription has ended; Err then says why.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err returns nil while the subscription lives, ErrUnsubscribed after Unsubscribe, and otherwise what ended it.
func (s *Subscription) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

// Unsubscribe ends the subscription and waits for the server's answer. No callback starts after it returns; one that runs is not waited for,
// so that it may be called from there. In a durable session the server forgets the subscription; without a connection that waits for one, and
// if ctx ends before the answer the server may restore it next time.
func (s *Subscription) Unsubscribe(ctx context.Context) error {
	c := s.c
	r := &request{op: wire.OpUnsubscribe, channel: s.channel}
	ended := r.await(nil)
	c.mu.Lock()
	r.keep = c.session.Device != ""
	r.retry = r.keep
	known := s.listensLocked() || r.keep && s.stage != gone
	s.endLocked(ErrUnsubscribed)
	// Under the same lock, so that a subscribe made anew comes behind it.
	if !known || c.submitLocked(r, s.encodeUnsubscribe) != nil {
		c.mu.Unlock()
		return nil //nolint:nilerr // without a connection the server has no subscription to end
	}
	c.mu.Unlock()
	err := c.wait(ctx, r, ended)
	var refused *wire.Error
	if errors.Is(err, ErrNotConnected) || errors.Is(err, ErrClosed) || errors.As(err, &refused) && refused.Code == wire.NotSubscribed {
		return nil // then the server does not know of it either
	}
	return err
}

func (s *Subscription) encodeUnsubscribe(id uint64) []byte {
	return wire.AppendUnsubscribe(nil, id, &wire.Unsubscribe{Channel: s.channel})
}

// endLocked ends the subscription: it leaves the client's table. If it was the server that ended it, what is queued is handed on before OnError is
// called; otherwise nothing is handed on any more. The caller must hold Client.mu, and in the first case be a goroutine that Close waits for.
func (s *Subscription) endLocked(why error) {
	if s.stage == gone {
		return
	}
	s.stage, s.err, s.orphan = gone, why, false
	s.releaseLocked(why, math.MaxUint64)
	if s.c.subs[s.channel] == s {
		delete(s.c.subs, s.channel)
	}
	close(s.done)
	if !s.answered || errors.Is(why, ErrUnsubscribed) || errors.Is(why, ErrClosed) {
		s.silenced.Store(true)
		s.queue, s.queueBytes = nil, 0
		return
	}
	if s.o.OnError != nil {
		s.tell = true
		s.startLocked()
	}
}

// subsLocked returns the subscriptions in a fixed order. The caller must hold mu.
func (c *Client) subsLocked() []*Subscription {
	subs := make([]*Subscription, 0, len(c.subs))
	for _, s := range c.subs {
		subs = append(subs, s)
	}
	slices.SortFunc(subs, func(a, b *Subscription) int { return cmp.Compare(a.channel, b.channel) })
	return subs
}

// lostLocked is told that the connection is gone. The caller must hold Client.mu.
func (s *Subscription) lostLocked() { s.stage = apart }

// askLocked sends a subscribe from the current position; in a durable session, where it becomes the acknowledged one, from that, and what is known
// already is dropped when it comes again. The caller must hold Client.mu, and there must be a connection. It returns nil if nothing was sent.
func (s *Subscription) askLocked() *request {
	if s.replace {
		s.forgetLocked(false)
	}
	s.asks++
	ask := s.asks
	w := &wire.Subscribe{Channel: s.channel, QoS: s.qos}
	if s.known && s.qos != wire.AtMostOnce {
		from := s.pos
		if s.durableLocked() {
			from, s.askedFrom = s.acked, s.acked.Seq
		}
		w.Since, w.Epoch, w.Resume = from.Seq, from.Epoch, true
	}
	r := &request{op: wire.OpSubscribe, retry: true}
	r.done = func(in *wire.Incoming, err error) { s.replied(ask, in, err) }
	if s.c.submitLocked(r, func(id uint64) []byte { return wire.AppendSubscribe(nil, id, w) }) != nil {
		return nil
	}
	s.stage = asked
	return r
}

// unsubscribeLocked returns an unsubscribe of the channel that waits for its answer, if there is one. The caller must hold Client.mu.
func (c *Client) unsubscribeLocked(channel string) *request {
	for _, r := range c.pending {
		if r.op == wire.OpUnsubscribe && r.channel == channel {
			return r
		}
	}
	return nil
}

// forgetLocked sends an unsubscribe whose answer matters to nobody; keep: on a later connection if there is none. The caller must hold Client.mu.
func (s *Subscription) forgetLocked(keep bool) {
	if keep {
		if r := s.c.unsubscribeLocked(s.channel); r != nil && r.stage != inFlight {
			return // one is enough
		}
	}
	r := &request{op: wire.OpUnsubscribe, channel: s.channel, keep: keep, retry: keep, done: func(*wire.Incoming, error) {}}
	_ = s.c.submitLocked(r, s.encodeUnsubscribe)
}

// replied takes the answer to the subscribe numbered ask. It runs on a goroutine that Close waits for.
func (s *Subscription) replied(ask uint64, in *wire.Incoming, err error) {
	var refused *wire.Error
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if s.stage != asked || s.asks != ask {
		return
	}
	if err == nil {
		s.acceptedLocked(&in.Subscribe)
		return
	}
	if !errors.As(err, &refused) || errors.Is(err, ErrNotConnected) {
		return // the connection is gone: attach asks again
	}
	switch {
	case refused.Code.Comeback() == wire.WithToken && c.o.Token != nil && s.tokens == 0:
		s.tokens++ // the connection is going to be made anew with another token: attach asks again
	case refused.Code == wire.WrongEpoch && s.known && c.conn != nil:
		s.gapLocked(&Gap{Channel: s.channel, Reason: wire.GapEpoch})
		s.askLocked()
	case refused.Code == wire.AlreadySubscribed && s.again < 3 && c.conn != nil: // an unsubscribe of ours was refused
		s.again++
		if !s.replace {
			s.forgetLocked(false)
		}
		s.askLocked()
	default:
		s.endLocked(err)
	}
}

// acceptedLocked takes subscribe's reply. The caller must hold Client.mu.
func (s *Subscription) acceptedLocked(r *wire.SubscribeReply) {
	s.stage, s.tokens, s.again, s.later, s.replace, s.behind = active, 0, 0, 0, false, false
	from := s.askedFrom
	switch {
	case s.qos == wire.AtMostOnce:
		s.pos.Epoch = r.Epoch
		s.nameEpoch(r.Epoch)
	case !s.known:
		s.pos, s.known = Position{r.Epoch, r.Seq}, true
		s.acked, from = s.pos, r.Seq
		s.setHanded(s.pos)
	case s.pos.Epoch == "":
		s.pos.Epoch, s.acked.Epoch = r.Epoch, r.Epoch
		s.nameEpoch(r.Epoch)
	case s.pos.Epoch != r.Epoch:
		s.gapLocked(&Gap{Channel: s.channel, Epoch: r.Epoch, Reason: wire.GapEpoch})
		from = 0
	}
	s.beginAcksLocked(from)
	if !s.orphan {
		s.answerLocked()
	}
}

// answerLocked lets Subscribe return.
func (s *Subscription) answerLocked() {
	if !s.answered {
		s.answered = true
		close(s.first)
	}
}

func (s *Subscription) setHanded(p Position) {
	s.handedMu.Lock()
	s.handed = p
	s.handedMu.Unlock()
}

// nameEpoch fills in the epoch of a position that had none.
func (s *Subscription) nameEpoch(epoch string) {
	s.handedMu.Lock()
	if s.handed.Epoch == "" {
		s.handed.Epoch = epoch
	}
	s.handedMu.Unlock()
}
