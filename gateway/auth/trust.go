package auth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"
)

// Trust says whose tokens are good. At least one secret, public key or JWKS is needed.
type Trust struct {
	Secrets    [][]byte           // HS256, HS384, HS512; several, so that they can be replaced one after the other
	PublicKeys []crypto.PublicKey // RSA: RS256 … PS512; ECDSA: ES256, ES384 or ES512, by its curve; Ed25519: EdDSA
	JWKS       string             // the URL of a set of public keys (RFC 7517); empty: none
	// Client asks for the JWKS. Default: one that takes no redirect from https to http.
	Client *http.Client

	Issuers   []string // the claim iss must be one of them; empty: it is not looked at
	Audiences []string // the claim aud must name one of them; empty: it may be absent, or must name Audience
	// Leeway is how far clocks may differ: a token is taken so much before its nbf, and so much after its exp.
	Leeway time.Duration
	// RequireExpiry refuses tokens without exp; MaxLifetime those whose exp is further from their iat. 0: any.
	RequireExpiry bool
	MaxLifetime   time.Duration

	Logger *slog.Logger // default: discard
}

// The errors of keys.
var (
	ErrNoKeys = errors.New("no secret, public key or JWKS is named: no token could be good")
	ErrBadKey = errors.New("a public key is RSA with 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519")
)

// Verifier returns what checks tokens. It fails with ErrNoKeys, ErrWeakSecret or ErrBadKey. With a JWKS it begins to ask for that, and
// Close must be called.
func (t *Trust) Verifier() (*Verifier, error) {
	if len(t.Secrets) == 0 && len(t.PublicKeys) == 0 && t.JWKS == "" {
		return nil, ErrNoKeys
	}
	v := &Verifier{rules: claimRules{
		issuers: t.Issuers, audiences: t.Audiences, leeway: t.Leeway, expires: t.RequireExpiry || t.MaxLifetime > 0, longest: t.MaxLifetime,
	}}
	for _, secret := range t.Secrets {
		if len(secret) < MinSecret {
			return nil, ErrWeakSecret
		}
	}
	for _, key := range t.PublicKeys {
		algs := algsOf(key)
		if algs == nil {
			return nil, ErrBadKey
		}
		v.public = append(v.public, publicKey{key: key, algs: algs})
	}
	for i := range v.macs {
		v.macs[i].New = func() any {
			k := &check{}
			for _, secret := range t.Secrets {
				k.macs = append(k.macs, hmac.New(hashes[i].new, secret))
			}
			return k
		}
	}
	if t.JWKS != "" {
		v.remote = newKeySet(t, keyPacing)
	}
	return v, nil
}

// Close ends what a JWKS needs.
func (v *Verifier) Close() {
	if v.remote != nil {
		v.remote.close()
	}
}

// publicKey is a key with what it may be used for.
type publicKey struct {
	id   string // the kid; empty: none
	key  crypto.PublicKey
	algs []string
}

// maxKeyID is the length of the longest kid in bytes.
const maxKeyID = 256

var publicAlgs = []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}

// algsOf returns the algorithms of a key's type; nil: it cannot be used.
func algsOf(key crypto.PublicKey) []string {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if n := k.N.BitLen(); n >= 2048 && n <= 8192 {
			return publicAlgs[:6]
		}
	case *ecdsa.PublicKey:
		switch k.Curve.Params().BitSize {
		case 256:
			return publicAlgs[6:7]
		case 384:
			return publicAlgs[7:8]
		case 521:
			return publicAlgs[8:9]
		}
	case ed25519.PublicKey:
		if len(k) == ed25519.PublicKeySize {
			return publicAlgs[9:]
		}
	}
	return nil
}

// ReadPublicKeys reads a PEM file with public keys or certificates. It fails with ErrBadKey for any other key in it.
func ReadPublicKeys(path string) ([]crypto.PublicKey, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	keys, err := parsePublicKeys(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

func parsePublicKeys(text []byte) (keys []crypto.PublicKey, err error) {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var key crypto.PublicKey
		switch {
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			return nil, fmt.Errorf("%w; this is a private key, which the server must not have (`openssl pkey -in KEY -pubout` makes the public one)", ErrBadKey)
		case block.Type == "RSA PUBLIC KEY":
			key, err = x509.ParsePKCS1PublicKey(block.Bytes)
		case block.Type == "CERTIFICATE":
			var c *x509.Certificate
			if c, err = x509.ParseCertificate(block.Bytes); err == nil {
				key = c.PublicKey
			}
		default:
			key, err = x509.ParsePKIXPublicKey(block.Bytes)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrBadKey, err)
		}
		if algsOf(key) == nil {
			return nil, ErrBadKey
		}
		keys = append(keys, key)
	}
	if keys == nil {
		return nil, fmt.Errorf("%w; the file holds none in PEM", ErrBadKey)
	}
	return keys, nil
}
