package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
)

// MinAPIKey is the length of the shortest API key in bytes.
const MinAPIKey = 16

// ErrBadAPIKey is returned for a key that is too short to be a secret, or that no Authorization header can carry.
var ErrBadAPIKey = fmt.Errorf("an API key is at least %d printable ASCII characters without spaces or commas (`openssl rand -hex 24` makes one)", MinAPIKey)

// ErrNoAPIKey is returned by Keys.Authorize for a request that presents no key that holds.
var ErrNoAPIKey = errors.New("this needs an API key: send the header Authorization: Bearer KEY, with a key that the server was started with (--api-key)")

// Keys are the API keys that a gateway accepts; several, so that they can be replaced one after the other. The zero value accepts none.
type Keys struct{ sums [][sha256.Size]byte }

// NewKeys checks the keys. It fails with ErrBadAPIKey, which does not show them.
func NewKeys(keys []string) (Keys, error) {
	var k Keys
	for i, key := range keys {
		if len(key) < MinAPIKey || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }) {
			return Keys{}, fmt.Errorf("key %d of %d: %w", i+1, len(keys), ErrBadAPIKey)
		}
		k.sums = append(k.sums, sha256.Sum256([]byte(key)))
	}
	return k, nil
}

// Authorize checks the value of an Authorization header. It fails with ErrNoAPIKey. How long it takes tells nothing of the keys.
func (k Keys) Authorize(header string) error {
	const scheme = "Bearer "
	held := 0
	if len(header) > len(scheme) && strings.EqualFold(header[:len(scheme)], scheme) {
		sum := sha256.Sum256([]byte(header[len(scheme):]))
		for i := range k.sums {
			held |= subtle.ConstantTimeCompare(sum[:], k.sums[i][:])
		}
	}
	if held == 0 {
		return ErrNoAPIKey
	}
	return nil
}
