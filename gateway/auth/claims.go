package auth

import (
	"errors"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Audience is what the claim aud must contain if a token has one and Trust names no other: a token that was made for another service
// with the same key is refused (RFC 7519, section 4.1.3).
const Audience = "jetwire"

// MaxUser is the length of the longest user name (the claim sub) in bytes.
const MaxUser = 128

// userMark in a pattern stands for the user that the token names.
const userMark = "{user}"

// claims are the claims that Jetwire reads; others are ignored. A claim that is null is refused, not taken as absent:
// a backend that writes null for an empty list of patterns must not thereby allow everything.
type claims struct {
	Subject   string
	Expires   instant
	NotBefore instant
	IssuedAt  instant
	ID        string
	Issuer    string
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
		case "iss":
			c.Issuer = o.Text()
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

// claimRules say which claims are good. The zero value is that of Trust.
type claimRules struct {
	issuers, audiences []string
	leeway             time.Duration
	expires            bool
	longest            time.Duration
}

// check checks what is said of a token as such.
func (r *claimRules) check(c *claims, now time.Time) error {
	switch {
	case len(r.issuers) > 0 && !slices.Contains(r.issuers, c.Issuer):
		return bad("its iss is none that this server accepts")
	case len(r.audiences) > 0 && !slices.ContainsFunc(c.Audience, func(a string) bool { return slices.Contains(r.audiences, a) }):
		return bad("its aud names none of this server's")
	case len(r.audiences) == 0 && c.Audience != nil && !slices.Contains(c.Audience, Audience):
		return bad("its aud does not name " + Audience)
	case r.expires && c.Expires.IsZero():
		return bad("it does not say when it expires (exp), and has to")
	case r.longest > 0 && (c.IssuedAt.IsZero() || c.Expires.Sub(c.IssuedAt.Time) > r.longest):
		return bad("it lives too long, or does not say since when (iat)")
	}
	until := now.Add(r.leeway)
	switch {
	case !c.Expires.IsZero() && !now.Before(c.Expires.Add(r.leeway)):
		return ErrExpired
	case until.Before(c.NotBefore.Time), until.Before(c.IssuedAt.Time):
		return bad("it is not valid yet")
	}
	return nil
}

// grant checks the claims of a token whose signature is good.
func (c *claims) grant(now time.Time, r *claimRules) (*Grant, error) {
	if err := CheckUser(c.Subject); err != nil {
		return nil, bad("its sub " + err.Error())
	}
	if len(c.ID) > MaxUser {
		return nil, bad("its jti is too long")
	}
	if err := r.check(c, now); err != nil {
		return nil, err
	}
	g := &Grant{User: c.Subject, TokenID: c.ID, Expires: c.Expires.milli(), Issued: c.IssuedAt.milli()}
	if g.Expires != 0 {
		g.Expires += r.leeway.Milliseconds()
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
