package client

import (
	"context"
	"fmt"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Who is subscribed to a channel: the protocol's own types.
type (
	Presence = wire.PresenceReply
	Present  = wire.Present
)

// Presence tells who is subscribed to a channel now, over all gateways; the answer may be about a second old. It is asked again after a lost
// connection and after an error that says later, until ctx ends.
func (c *Client) Presence(ctx context.Context, channel string) (Presence, error) {
	if err := wire.ValidChannel(channel); err != nil {
		return Presence{}, fmt.Errorf("client: presence: %w", err)
	}
	r := &request{op: wire.OpPresence, keep: true, retry: true, slot: true}
	var who Presence
	ask := wire.Presence{Channel: channel}
	err := c.do(ctx, r, func(id uint64) []byte { return wire.AppendPresence(nil, id, &ask) }, func(in *wire.Incoming) { who = in.Presence })
	return who, err
}
