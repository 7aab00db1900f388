// Package auth turns a token into a grant, and answers whether a grant allows an operation on a channel.
//
// Two parties decide. A namespace's rules say who may do something in it at all; a token may name patterns, and then it
// allows nothing outside them. An operation is allowed if both say yes. Whatever is not understood (an unknown rule, an
// unknown operation, a claim of a wrong type) means no.
//
// Invariants: no error ever holds a part of a token or of a secret, so errors can be logged and sent to clients; a Grant
// is not changed after it was made and can be shared; a key is used only with the algorithms of its type; checking a token
// waits for nobody (public keys that somebody serves are asked for by a goroutine of their own).
//
// The package knows tokens, keys, patterns and rules. It must not know connections, sessions, streams or configuration files.
// TOKENS.md beside this file is for who runs a server.
package auth

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// The errors of this package. ErrBadToken is wrapped with a fixed text that says what is wrong.
var (
	ErrBadToken   = errors.New("bad token")
	ErrExpired    = errors.New("the token has expired")
	ErrRevoked    = errors.New("the token has been revoked")
	ErrLater      = errors.New("the token cannot be checked at once") // what that takes is not here
	ErrDenied     = errors.New("permission denied")
	ErrWeakSecret = fmt.Errorf("a token secret needs at least %d bytes", MinSecret)
)

// Op is what a client wants to do with a channel. The zero Op is none, and is never allowed.
type Op uint8

// The operations.
const (
	Subscribe Op = iota + 1
	Publish
	History
	Presence // ask who is subscribed
	Command  // send to a backend, stored
	Call     // ask a backend

	ops // how many there are, with none
)

// Ops returns all operations.
func Ops() []Op { return []Op{Subscribe, Publish, History, Presence, Command, Call} }

var opNames = [ops]string{"unknown", "subscribe", "publish", "history", "presence", "command", "call"}

// String returns the operation's name, which is that of its rule, its command and its claim.
func (o Op) String() string {
	if o >= ops {
		o = 0
	}
	return opNames[o]
}

// opOf finds an operation by its name; 0: there is none.
func opOf(name []byte) Op {
	for o := Subscribe; o < ops; o++ {
		if string(name) == opNames[o] {
			return o
		}
	}
	return 0
}

// Rule says which users a namespace lets do something. The zero Rule is SignedIn.
type Rule string

// The rules.
const (
	Anyone   Rule = "anyone"    // also those without a token
	SignedIn Rule = "signed-in" // everybody with a valid token
	Granted  Rule = "granted"   // those whose token names a pattern that matches
	Own      Rule = "own"       // the user whose id is the channel's second token, and those of Granted
	Server   Rule = "server"    // no client: backends, through NATS or the server API
)

// Check says whether r is one of the rules.
func (r Rule) Check() error {
	switch r {
	case "", Anyone, SignedIn, Granted, Own, Server:
		return nil
	}
	return fmt.Errorf("unknown rule %q: want %s, %s, %s, %s or %s", string(r), Anyone, SignedIn, Granted, Own, Server)
}

// Rules are a namespace's rules, for each operation. The zero value lets everybody who is signed in do everything.
type Rules [ops]Rule

// UserRules are the rules of the namespace `user`, whose channels user.<id>… are inboxes: everybody reads their own, only tokens
// that say so may write to one, and whether somebody else is there is nobody's business.
var UserRules = Rules{Subscribe: Own, Publish: Granted, History: Own, Presence: Own}

// Grant is what a token says about its bearer. Every connection holds one: it fills a class of Go's allocator, 64 bytes.
type Grant struct {
	User     string    // never empty; one who is Anonymous has a name of this connection's
	TokenID  string    // the claim jti; empty: none
	Expires  int64     // Unix milliseconds; 0: never
	Issued   int64     // the claim iat, Unix milliseconds; 0: unknown. Sign sets it
	Patterns *Patterns // nil: it names none, as most do

	Anonymous bool // there was no token
}

// Patterns are the patterns that a token names, for each operation. nil: it names none, and the namespace's rules alone
// decide. Empty but not nil: it allows nothing.
type Patterns [ops][]string

// Expired says whether the grant has ended. It has at the very moment that Expires names (RFC 7519, section 4.1.4:
// "on or after which the JWT MUST NOT be accepted").
func (g *Grant) Expired(now time.Time) bool {
	return g.Expires != 0 && now.UnixMilli() >= g.Expires
}

// Allows returns nil if the grant and the rules of the channel's namespace both allow op, else ErrExpired or ErrDenied.
// The channel must have been validated. It may be a pattern to subscribe to: then all that it can bring must be allowed. It does not allocate.
func (g *Grant) Allows(op Op, channel string, r Rules, now time.Time) error {
	if g.Expired(now) {
		return ErrExpired
	}
	if op == 0 || op >= ops {
		return ErrDenied
	}
	rule := r[op]
	if g.Anonymous {
		if rule == Anyone {
			return nil
		}
		return ErrDenied
	}
	var patterns []string
	if g.Patterns != nil {
		patterns = g.Patterns[op]
	}
	matched := matchAny(patterns, channel)
	if patterns != nil && !matched {
		return ErrDenied
	}
	switch rule {
	case "", SignedIn, Anyone:
		return nil
	case Granted:
		if matched {
			return nil
		}
	case Own:
		if matched || owns(g.User, channel) {
			return nil
		}
	}
	return ErrDenied
}

func matchAny(patterns []string, channel string) bool {
	for _, p := range patterns {
		if wire.Covers(p, channel) {
			return true
		}
	}
	return false
}

// owns says whether the channel's second token is the user. A user whose name is no single token (it holds a dot, say)
// owns no channel: were it otherwise, the user "a.b" would own what lies below the user "a". Nor does one whose name is a
// wildcard, which would own every inbox as a pattern.
func owns(user, channel string) bool {
	_, rest, ok := strings.Cut(channel, ".")
	if !ok || user == "" || wire.IsPattern(user) {
		return false
	}
	second, _, _ := strings.Cut(rest, ".")
	return second == user
}
