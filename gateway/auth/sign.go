package auth

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Signer makes tokens with HMAC-SHA256.
type Signer struct {
	Secret           []byte // at least MinSecret bytes
	Issuer, Audience string // of every token; empty: none
}

// Sign makes a token for a grant. Patterns may hold {user}; they must come within the grammar once it is filled in. It fails with
// ErrWeakSecret, or with ErrBadToken for what Verify would refuse.
func (s *Signer) Sign(g Grant) (string, error) {
	if len(s.Secret) < MinSecret {
		return "", ErrWeakSecret
	}
	c, err := claimsOf(&g, time.Now())
	if err != nil {
		return "", err
	}
	c.Issuer = s.Issuer
	if s.Audience != "" {
		c.Audience = []string{s.Audience}
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(s.Secret)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(token) > wire.MaxToken {
		return "", bad("it is too long: name fewer patterns")
	}
	return token, nil
}

// Sign makes a token as a Signer with that secret does.
func Sign(secret []byte, g Grant) (string, error) { return (&Signer{Secret: secret}).Sign(g) }

// claimsOf returns the claims of a token that is issued now for a grant.
func claimsOf(g *Grant, now time.Time) (*claims, error) {
	c := &claims{Subject: g.User, ID: g.TokenID, IssuedAt: instant{now}}
	if g.Expires != 0 {
		c.Expires = instant{time.UnixMilli(g.Expires)}
	}
	if g.Patterns != nil {
		c.Patterns, c.patterned = *g.Patterns, true
	}
	check := *c
	for op, list := range c.Patterns {
		check.Patterns[op] = slices.Clone(list)
	}
	check.Expires = instant{}
	_, err := check.grant(now, &claimRules{})
	return c, err
}

// EncodeGrant returns the claims of a token for a grant, issued now, without a signature: for stores that nobody else writes to.
// Like Sign it refuses what Verify would.
func EncodeGrant(g Grant) ([]byte, error) {
	c, err := claimsOf(&g, time.Now())
	if err != nil {
		return nil, err
	}
	return c.MarshalJSON()
}

// DecodeGrant reads what EncodeGrant returned. Its errors are Verify's.
func DecodeGrant(text []byte, now time.Time) (*Grant, error) {
	var c claims
	if err := c.read(text); err != nil {
		return nil, err
	}
	return c.grant(now, &claimRules{})
}

// MarshalJSON writes what read reads: when it was issued to the millisecond, so that a token which follows a revocation in the same
// second is told from those before it, when it expires in whole seconds, rounded down, and of the patterns the lists that are not nil.
func (c *claims) MarshalJSON() ([]byte, error) {
	m := map[string]any{"sub": c.Subject, "iat": float64(c.IssuedAt.UnixMilli()) / 1000}
	if !c.Expires.IsZero() {
		m["exp"] = c.Expires.Unix()
	}
	if c.ID != "" {
		m["jti"] = c.ID
	}
	if c.Issuer != "" {
		m["iss"] = c.Issuer
	}
	if c.Audience != nil {
		m["aud"] = c.Audience
	}
	for op, list := range c.Patterns {
		if list != nil {
			m[Op(op).String()] = list
		}
	}
	return json.Marshal(m)
}

// The methods of jwt.Claims. The parser's own validation is off, so they are not called.
var _ jwt.Claims = (*claims)(nil)

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.NotBefore), nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.IssuedAt), nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.Audience, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.Issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }

func date(t instant) *jwt.NumericDate {
	if t.IsZero() {
		return nil
	}
	return jwt.NewNumericDate(t.Time)
}
