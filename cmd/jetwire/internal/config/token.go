package config

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
)

// Token says whose tokens are good. The secret, which also signs those that the server and its commands make, is a text, or a file that
// holds it; where no key of any kind is named, one is made in Data.
type Token struct {
	Secret     string `yaml:"secret"`
	SecretFile string `yaml:"secret_file"`
	// Secrets that are being replaced: their tokens are still good.
	PreviousSecrets     []string `yaml:"previous_secrets"`
	PreviousSecretFiles []string `yaml:"previous_secret_files"`

	PublicKeys []string `yaml:"public_keys"` // PEM files
	JWKS       string   `yaml:"jwks"`        // URL of a set of public keys

	Issuers       []string `yaml:"issuers"`   // what iss may be; empty: anything
	Audiences     []string `yaml:"audiences"` // what aud has to name one of; empty: jetwire, if it is there
	Leeway        Duration `yaml:"leeway"`    // how far the clocks of those who issue tokens may differ
	RequireExpiry bool     `yaml:"require_expiry"`
	MaxLifetime   Duration `yaml:"max_lifetime"` // from iat to exp; 0: any
	KeepRevoked   Duration `yaml:"keep_revoked"` // how long a revocation holds that names no time; 0: max_lifetime, or 30 days
}

// Trust returns what tokens are checked with, and who signs them here; nil: this server has no secret. made says that the secret
// is one that was made in Data.
func (c *Config) Trust(log *slog.Logger) (t auth.Trust, s *auth.Signer, made bool, err error) {
	k := &c.Token
	t = auth.Trust{
		JWKS: k.JWKS, Issuers: k.Issuers, Audiences: k.Audiences,
		Leeway: time.Duration(k.Leeway), RequireExpiry: k.RequireExpiry, MaxLifetime: time.Duration(k.MaxLifetime), Logger: log,
	}
	if c.HasSecret() || !c.HasKeys() {
		secret, err := c.Secret()
		if err != nil {
			return t, nil, false, err
		}
		t.Secrets, s, made = [][]byte{secret}, c.Signer(secret), !c.HasSecret()
	}
	for i, text := range k.PreviousSecrets {
		if len(text) < auth.MinSecret {
			return t, nil, false, fmt.Errorf("token.previous_secrets: number %d: %w", i+1, auth.ErrWeakSecret)
		}
		t.Secrets = append(t.Secrets, []byte(text))
	}
	for _, path := range k.PreviousSecretFiles {
		secret, err := auth.ReadSecret(path)
		if err != nil {
			return t, nil, false, err
		}
		t.Secrets = append(t.Secrets, secret)
	}
	for _, path := range k.PublicKeys {
		keys, err := auth.ReadPublicKeys(path)
		if err != nil {
			return t, nil, false, err
		}
		t.PublicKeys = append(t.PublicKeys, keys...)
	}
	return t, s, made, nil
}

// Signer signs with a secret what this server takes.
func (c *Config) Signer(secret []byte) *auth.Signer {
	s := &auth.Signer{Secret: secret}
	if len(c.Token.Issuers) > 0 {
		s.Issuer = c.Token.Issuers[0]
	}
	if len(c.Token.Audiences) > 0 {
		s.Audience = c.Token.Audiences[0]
	}
	return s
}

// ErrNoSecret says that there is nothing to sign with.
var ErrNoSecret = errors.New("the server has no secret to sign tokens with: they come from who has the keys that token.public_keys and token.jwks name")

// Secret returns the secret that signs and checks tokens.
func (c *Config) Secret() ([]byte, error) {
	k := &c.Token
	switch {
	case k.Secret != "" && k.SecretFile != "":
		return nil, errBothSecrets
	case k.Secret != "":
		if len(k.Secret) < auth.MinSecret {
			return nil, fmt.Errorf("token.secret: %w", auth.ErrWeakSecret)
		}
		return []byte(k.Secret), nil
	case k.SecretFile != "":
		return auth.ReadSecret(k.SecretFile)
	case c.HasKeys():
		return nil, ErrNoSecret
	case c.Data == "":
		return nil, ErrNoData
	}
	return auth.Secret(c.Data)
}

var errBothSecrets = errors.New("token: secret and secret_file are both given")

// HasSecret says whether a secret to sign with is configured, and HasKeys whether any key is.
func (c *Config) HasSecret() bool { return c.Token.Secret != "" || c.Token.SecretFile != "" }

func (c *Config) HasKeys() bool {
	return c.HasSecret() || c.Token.JWKS != "" || len(c.Token.PublicKeys) > 0
}

func (c *Config) checkToken() error {
	k := &c.Token
	var errs []error
	if k.Secret != "" && k.SecretFile != "" {
		errs = append(errs, errBothSecrets)
	}
	if k.JWKS != "" {
		errs = append(errs, c.checkJWKS())
	}
	if k.Leeway > Duration(10*time.Minute) {
		errs = append(errs, errors.New("token.leeway: more than 10m"))
	}
	for name, d := range map[string]Duration{"max_lifetime": k.MaxLifetime, "keep_revoked": k.KeepRevoked} {
		if d != 0 && d < Duration(time.Second) {
			errs = append(errs, fmt.Errorf("token.%s: less than 1s", name))
		}
	}
	return errors.Join(errs...)
}

// checkJWKS wants the keys to come by a way that nobody can change them on.
func (c *Config) checkJWKS() error {
	u, err := url.Parse(c.Token.JWKS)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("token.jwks: want a URL such as https://id.example.com/.well-known/jwks.json")
	}
	ip := net.ParseIP(u.Hostname())
	if local := u.Hostname() == "localhost" || ip != nil && ip.IsLoopback(); u.Scheme == "http" && !local && !c.InsecureNoTLS {
		return errors.New("token.jwks: http would let others replace the keys on the way: use https, or say --insecure-no-tls if the network is trusted")
	}
	return nil
}
