package api

import (
	"context"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// RevokeRequest takes tokens back on every gateway: one by its id, or those of a user. Connections that were made with them end.
type RevokeRequest struct {
	Token  string `json:"token_id,omitzero"` // its own id (claim jti), not the token
	User   string `json:"user,omitzero"`
	Before int64  `json:"before,omitzero"` // Unix milliseconds: the user's tokens that were issued before it; absent: before now
	Ban    bool   `json:"ban,omitzero"`    // of the user's tokens those to come as well, in the place of before
	Until  int64  `json:"until,omitzero"`  // Unix milliseconds: when it may be forgotten; absent: after the server's longest time
}

// RevokeReply says since when the tokens are refused.
type RevokeReply struct {
	Revoked int64 `json:"revoked"` // Unix milliseconds
}

// Revocation is what Tokens.Revoke is asked for.
type Revocation struct {
	TokenID, User string    // one of them
	Before        time.Time // zero: all of the user's tokens, those to come as well
	Until         time.Time // zero: the server's longest time
}

func (q *RevokeRequest) check() error {
	bad := wire.BadRequest.With
	switch {
	case (q.Token == "") == (q.User == ""):
		return bad("name either a token_id or a user")
	case q.Token != "" && (q.Before != 0 || q.Ban):
		return bad("before and ban are for a user's tokens")
	case q.Before != 0 && q.Ban:
		return bad("before and ban exclude each other")
	case q.Before < 0 || q.Before > wire.MaxTime:
		return bad("before must be Unix milliseconds, at most 9223372036854")
	case q.Until < 0 || q.Until > wire.MaxTime:
		return bad("until must be Unix milliseconds, at most 9223372036854")
	case len(q.Token) > maxTokenID:
		return bad("token_id is longer than 128 bytes")
	case q.User != "":
		return checkUser(q.User)
	}
	return nil
}

// maxTokenID bounds the length of a token's id in bytes.
const maxTokenID = 128

func (a *API) revoke(ctx context.Context, c Caller, q *RevokeRequest) (RevokeReply, error) {
	now := time.Now()
	r := Revocation{TokenID: q.Token, User: q.User}
	switch {
	case q.Before != 0:
		r.Before = time.UnixMilli(q.Before)
	case q.User != "" && !q.Ban:
		r.Before = now
	}
	if q.Until != 0 {
		r.Until = time.UnixMilli(q.Until)
	}
	a.opt.Logger.Info("revoke", "key", c.Name, "user", q.User, "token_id", q.Token, "before", r.Before, "until", r.Until)
	return RevokeReply{now.UnixMilli()}, a.opt.Tokens.Revoke(ctx, r)
}
