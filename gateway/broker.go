package gateway

import (
	"context"
	"errors"
	"sync"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/unified"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/access"
	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/devices"
)

// broker does what sessions ask for, with the hub and the log.
type broker struct {
	log     *streams.Log
	hub     *hub.Hub
	devices *devices.Store
	strict  func(namespace string) bool // whether slow sockets are closed
	rules   map[string]auth.Rules
	other   auth.Rules
	strange func(namespace string) bool // whether the configuration has no place for it
	page    int
	reading chan struct{} // a place for each history page under way

	ctx  context.Context
	stop context.CancelFunc
	work sync.WaitGroup // history pages
}

var _ session.Broker = (*broker)(nil)

// historyReads is how many history pages are read at a time; more wait.
const historyReads = 128

func newBroker(g *Gateway) *broker {
	b := &broker{
		log: g.log, hub: g.hub, devices: g.devices, strict: g.opt.closesSlow, rules: g.opt.Rules, other: g.opt.DefaultRules, strange: g.opt.strange,
		page: g.opt.Limits.HistoryPage, reading: make(chan struct{}, historyReads),
	}
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b
}

// close ends the pages under way and waits for them.
func (b *broker) close() {
	b.stop()
	b.work.Wait()
}

func (b *broker) Rules(channel string) (auth.Rules, error) {
	ns := wire.Namespace(channel)
	if r, ok := b.rules[ns]; ok {
		return r, nil
	}
	switch {
	case ns == "user":
		return auth.UserRules, nil
	case ns == unified.Namespace:
		return unified.Rules, nil
	case b.strange(ns):
		return auth.Rules{}, wire.UnknownNamespace.Err()
	}
	return b.other, nil
}

// place is a cursor as a session sees it.
type place hub.Cursor

func (p *place) cursor() *hub.Cursor               { return (*hub.Cursor)(p) }
func (p *place) Acked() (epoch string, seq uint64) { return p.cursor().Acked() }
func (p *place) Drained()                          { p.cursor().Drained() }
func (p *place) Cancel()                           { p.cursor().Cancel() }

func (p *place) Ack(epoch string, seq uint64) error {
	if err := p.cursor().Ack(epoch, seq); err != nil {
		return wireError(err)
	}
	return nil
}

func (b *broker) Subscribe(c session.Conn, r session.Request, attached func(wire.SubscribeReply), done func(session.Subscription, error)) {
	sink := c.(member).sink()
	b.log.With(r.Channel, func(s *streams.Stream, err error) {
		if err != nil {
			done(nil, wireError(err))
			return
		}
		cursor := b.hub.Subscribe(hub.Request{
			Channel: r.Channel, Log: s, Sink: sink,
			Lossy: r.QoS == wire.AtMostOnce, Strict: b.strict(s.Namespace()), Acked: r.Acked, Held: r.Held,
			Resume: r.Resume, Since: r.Since, Epoch: r.Epoch,
		}, func(epoch string, head uint64) {
			attached(wire.SubscribeReply{Channel: r.Channel, Epoch: epoch, Seq: head, QoS: r.QoS})
		})
		done((*place)(cursor), nil)
	})
}

// stream opens the stream of a channel, and waits until that is done.
func (b *broker) stream(ctx context.Context, channel string) (*streams.Stream, error) {
	s, err := await(ctx, func(done func(*streams.Stream, error)) { b.log.With(channel, done) })
	if err != nil {
		return nil, wireError(err)
	}
	return s, nil
}

// await waits for what begin begins, which calls done once; what done is called with behind ctx's end is lost.
func await[R any](ctx context.Context, begin func(done func(R, error))) (r R, err error) {
	type outcome struct {
		r   R
		err error
	}
	ended := make(chan outcome, 1)
	begin(func(r R, err error) { ended <- outcome{r, err} })
	select {
	case o := <-ended:
		return o.r, o.err
	case <-ctx.Done():
		return r, wire.Timeout.Err()
	}
}

func (b *broker) Publish(p session.Publication, done func(wire.PublishReply, error)) {
	channel := p.Channel
	b.log.Publish(streams.Publication{Channel: channel, ID: p.ID, From: p.From, QoS: uint8(p.QoS), Body: p.Body},
		func(a streams.Ack, err error) {
			if err != nil {
				done(wire.PublishReply{}, wireError(err))
				return
			}
			r := wire.PublishReply{Channel: channel, Seq: a.Seq, Duplicate: a.Duplicate, Durability: a.Durability}
			if a.Seq != 0 {
				r.Epoch = a.Epoch
			}
			done(r, nil)
		})
}

// wireErrors maps the log's errors to codes; the first that matches counts.
var wireErrors = []struct {
	err  error
	code wire.Code
	// detail: the error's own text is for the client, too
	detail bool
}{
	{streams.ErrBadChannel, wire.BadChannel, true},
	{streams.ErrUnknownNamespace, wire.UnknownNamespace, false},
	{streams.ErrTooManyNamespaces, wire.TooManyNamespaces, false},
	{streams.ErrTooLarge, wire.TooLarge, true},
	{streams.ErrBadPublication, wire.BadRequest, true},
	{streams.ErrStoreFull, wire.StoreFull, false},
	{streams.ErrWrongEpoch, wire.WrongEpoch, false},
	{streams.ErrTimeout, wire.Timeout, false},
	{context.DeadlineExceeded, wire.Timeout, false},
	{streams.ErrUnavailable, wire.Unavailable, false},
	{streams.ErrClosed, wire.Unavailable, false},
	{hub.ErrAckAhead, wire.AckAhead, false},
	{hub.ErrAckBehind, wire.AckBehind, false},
	{hub.ErrWrongEpoch, wire.WrongEpoch, false},
	{hub.ErrNoAcks, wire.BadRequest, true},
	{commands.ErrTooLarge, wire.TooLarge, true},
	{commands.ErrStoreFull, wire.StoreFull, false},
	{commands.ErrTimeout, wire.Timeout, false},
	{commands.ErrUnavailable, wire.Unavailable, false},
	{commands.ErrClosed, wire.Unavailable, false},
	{commands.ErrNoService, wire.NoService, false},
	{devices.ErrTaken, wire.TakenOver, false},
	{devices.ErrInvalid, wire.BadRequest, true},
	{devices.ErrTooLarge, wire.TooManySubscriptions, true},
	{devices.ErrUnavailable, wire.Unavailable, false},
	{devices.ErrClosed, wire.Unavailable, false},
	{access.ErrUnavailable, wire.Unavailable, false},
	{access.ErrFull, wire.Unavailable, false},
	{access.ErrInvalid, wire.BadToken, false},
	{access.ErrBadRequest, wire.BadRequest, true},
	{context.Canceled, wire.Unavailable, false},
}

// wireError is the one place where the log's errors become codes.
func wireError(err error) *wire.Error {
	var already *wire.Error
	if errors.As(err, &already) {
		return already
	}
	if errors.Is(err, commands.ErrBusy) {
		return busy(err)
	}
	for _, e := range wireErrors {
		if errors.Is(err, e.err) {
			if e.detail {
				return e.code.With(err.Error())
			}
			return e.code.Err()
		}
	}
	return wire.Internal.Err()
}
