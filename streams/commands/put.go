package commands

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/link"
	"github.com/jetwire/jetwire/streams/origin"
	"github.com/jetwire/jetwire/streams/puback"
	"github.com/jetwire/jetwire/streams/refusal"
	"github.com/jetwire/jetwire/streams/requests"
)

// Command is work for whoever handles the destination.
type Command struct {
	Destination string // has the grammar of channels, which is the caller's to check
	ID          string // the sender's; empty: none
	From        string // who sent it
	Body        []byte
}

// Receipt says that a command is stored.
type Receipt struct {
	Seq        uint64
	Duplicate  bool // a command of the same sender, destination and id was there before: Seq is that one's
	Durability string
}

// Put stores a command. done is called once, from any goroutine, perhaps before Put returns, and must not block. The body may be used
// again when Put has returned.
func (q *Queue) Put(c Command, done func(Receipt, error)) {
	if err := q.mayPut(&c); err != nil {
		q.refused.Add(1)
		done(Receipt{}, err)
		return
	}
	m := &nats.Msg{Subject: SubjectPrefix + c.Destination, Header: headers(c.From, c.ID), Data: append([]byte(nil), c.Body...)}
	if c.ID != "" {
		m.Header[origin.MsgID] = []string{origin.Key(c.From, c.Destination, c.ID)}
	}
	q.conn.Ask(m, q.opts.Timeout, func(m *nats.Msg, err error) {
		if err = failure(err); err != nil {
			q.settle(Receipt{}, err, done)
			return
		}
		q.acknowledged(m, done)
	})
}

// failure maps the errors of package requests to this one's.
func failure(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, requests.ErrClosed):
		return ErrClosed
	case errors.Is(err, requests.ErrNoAnswer):
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// headers say who sent a message.
func headers(from, id string) nats.Header {
	h := nats.Header{origin.From: {origin.Escape(from)}}
	if id != "" {
		h[origin.ID] = []string{origin.Escape(id)}
	}
	return h
}

// mayPut takes a place among the commands in flight.
func (q *Queue) mayPut(c *Command) error {
	if len(c.Body) > q.opts.MaxMessageSize {
		return fmt.Errorf("%w: %d bytes, a command may have %d", ErrTooLarge, len(c.Body), q.opts.MaxMessageSize)
	}
	if q.opts.Fault != nil {
		if err := q.opts.Fault(Stream); err != nil {
			return fmt.Errorf("%w: %w", ErrStoreFull, err)
		}
	}
	if q.inFlight.Add(1) > int64(q.opts.InFlight) {
		q.inFlight.Add(-1)
		return ErrBusy
	}
	return nil
}

// settle answers a command that was in flight.
func (q *Queue) settle(r Receipt, err error, done func(Receipt, error)) {
	q.inFlight.Add(-1)
	switch {
	case err == nil:
		q.stored.Add(1)
	case errors.Is(err, ErrTimeout):
		q.unknown.Add(1)
	default:
		q.refused.Add(1)
	}
	done(r, err)
}

// acknowledged takes JetStream's answer, and waits until what it says is synced.
func (q *Queue) acknowledged(m *nats.Msg, done func(Receipt, error)) {
	if link.NoResponders(m) {
		q.lost()
		q.settle(Receipt{}, fmt.Errorf("%w: the stream %s does not answer", ErrUnavailable, Stream), done)
		return
	}
	r, err := parseAck(m.Data)
	if err != nil || q.opts.Synced == nil || q.opts.Memory {
		r.Durability = q.durability
		q.settle(r, err, done)
		return
	}
	q.work.Add(1)
	q.opts.Synced(func(err error) {
		defer q.work.Done()
		if err != nil {
			q.settle(Receipt{}, fmt.Errorf("%w: %w", ErrTimeout, err), done)
			return
		}
		r.Durability = q.durability
		q.settle(r, nil, done)
	})
}

// parseAck reads what JetStream answers to a command.
func parseAck(data []byte) (Receipt, error) {
	a, err := puback.Parse(data)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return Receipt{}, refusal.Wrap(api, ErrStoreFull, ErrTooLarge, ErrUnavailable)
	}
	if err == nil && string(a.Stream) != Stream {
		err = puback.ErrUnreadable
	}
	if err != nil {
		return Receipt{}, fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return Receipt{Seq: a.Seq, Duplicate: a.Duplicate}, nil
}
