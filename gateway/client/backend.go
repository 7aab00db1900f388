package client

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// CommandReply says that a command is stored.
type CommandReply = wire.TaskReply

// CommandOptions says how to send a command.
type CommandOptions struct {
	// ID names the command among those that this user sends to the destination; one is made here if it is empty.
	ID string
}

// Command sends work to the backends of a destination and waits until the server has stored it. What becomes of it then, the answer
// does not tell. body is any bytes; JSON travels as it is.
//
// It is sent again after a lost connection and after an error that says later, as Publish is with an id, and stored once. If the outcome
// stays unknown, the error wraps ErrOutcomeUnknown.
func (c *Client) Command(ctx context.Context, destination string, body []byte, o CommandOptions) (CommandReply, error) {
	if err := wire.ValidDestination(destination); err != nil {
		return CommandReply{}, fmt.Errorf("client: command: %w", err)
	}
	if o.ID == "" {
		o.ID = c.newMessageID()
	}
	if err := wire.ValidID(o.ID); err != nil {
		return CommandReply{}, fmt.Errorf("client: command: %w", err)
	}
	t := &wire.Task{Destination: destination, ID: o.ID}
	r := &request{op: wire.OpCommand, keep: true, retry: true, slot: true}
	encode := func(id uint64) []byte {
		return wire.AppendTaskBody(make([]byte, 0, len(body)+len(destination)+len(o.ID)+72), id, t, body)
	}
	var reply CommandReply
	err := c.do(ctx, r, encode, func(in *wire.Incoming) { reply = in.Task })
	return reply, err
}

// CallOptions says how to call.
type CallOptions struct {
	ID      string        // handed on to the backend; optional
	Timeout time.Duration // how long the backend may take; 0: until the context ends, or the server's default
}

// Call asks the backends of a destination and returns the body of the answer. It is sent once: ErrNotConnected says that it was not,
// ErrOutcomeUnknown that it was and that no answer came, and a *wire.Error what the server answered. Of these, the code no_service means that
// nobody serves the destination, rate_limited that too many calls are under way, and refused that the backend does not want to; its
// message is the backend's.
func (c *Client) Call(ctx context.Context, destination string, body []byte, o CallOptions) ([]byte, error) {
	if err := wire.ValidDestination(destination); err != nil {
		return nil, fmt.Errorf("client: call: %w", err)
	}
	if o.ID != "" {
		if err := wire.ValidID(o.ID); err != nil {
			return nil, fmt.Errorf("client: call: %w", err)
		}
	}
	if deadline, ok := ctx.Deadline(); ok && o.Timeout <= 0 {
		o.Timeout = max(time.Until(deadline), time.Millisecond)
	}
	o.Timeout = min(o.Timeout, wire.MaxCallTimeout*time.Second)
	q := &wire.Call{Destination: destination, ID: o.ID, Timeout: o.Timeout.Seconds()}
	r := &request{op: wire.OpCall, slot: true, patience: o.Timeout}
	encode := func(id uint64) []byte {
		return wire.AppendCallBody(make([]byte, 0, len(body)+len(destination)+len(o.ID)+96), id, q, body)
	}
	var answer []byte
	err := c.do(ctx, r, encode, func(in *wire.Incoming) { answer = slices.Clone(in.Call.Body) }) // which aliases the frame
	return answer, err
}
