package gateway

import (
	"errors"

	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/commands"
)

// busyFor is after how many seconds a client may try again where as many commands or calls are under way as may be.
const busyFor = 1

// services brings what sessions send to backends to the queue.
type services struct{ queue *commands.Queue }

var _ session.Backends = services{}

func (b services) Command(t session.Task, done func(wire.TaskReply, error)) {
	destination := t.Destination
	b.queue.Put(commands.Command{Destination: destination, ID: t.ID, From: t.From, Body: t.Body}, func(r commands.Receipt, err error) {
		if err != nil {
			done(wire.TaskReply{}, wireError(err))
			return
		}
		done(wire.TaskReply{Destination: destination, Seq: r.Seq, Duplicate: r.Duplicate, Durability: r.Durability}, nil)
	})
}

func (b services) Call(c session.Call, done func(wire.CallReply, error)) {
	destination := c.Destination
	b.queue.Call(commands.Call{Destination: destination, ID: c.ID, From: c.From, Timeout: c.Timeout, Body: c.Body}, func(answer []byte, err error) {
		if err != nil {
			done(wire.CallReply{}, callError(err))
			return
		}
		done(wire.CallReply{Destination: destination, Body: answer, Encoding: wire.EncodingOf(answer)}, nil)
	})
}

// callError is wireError for calls, which nothing can be sure of that was not answered.
func callError(err error) *wire.Error {
	var refused *commands.Refused
	switch {
	case errors.As(err, &refused):
		return wire.Refused.With(refused.Error())
	case errors.Is(err, commands.ErrTimeout):
		return wire.Timeout.With("the backend did not answer in time; it may have done what it was asked for, or not")
	case errors.Is(err, commands.ErrUnavailable):
		return wire.Unavailable.With("NATS cannot be reached; nobody was asked")
	}
	return wireError(err)
}

// busy says when to come back.
func busy(err error) *wire.Error {
	return wire.RateLimited.With(err.Error()).After(busyFor)
}

// commandOptions completes what the Gateway's options say of commands with what the log knows.
func (g *Gateway) commandOptions() commands.Options {
	o := g.opt.Commands
	o.Connect = g.opt.Streams.Connect
	if g.log.Syncs() && !o.Memory && o.Replicas <= 1 {
		o.Synced = g.log.Synced
	}
	o.Fault = g.opt.Streams.Fault
	o.MaxMessageSize = g.opt.Streams.MaxMessageSize
	o.AllowShrink = g.opt.Streams.AllowShrink
	return o
}
