package api

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Times of tokens that TokenRequest does not name, and the longest that it may.
const (
	defaultExpiresIn    = 3600                 // seconds
	maxExpiresIn        = 10 * 365 * 24 * 3600 // seconds
	defaultRedeemWithin = 60                   // seconds
	maxRedeemWithin     = 24 * 3600            // seconds
)

// TokenRequest makes a token with which a client connects. The lists of patterns are the claims of that name: absent, the namespace's
// rules alone decide; empty, nothing is allowed.
type TokenRequest struct {
	User      string   `json:"user"`
	ID        *string  `json:"id,omitzero"`         // the token's own, by which it can be revoked
	ExpiresIn *int     `json:"expires_in,omitzero"` // seconds that it holds, 1 to 315360000; absent: 3600
	Subscribe []string `json:"subscribe,omitzero"`
	Publish   []string `json:"publish,omitzero"`
	History   []string `json:"history,omitzero"`
	Presence  []string `json:"presence,omitzero"`
	Command   []string `json:"command,omitzero"`
	Call      []string `json:"call,omitzero"`
	// OneTime makes a token that connects once, and is no JSON web token. It must be used within RedeemWithin seconds (1 to 86400;
	// absent: 60); the connection that it makes holds for ExpiresIn.
	OneTime      bool `json:"one_time,omitzero"`
	RedeemWithin *int `json:"redeem_within,omitzero"`
}

// TokenReply has the token.
type TokenReply struct {
	Token   string `json:"token"`
	User    string `json:"user"`
	Expires int64  `json:"expires"` // when it expires, or the connection that a one-time token makes: Unix milliseconds
}

func (q *TokenRequest) check() error {
	switch {
	case q.ID != nil && *q.ID == "":
		return wire.BadRequest.With("id must not be empty")
	case q.ExpiresIn != nil && (*q.ExpiresIn < 1 || *q.ExpiresIn > maxExpiresIn):
		return wire.BadRequest.With(fmt.Sprintf("expires_in must be seconds, from 1 to %d", maxExpiresIn))
	case q.RedeemWithin != nil && (*q.RedeemWithin < 1 || *q.RedeemWithin > maxRedeemWithin):
		return wire.BadRequest.With(fmt.Sprintf("redeem_within must be seconds, from 1 to %d", maxRedeemWithin))
	case q.RedeemWithin != nil && !q.OneTime:
		return wire.BadRequest.With("redeem_within needs one_time")
	}
	return nil
}

func (q *TokenRequest) grant(now time.Time) auth.Grant {
	lifetime := defaultExpiresIn
	if q.ExpiresIn != nil {
		lifetime = *q.ExpiresIn
	}
	expires := now.Add(time.Duration(lifetime) * time.Second).Truncate(time.Second) // as tokens say it
	g := auth.Grant{User: q.User, Expires: expires.UnixMilli()}
	if q.ID != nil {
		g.TokenID = *q.ID
	}
	p := auth.Patterns{
		auth.Subscribe: q.Subscribe, auth.Publish: q.Publish, auth.History: q.History,
		auth.Presence: q.Presence, auth.Command: q.Command, auth.Call: q.Call,
	}
	for _, list := range p {
		if list != nil {
			g.Patterns = &p
		}
	}
	return g
}

func (a *API) token(ctx context.Context, c Caller, q *TokenRequest) (TokenReply, error) {
	g := q.grant(time.Now())
	var token string
	var err error
	if q.OneTime {
		within := defaultRedeemWithin
		if q.RedeemWithin != nil {
			within = *q.RedeemWithin
		}
		token, err = a.opt.Tokens.Ticket(ctx, g, time.Duration(within)*time.Second)
	} else {
		token, err = a.opt.Tokens.Sign(g)
	}
	if errors.Is(err, auth.ErrBadToken) {
		why := strings.TrimPrefix(err.Error(), auth.ErrBadToken.Error()+": ")
		return TokenReply{}, wire.BadRequest.With("no such token can be made: " + why)
	}
	if err != nil {
		return TokenReply{}, err
	}
	a.opt.Logger.Info("token made", "key", c.Name, "user", q.User, "id", g.TokenID, "one_time", q.OneTime)
	return TokenReply{Token: token, User: q.User, Expires: g.Expires}, nil
}
