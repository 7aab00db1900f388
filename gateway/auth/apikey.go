package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// MinAPIKey is the length of the shortest API key in bytes.
const MinAPIKey = 16

// Scope is a part of the server API that a key opens. Its name is that of the operation, or of the group of operations.
type Scope string

// The scopes.
const (
	ScopePublish       Scope = "publish"       // publish, broadcast, send to inboxes
	ScopeHistory       Scope = "history"       // read history
	ScopePresence      Scope = "presence"      // read who is there
	ScopeSubscriptions Scope = "subscriptions" // read who is subscribed to what
	ScopeDisconnect    Scope = "disconnect"    // end connections
	ScopeUnsubscribe   Scope = "unsubscribe"   // end subscriptions
	ScopeToken         Scope = "token"         // make tokens for any user
	ScopeRevoke        Scope = "revoke"        // take tokens back
	ScopeInfo          Scope = "info"          // what runs where
	ScopeDebug         Scope = "debug"         // profiles of the process
	ScopeUnified       Scope = "unified"       // the unified service
)

// Scopes are all there are.
var Scopes = []Scope{
	ScopePublish, ScopeHistory, ScopePresence, ScopeSubscriptions, ScopeDisconnect, ScopeUnsubscribe,
	ScopeToken, ScopeRevoke, ScopeInfo, ScopeDebug, ScopeUnified,
}

// The errors of API keys. The last two are Keys.Authorize's: the request presents no key that holds, or one for other things.
var (
	ErrBadAPIKey  = fmt.Errorf("an API key is at least %d printable ASCII characters without spaces or commas (`openssl rand -hex 24` makes one)", MinAPIKey)
	ErrSameAPIKey = errors.New("this API key stands in the list before")
	ErrBadScope   = errors.New("unknown scope")
	ErrNoAPIKey   = errors.New("this needs an API key: send the header Authorization: Bearer KEY, with a key that the server was started with (--api-key)")
	ErrScope      = errors.New("this API key is not for that: its scopes in the server's configuration (api.keys) do not name it")
)

// APIKey is one key of the server API.
type APIKey struct {
	Key    string
	Name   string  // for logs, which never show the key
	Scopes []Scope // nil: all
}

// Keys are the API keys that a gateway accepts; several, so that they can be replaced one after the other. The zero value accepts none.
type Keys struct{ keys []knownKey }

type knownKey struct {
	sum    [sha256.Size]byte
	name   string
	scopes []Scope
}

// NewKeys checks the keys. A key without a name gets one from its place, such as "key 2". It fails with ErrBadAPIKey,
// ErrSameAPIKey or ErrBadScope, which do not show the keys.
func NewKeys(keys ...APIKey) (Keys, error) {
	var k Keys
	for i, key := range keys {
		if len(key.Key) < MinAPIKey || strings.ContainsFunc(key.Key, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
			return Keys{}, fmt.Errorf("key %d of %d: %w", i+1, len(keys), ErrBadAPIKey)
		}
		for _, s := range key.Scopes {
			if !slices.Contains(Scopes, s) {
				return Keys{}, fmt.Errorf("key %d of %d: %w %q: want some of %v", i+1, len(keys), ErrBadScope, string(s), Scopes)
			}
		}
		sum := sha256.Sum256([]byte(key.Key))
		if slices.ContainsFunc(k.keys, func(other knownKey) bool { return other.sum == sum }) {
			return Keys{}, fmt.Errorf("key %d of %d: %w", i+1, len(keys), ErrSameAPIKey)
		}
		name := key.Name
		if name == "" {
			name = fmt.Sprintf("key %d", i+1)
		}
		k.keys = append(k.keys, knownKey{sum, name, key.Scopes})
	}
	return k, nil
}

// None says that there are no keys at all.
func (k Keys) None() bool { return len(k.keys) == 0 }

// Authorize checks the value of an Authorization header for one scope and returns the key's name. It fails with ErrNoAPIKey (who
// asks is unknown), or with ErrScope and the name. How long it takes tells nothing of the keys.
func (k Keys) Authorize(header string, scope Scope) (name string, err error) {
	const scheme = "Bearer "
	found := -1
	if len(header) > len(scheme) && strings.EqualFold(header[:len(scheme)], scheme) {
		sum := sha256.Sum256([]byte(header[len(scheme):]))
		for i := range k.keys {
			same := subtle.ConstantTimeCompare(sum[:], k.keys[i].sum[:])
			found = subtle.ConstantTimeSelect(same, i, found)
		}
	}
	if found < 0 {
		return "", ErrNoAPIKey
	}
	key := &k.keys[found]
	if key.scopes != nil && !slices.Contains(key.scopes, scope) {
		return key.name, ErrScope
	}
	return key.name, nil
}
