package client

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/jetwire/jetwire/gateway/wire"
)

// The protocol's own types.
type (
	HistoryRequest = wire.History
	HistoryPage    = wire.HistoryReply
)

// History reads one page of a channel's log. If there is more, the page's Next is the Cursor of the next request. It is asked again after a lost
// connection and after an error that says later, until ctx ends.
func (c *Client) History(ctx context.Context, h HistoryRequest) (HistoryPage, error) {
	if err := wire.ValidChannel(h.Channel); err != nil {
		return HistoryPage{}, fmt.Errorf("client: history: %w", err)
	}
	r := &request{op: wire.OpHistory, keep: true, retry: true, slot: true}
	var page HistoryPage
	err := c.do(ctx, r, func(id uint64) []byte { return wire.AppendHistory(nil, id, &h) }, func(in *wire.Incoming) {
		page = in.History
		for i := range page.Messages { // their bodies alias the frame
			page.Messages[i].Body = slices.Clone(page.Messages[i].Body)
		}
	})
	return page, err
}

// HistoryAll reads page after page, asking for the next one when the one before is used up. With Last it yields the oldest first, and so reads all
// pages before. Where the log no longer holds a part of what was asked for it yields a *LostError and goes on; any other error is the last
// thing it yields.
func (c *Client) HistoryAll(ctx context.Context, h HistoryRequest) iter.Seq2[Message, error] {
	return func(yield func(Message, error) bool) {
		var held []HistoryPage // of a walk that leads back although each page leads forward
		for page, err := range c.historyPages(ctx, h) {
			switch {
			case err != nil:
				yield(Message{}, err)
				return
			case h.Last > 0:
				held = append(held, page)
			case !yieldPage(&page, yield):
				return
			}
		}
		for _, page := range slices.Backward(held) {
			if !yieldPage(&page, yield) {
				return
			}
		}
	}
}

func (c *Client) historyPages(ctx context.Context, h HistoryRequest) iter.Seq2[HistoryPage, error] {
	return func(yield func(HistoryPage, error) bool) {
		for {
			page, err := c.History(ctx, h)
			if !yield(page, err) || err != nil || page.Next == "" {
				return
			}
			h = HistoryRequest{Channel: h.Channel, Cursor: page.Next, Limit: h.Limit}
		}
	}
}

func yieldPage(page *HistoryPage, yield func(Message, error) bool) bool {
	if page.Lost != nil && !yield(Message{}, &LostError{Channel: page.Channel, From: page.Lost.From, To: page.Lost.To}) {
		return false
	}
	for i := range page.Messages {
		if !yield(page.Messages[i], nil) {
			return false
		}
	}
	return true
}
