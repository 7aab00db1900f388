package api

import (
	"context"
	"math"

	"github.com/jetwire/jetwire/gateway/wire"
)

// HistoryRequest asks for a page of a channel's past. Its fields are those of the WebSocket protocol's command.
type HistoryRequest struct {
	Channel   string  `json:"channel"`
	Last      *int    `json:"last,omitzero"`
	Since     *uint64 `json:"since,omitzero"`
	Until     *uint64 `json:"until,omitzero"`
	SinceTime *int64  `json:"since_time,omitzero"` // Unix milliseconds
	Limit     *int    `json:"limit,omitzero"`
	Order     string  `json:"order,omitzero"` // oldest or newest
	Epoch     string  `json:"epoch,omitzero"`
	Cursor    string  `json:"cursor,omitzero"`
}

// HistoryReply is a page of a channel's past, as the WebSocket protocol has it.
type HistoryReply struct{ wire.HistoryReply }

func (q *HistoryRequest) check() error {
	bounds := q.Since != nil || q.Until != nil || q.SinceTime != nil || q.Order != ""
	bad := wire.BadRequest.With
	switch {
	case q.Last != nil && (*q.Last < 1 || *q.Last > math.MaxInt32):
		return bad("last must be an integer from 1 to 2147483647")
	case q.Limit != nil && (*q.Limit < 1 || *q.Limit > math.MaxInt32):
		return bad("limit must be an integer from 1 to 2147483647")
	case q.Until != nil && *q.Until == 0:
		return bad("until must be at least 1")
	case q.SinceTime != nil && (*q.SinceTime < 0 || *q.SinceTime > wire.MaxTime):
		return bad("since_time must be Unix milliseconds, at most 9223372036854")
	case q.Order != "" && q.Order != "oldest" && q.Order != "newest":
		return bad(`order must be "oldest" or "newest"`)
	case len(q.Epoch) > wire.MaxEpoch:
		return bad("epoch is longer than 32 bytes")
	case len(q.Cursor) > wire.MaxCursor:
		return bad("cursor is longer than 512 bytes")
	case q.Last != nil && (bounds || q.Limit != nil):
		return bad("last excludes since, until, since_time, limit and order")
	case q.Cursor != "" && (bounds || q.Last != nil || q.Epoch != ""):
		return bad("cursor excludes every other field but channel and limit")
	}
	return wire.ValidChannel(q.Channel)
}

func (a *API) history(ctx context.Context, _ Caller, q *HistoryRequest) (HistoryReply, error) {
	r, err := a.opt.Log.History(ctx, wire.History{
		Channel: q.Channel, Last: value(q.Last), Since: value(q.Since), Until: value(q.Until), SinceTime: value(q.SinceTime),
		Limit: value(q.Limit), Newest: q.Order == "newest", Epoch: q.Epoch, Cursor: q.Cursor,
	})
	return HistoryReply{r}, err
}

// value is what a field holds; 0: it is absent.
func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// appendJSON implements appender.
func (r HistoryReply) appendJSON(dst []byte) ([]byte, error) {
	return wire.AppendHistoryPage(dst, &r.HistoryReply), nil
}
