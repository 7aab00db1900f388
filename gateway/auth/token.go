package auth

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
//
// The signature is checked before a claim is read: what nobody has signed costs its hash, and meets no other code.
type Verifier struct {
	checks sync.Pool              // of *check
	header atomic.Pointer[string] // of the token that was good last: an issuer's tokens all have the same
}

// check is what checking a token takes.
type check struct {
	mac  hash.Hash // keyed
	text []byte    // the token, and behind it its payload
}

// NewVerifier returns a Verifier. It fails with ErrWeakSecret if the secret is shorter than MinSecret.
func NewVerifier(secret []byte) (*Verifier, error) {
	if len(secret) < MinSecret {
		return nil, ErrWeakSecret
	}
	secret = bytes.Clone(secret)
	return &Verifier{checks: sync.Pool{New: func() any { return &check{mac: hmac.New(sha256.New, secret)} }}}, nil
}

// Verify checks a token's signature, times and claims. Its errors wrap ErrExpired or ErrBadToken; no other token is
// good, and there is no leeway in time.
func (v *Verifier) Verify(token string, now time.Time) (*Grant, error) {
	if len(token) > wire.MaxToken {
		return nil, bad("it is too long")
	}
	header, rest, _ := strings.Cut(token, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return nil, errNoToken
	}
	last := v.header.Load()
	known := last != nil && header == *last
	if !known {
		if err := checkHeader(header); err != nil {
			return nil, err
		}
	}
	k := v.checks.Get().(*check)
	defer v.checks.Put(k)
	k.text = append(k.text[:0], token...)
	if !k.signed(len(header)+1+len(payload), signature) {
		return nil, bad("its signature is not from this server's secret")
	}
	if !known {
		header = strings.Clone(header)
		v.header.Store(&header)
	}
	text, err := base64url.AppendDecode(k.text, k.text[len(header)+1:][:len(payload)])
	if err != nil {
		return nil, errNoToken
	}
	k.text = text
	var c claims
	if err := c.read(text[len(token):]); err != nil {
		return nil, err
	}
	return c.grant(now)
}

// base64url is what RFC 7515, section 2, wants, and takes nothing else for it.
var base64url = base64.RawURLEncoding.Strict()

// signed says whether the first n bytes of the text have that signature.
func (k *check) signed(n int, signature string) bool {
	var sum [sha256.Size]byte
	var want, have [64]byte
	k.mac.Reset()
	k.mac.Write(k.text[:n])
	base64url.Encode(want[:], k.mac.Sum(sum[:0]))
	copy(have[:], signature)
	return len(signature) == base64url.EncodedLen(len(sum)) && hmac.Equal(have[:], want[:])
}

func checkHeader(header string) error {
	text, err := base64url.DecodeString(header)
	var fields map[string]json.RawMessage
	if err != nil || json.Unmarshal(text, &fields) != nil {
		return errNoToken
	}
	// RFC 7515, section 4.1.11: extensions named in crit that are not understood make the token invalid.
	if _, ok := fields["crit"]; ok {
		return bad("it demands an extension that is not supported")
	}
	if string(fields["alg"]) != `"HS256"` {
		return bad("its algorithm is not HS256")
	}
	return nil
}

func bad(why string) error { return fmt.Errorf("%w: %s", ErrBadToken, why) }

var errNoToken = bad("it is not a JSON web token")

// claims are the claims that Jetwire reads; others are ignored. A claim that is null is refused, not taken as absent:
// a backend that writes null for an empty list of patterns must not thereby allow everything.
type claims struct {
	Subject   string
	Expires   instant
	NotBefore instant
	IssuedAt  instant
	ID        string
	Audience  []string
	Patterns  Patterns
	patterned bool // it names some
}

// read takes the claims from a token's payload.
func (c *claims) read(text []byte) error {
	if !utf8.Valid(text) {
		return errNoToken
	}
	o := wire.NewObject(text)
	for name, ok := o.Next(); ok; name, ok = o.Next() {
		switch string(name) {
		case "sub":
			c.Subject = o.Text()
		case "exp":
			c.Expires.read(&o)
		case "nbf":
			c.NotBefore.read(&o)
		case "iat":
			c.IssuedAt.read(&o)
		case "jti":
			c.ID = o.Text()
		case "aud": // RFC 7519, section 4.1.3: one that is alone need not be in a list
			c.Audience = o.TextOrTexts()
		default:
			if op := opOf(name); op != 0 {
				c.Patterns[op], c.patterned = o.Texts(), true
			} else {
				o.Skip()
			}
		}
	}
	switch err := o.Err(); {
	case errors.Is(err, wire.ErrType):
		return bad("a claim has a wrong type or value")
	case err != nil:
		return errNoToken
	}
	return nil
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
	g := &Grant{User: c.Subject, TokenID: c.ID, Expires: c.Expires.milli(), Issued: c.IssuedAt.milli()}
	if g.Expired(now) {
		return nil, ErrExpired
	}
	if now.Before(c.NotBefore.Time) {
		return nil, bad("it is not valid yet")
	}
	if !c.patterned {
		return g, nil
	}
	patterns := c.Patterns
	g.Patterns = &patterns
	for _, list := range patterns {
		if err := fill(list, c.Subject); err != nil {
			return nil, err
		}
	}
	return g, nil
}

// fill puts the user into the patterns, in place.
func fill(ps []string, user string) error {
	for i, p := range ps {
		if strings.Contains(p, userMark) {
			// Were the user "*", or "a.b", the pattern would come to mean other users' channels.
			if !singleToken(user) {
				return bad("its sub cannot stand for {user} in a pattern: it is not one channel token")
			}
			ps[i] = strings.ReplaceAll(p, userMark, user)
		}
		if wire.ValidPattern(ps[i]) != nil {
			return bad("it names a pattern outside the grammar")
		}
	}
	return nil
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

// AnonymousPrefix begins the names of those who are Anonymous, and no others.
const AnonymousPrefix = "~"

// CheckUser says whether s can name a user: 1 to MaxUser bytes of UTF-8 without control characters, since it travels
// in a header of stored messages, no space at either end, since a header would lose it, and not AnonymousPrefix.
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
	case strings.HasPrefix(s, AnonymousPrefix):
		return errors.New("begins with " + AnonymousPrefix + ", as only the names of those without a token do")
	}
	return nil
}

// Sign makes a token for a grant. Patterns may hold {user}; they must come within the grammar once it is filled in.
func Sign(secret []byte, g Grant) (string, error) {
	if len(secret) < MinSecret {
		return "", ErrWeakSecret
	}
	c, err := claimsOf(&g, time.Now())
	if err != nil {
		return "", err
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, c).SignedString(secret)
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	if len(token) > wire.MaxToken {
		return "", bad("it is too long: name fewer patterns")
	}
	return token, nil
}

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
	_, err := check.grant(now)
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
	return c.grant(now)
}

// instant is a NumericDate: seconds since 1970, perhaps with a fraction (RFC 7519, section 2).
type instant struct{ time.Time }

// read accepts numbers from 1970 up to the year 9999.
func (t *instant) read(o *wire.Object) {
	f := o.Number()
	if !(f >= 0 && f <= 253402300799) {
		o.Refuse()
		return
	}
	sec := int64(f)
	t.Time = time.Unix(sec, int64(math.Round((f-float64(sec))*1e6))*1e3) // a float64 has no more than microseconds
}

// milli returns Unix milliseconds, rounded down, and 0 only for no time at all.
func (t instant) milli() int64 {
	if t.IsZero() {
		return 0
	}
	return max(t.UnixMilli(), 1)
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
func (c *claims) GetIssuer() (string, error)                   { return "", nil }
func (c *claims) GetSubject() (string, error)                  { return c.Subject, nil }

func date(t instant) *jwt.NumericDate {
	if t.IsZero() {
		return nil
	}
	return jwt.NewNumericDate(t.Time)
}
