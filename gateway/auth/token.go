package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/jetwire/jetwire/gateway/wire"
)

// Verifier checks tokens. It is safe for concurrent use.
//
// The signature is checked before a claim is read: what nobody has signed costs its hash, and meets no other code. A key is used only
// with the algorithms of its type: what a token's header says selects among the keys, and never turns one into another.
type Verifier struct {
	// Fixed after construction.
	rules  claimRules
	macs   [len(hashes)]sync.Pool // of *check
	public []publicKey
	remote *keySet // nil: there is none

	header atomic.Pointer[header] // of the token that was good last: an issuer's tokens all have the same
}

// header is what a token's header says.
type header struct {
	text     string // as it stands in the token
	alg, kid string
	mac      int               // of hashes; noMAC: it is signed with a public key's counterpart
	method   jwt.SigningMethod // for public keys
}

const noMAC = -1

// hashes are those of the algorithms with a secret, in the order HS256, HS384, HS512. MinSecret is enough for each.
var hashes = [...]struct {
	alg string
	new func() hash.Hash
}{{"HS256", sha256.New}, {"HS384", sha512.New384}, {"HS512", sha512.New}}

// check is what checking a token takes.
type check struct {
	macs []hash.Hash // keyed, one for each secret
	text []byte      // the token, and behind it its payload
}

// NewVerifier returns a Verifier of tokens that were signed with one of these secrets. It fails with ErrWeakSecret if one is shorter
// than MinSecret. More than that says Trust.
func NewVerifier(secrets ...[]byte) (*Verifier, error) {
	return (&Trust{Secrets: secrets}).Verifier()
}

// Verify checks a token's signature, times and claims. Its errors wrap ErrExpired or ErrBadToken; no other token is good. With ErrLater
// the token names a key that is not known yet: Fetch asks for it. Verify asks nobody and does not wait.
func (v *Verifier) Verify(token string, now time.Time) (*Grant, error) {
	if len(token) > wire.MaxToken {
		return nil, bad("it is too long")
	}
	first, rest, _ := strings.Cut(token, ".")
	payload, signature, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(signature, ".") {
		return nil, errNoToken
	}
	h := v.header.Load()
	known := h != nil && first == h.text
	if !known {
		var err error
		if h, err = v.readHeader(first); err != nil {
			return nil, err
		}
	}
	pool := &v.macs[max(h.mac, 0)]
	k := pool.Get().(*check)
	defer pool.Put(k)
	k.text = append(k.text[:0], token...)
	signed := len(first) + 1 + len(payload)
	if h.mac != noMAC {
		if !k.signed(signed, signature) {
			return nil, errSignature
		}
	} else if err := v.checkPublic(h, token[:signed], signature); err != nil {
		return nil, err
	}
	if !known {
		h.text = strings.Clone(h.text)
		v.header.Store(h)
	}
	text, err := base64url.AppendDecode(k.text, k.text[len(first)+1:][:len(payload)])
	if err != nil {
		return nil, errNoToken
	}
	k.text = text
	var c claims
	if err := c.read(text[len(token):]); err != nil {
		return nil, err
	}
	return c.grant(now, &v.rules)
}

// base64url is what RFC 7515, section 2, wants, and takes nothing else for it.
var base64url = base64.RawURLEncoding.Strict()

// signed says whether the first n bytes of the text have that signature, with any of the secrets.
func (k *check) signed(n int, signature string) bool {
	var sum [sha512.Size]byte
	var want, have [88]byte
	for _, mac := range k.macs {
		size := base64url.EncodedLen(mac.Size())
		mac.Reset()
		mac.Write(k.text[:n])
		base64url.Encode(want[:], mac.Sum(sum[:0]))
		copy(have[:size], signature)
		if len(signature) == size && hmac.Equal(have[:size], want[:size]) {
			return true
		}
	}
	return false
}

// checkPublic checks a signature with the public keys that the header allows for.
func (v *Verifier) checkPublic(h *header, text, signature string) error {
	sig, err := base64url.DecodeString(signature)
	if err != nil {
		return errSignature
	}
	holds := func(k *publicKey) bool {
		return slices.Contains(k.algs, h.alg) && h.method.Verify(text, sig, k.key) == nil
	}
	for i := range v.public {
		if holds(&v.public[i]) {
			return nil
		}
	}
	if v.remote == nil {
		return errSignature
	}
	named := false
	for _, k := range v.remote.keys() {
		if h.kid != "" && k.id != h.kid {
			continue
		}
		named = true
		if holds(&k) {
			return nil
		}
	}
	if !named {
		return v.remote.unknown()
	}
	return errSignature
}

func (v *Verifier) readHeader(text string) (*header, error) {
	raw, err := base64url.DecodeString(text)
	var fields map[string]json.RawMessage
	if err != nil || json.Unmarshal(raw, &fields) != nil {
		return nil, errNoToken
	}
	// RFC 7515, section 4.1.11: extensions named in crit that are not understood make the token invalid.
	if _, ok := fields["crit"]; ok {
		return nil, bad("it demands an extension that is not supported")
	}
	h := &header{text: text, mac: noMAC}
	if json.Unmarshal(fields["alg"], &h.alg) != nil {
		return nil, errAlgorithm
	}
	if kid, ok := fields["kid"]; ok && (json.Unmarshal(kid, &h.kid) != nil || len(h.kid) > maxKeyID) {
		return nil, bad("its kid is no string, or too long")
	}
	for i := range hashes {
		if h.alg == hashes[i].alg {
			h.mac = i
			return h, nil
		}
	}
	if slices.Contains(publicAlgs, h.alg) && (v.public != nil || v.remote != nil) {
		h.method = jwt.GetSigningMethod(h.alg)
		return h, nil
	}
	return nil, errAlgorithm
}

func bad(why string) error { return fmt.Errorf("%w: %s", ErrBadToken, why) }

var (
	errNoToken   = bad("it is not a JSON web token")
	errSignature = bad("its signature is from none of this server's keys")
	errAlgorithm = bad("its algorithm is none of this server's keys'")
)
