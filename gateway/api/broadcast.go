package api

import (
	"context"
	"errors"
	"strconv"

	"github.com/jetwire/jetwire/gateway/wire"
)

// BroadcastRequest publishes one message to many channels.
type BroadcastRequest struct {
	Channels []string `json:"channels"` // 1 to MaxChannels, none twice
	Message
}

// BroadcastReply has one result for each channel, in the order of the request.
type BroadcastReply struct {
	Results []BroadcastResult `json:"results"`
}

// BroadcastResult is a publish reply, or the error in its place.
type BroadcastResult struct {
	Channel    string      `json:"channel"`
	Seq        uint64      `json:"seq,omitzero"`
	Epoch      string      `json:"epoch,omitzero"`
	Duplicate  *bool       `json:"duplicate,omitzero"`
	Durability string      `json:"durability,omitzero"`
	Error      *wire.Error `json:"error,omitzero"`
}

func (q *BroadcastRequest) check() error {
	if len(q.Channels) == 0 || len(q.Channels) > MaxChannels {
		return wire.BadRequest.With("channels: 1 to " + strconv.Itoa(MaxChannels) + " are needed")
	}
	seen := make(map[string]bool, len(q.Channels))
	for i, channel := range q.Channels {
		if err := wire.ValidChannel(channel); err != nil {
			var e *wire.Error
			errors.As(err, &e)
			return e.Code.With("channels." + strconv.Itoa(i) + ": " + e.Message)
		}
		if seen[channel] {
			return wire.BadRequest.With("channels." + strconv.Itoa(i) + " is there twice")
		}
		seen[channel] = true
	}
	return nil
}

func (a *API) broadcast(ctx context.Context, _ Caller, q *BroadcastRequest) func() (BroadcastReply, error) {
	if _, err := q.publication(); err != nil { // it would be refused for every channel
		return failed[BroadcastReply](err)
	}
	waits := make([]func() (wire.PublishReply, error), len(q.Channels))
	for i, channel := range q.Channels {
		waits[i] = a.publishTo(ctx, channel, &q.Message)
	}
	return func() (BroadcastReply, error) {
		var all BroadcastReply
		for i, wait := range waits {
			result := BroadcastResult{Channel: q.Channels[i]}
			if r, err := wait(); err != nil {
				result.Error = a.refusal("broadcast", err)
			} else {
				result.Seq, result.Epoch, result.Duplicate, result.Durability = r.Seq, r.Epoch, &r.Duplicate, r.Durability
			}
			all.Results = append(all.Results, result)
		}
		return all, nil
	}
}
