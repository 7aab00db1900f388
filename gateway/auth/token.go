package auth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Audience is what the claim aud must contain if a token has one: a token that was made for another service with the
// same secret is refused (RFC 7519, section 4.1.3).
const Audience = "jetwire"

// MaxUser is the length of the longest user name (the claim sub) in bytes.
const MaxUser = 128

// userMark in a pattern stands for the user that the token names.
const userMark = "{user}"

// Verifier checks tokens that were signed with HMAC-SHA256 and one secret. It is safe for concurrent use.
type Verifier struct {
	secret []byte
	parser *jwt.Parser
}

// NewVerifier returns a Verifier. It fails with ErrWeakSecret if the secret is shorter than MinSecret.
func NewVerifier(secret []byte) (*Verifier, error) {
	if len(secret) < MinSecret {
		return nil, ErrWeakSecret
	}
	return &Verifier{
		secret: bytes.Clone(secret),
		// Times are checked by Verify, against the time that it is given.
		parser: jwt.NewParser(jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithStrictDecoding(), jwt.WithoutClaimsValidation()),
	}, nil
}

// Verify checks a token's signature, times and claims. Its errors wrap ErrExpired or ErrBadToken; no other token is
// good, and there is no leeway in time.
func (v *Verifier) Verify(token string, now time.Time) (*Grant, error) {
	if len(token) > wire.MaxToken {
		return nil, bad("it is too long")
	}
	var c claims
	if t, err := v.parser.ParseWithClaims(token, &c, v.key); err != nil {
		return nil, reason(t, err)
	}
	return c.grant(now)
}

// key is called with a token that is not verified yet.
func (v *Verifier) key(t *jwt.Token) (any, error) {
	// RFC 7515, section 4.1.11: extensions named in crit that are not understood make the token invalid.
	if _, ok := t.Header["crit"]; ok {
		return nil, errCritical
	}
	return v.secret, nil
}

var errCritical = errors.New("critical extension")

func bad(why string) error { return fmt.Errorf("%w: %s", ErrBadToken, why) }

// reason replaces an error of the parser, whose text may hold parts of the token, by a fixed one.
func reason(t *jwt.Token, err error) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.Is(err, errClaims), errors.As(err, &wrong):
		return bad("a claim has a wrong type or value")
	case errors.Is(err, jwt.ErrTokenMalformed):
		return bad("it is not a JSON web token")
	case errors.Is(err, errCritical):
		return bad("it demands an extension that is not supported")
	case t == nil || t.Method != jwt.SigningMethodHS256:
		return bad("its algorithm is not HS256")
	}
	return bad("its signature is not from this server's secret")
}

// claims are the claims that Jetwire reads; others are ignored. A claim that is null is refused, not taken as absent:
// a backend that writes null for an empty list of patterns must not thereby allow everything.
type claims struct {
	Subject   string   `json:"sub"`
	Expires   instant  `json:"exp,omitzero"`
	NotBefore instant  `json:"nbf,omitzero"`
	IssuedAt  instant  `json:"iat,omitzero"`
	ID        string   `json:"jti,omitempty"`
	Audience  audience `json:"aud,omitzero"`
	Subscribe patterns `json:"subscribe,omitzero"`
	Publish   patterns `json:"publish,omitzero"`
	History   patterns `json:"history,omitzero"`
}

// grant checks the claims of a token whose signature is good.
func (c *claims) grant(now time.Time) (*Grant, error) {
	if err := CheckUser(c.Subject); err != nil {
		return nil, bad("its sub " + err.Error())
	}
	if len(c.ID) > MaxUser {
		return nil, bad("its jti is too long")
	}
	if c.Audience != nil && !slices.Contains(c.Audience, Audience) {
		return nil, bad("its aud does not name " + Audience)
	}
	g := &Grant{User: c.Subject, TokenID: c.ID, Expires: c.Expires.Time}
	if g.Expired(now) {
		return nil, ErrExpired
	}
	if now.Before(c.NotBefore.Time) {
		return nil, bad("it is not valid yet")
	}
	for _, f := range [...]struct {
		to   *[]string
		from patterns
	}{{&g.Subscribe, c.Subscribe}, {&g.Publish, c.Publish}, {&g.History, c.History}} {
		filled, err := fill(f.from, c.Subject)
		if err != nil {
			return nil, err
		}
		*f.to = filled
	}
	return g, nil
}

// fill puts the user into the patterns, in place.
func fill(ps patterns, user string) ([]string, error) {
	for i, p := range ps {
		if strings.Contains(p, userMark) {
			// Were the user "*", or "a.b", the pattern would come to mean other users' channels.
			if !singleToken(user) {
				return nil, bad("its sub cannot stand for {user} in a pattern: it is not one channel token")
			}
			ps[i] = strings.ReplaceAll(p, userMark, user)
		}
		if wire.ValidPattern(ps[i]) != nil {
			return nil, bad("it names a pattern outside the grammar")
		}
	}
	return ps, nil
}

func singleToken(s string) bool {
	if s == "" || s[0] == '$' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == '.' || c == '*' || c == '>' {
			return false
		}
	}
	return true
}

// CheckUser says whether s can name a user: 1 to MaxUser bytes of UTF-8 without control characters, since it travels
// in a header of stored messages, and no space at either end, since a header would lose it.
func CheckUser(s string) error {
	switch {
	case s == "":
		return errors.New("is missing")
	case len(s) > MaxUser:
		return errors.New("is too long")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return errors.New("holds control characters")
	case strings.TrimSpace(s) != s:
		return errors.New("begins or ends with a space")
	}
	return nil
}

// Sign makes a token for a grant. Patterns may hold {user}; they must come within the grammar once it is filled in.
func Sign(secret []byte, g Grant) (string, error) {
	if len(secret) < MinSecret {
		return "", ErrWeakSecret
	}
	now := time.Now()
	c := claims{Subject: g.User, ID: g.TokenID, Expires: instant{g.Expires}, IssuedAt: instant{now},
		Subscribe: g.Subscribe, Publish: g.Publish, History: g.History}
	check := c
	check.Subscribe, check.Publish, check.History = slices.Clone(g.Subscribe), slices.Clone(g.Publish), slices.Clone(g.History)
	check.Expires = instant{}
	if _, err := check.grant(now); err != nil {
		return "", err
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, &c).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(token) > wire.MaxToken {
		return "", bad("it is too long: name fewer patterns")
	}
	return token, nil
}

// errClaims is what the decoders of claims fail with.
var errClaims = errors.New("bad claim")

// patterns decodes a list of strings. Present means not nil.
type patterns []string

// UnmarshalJSON refuses null, where encoding/json would leave the list absent.
func (p *patterns) UnmarshalJSON(b []byte) error {
	list := []string{}
	if string(b) == "null" || json.Unmarshal(b, &list) != nil {
		return errClaims
	}
	*p = list
	return nil
}

// audience decodes a string or a list of strings (RFC 7519, section 4.1.3).
type audience []string

// UnmarshalJSON accepts both forms.
func (a *audience) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		*a = make(audience, 1)
		if json.Unmarshal(b, &(*a)[0]) == nil {
			return nil
		}
		return errClaims
	}
	var p patterns
	if err := p.UnmarshalJSON(b); err != nil {
		return err
	}
	*a = audience(p)
	return nil
}

// instant is a NumericDate: seconds since 1970, perhaps with a fraction (RFC 7519, section 2).
type instant struct{ time.Time }

// UnmarshalJSON accepts numbers from 1970 up to the year 9999.
func (t *instant) UnmarshalJSON(b []byte) error {
	var f float64
	if string(b) == "null" || json.Unmarshal(b, &f) != nil || !(f >= 0 && f <= 253402300799) {
		return errClaims
	}
	sec := int64(f)
	t.Time = time.Unix(sec, int64((f-float64(sec))*1e9))
	return nil
}

// MarshalJSON writes whole seconds, rounded down.
func (t instant) MarshalJSON() ([]byte, error) {
	return fmt.Appendf(nil, "%d", t.Unix()), nil
}

// The methods of jwt.Claims. The parser's own validation is off, so they are not called.
var _ jwt.Claims = (*claims)(nil)

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return date(c.Expires), nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return date(c.NotBefore), nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return date(c.IssuedAt), nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return jwt.ClaimStrings(c.Audience), nil }
func (c *claims) GetIssuer() (string, error)                   { return "", nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }

func date(t instant) *jwt.NumericDate {
	if t.IsZero() {
		return nil
	}
	return jwt.NewNumericDate(t.Time)
}
