package config

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/streams/access"
)

// Unified is the unified service: gateway/unified/README.md says what it is.
type Unified struct {
	Enabled        bool     `yaml:"enabled"`
	Prefix         string   `yaml:"prefix"`           // of its HTTP paths
	PublicURL      string   `yaml:"public_url"`       // where clients reach its sockets; empty: the host of their request
	ClientToClient string   `yaml:"client_to_client"` // an auth.Rule: who may send to other clients
	TokenLife      Duration `yaml:"token_life"`       // of a token that nobody has used
}

func (u *Unified) check() error {
	var errs []error
	if p := u.Prefix; p != "" && (p[0] != '/' || path.Clean(p) != p || p == "/" || strings.ContainsFunc(p, special)) {
		errs = append(errs, fmt.Errorf("unified.prefix: %q is not like /center", p))
	}
	if u.PublicURL != "" {
		p, err := url.Parse(u.PublicURL)
		if err != nil || p.Scheme != "ws" && p.Scheme != "wss" || p.Host == "" || p.User != nil || p.RawQuery != "" || p.Fragment != "" {
			errs = append(errs, errors.New("unified.public_url: it is not like wss://rt.example.com"))
		}
	}
	switch auth.Rule(u.ClientToClient) {
	case auth.SignedIn, auth.Granted, auth.Own, auth.Server:
	default:
		errs = append(errs, fmt.Errorf("unified.client_to_client: %q is none of signed-in, granted, own, server", u.ClientToClient))
	}
	if l := time.Duration(u.TokenLife); l < time.Second || l > access.MaxTTL {
		errs = append(errs, fmt.Errorf("unified.token_life: from 1s to %v", access.MaxTTL))
	}
	return errors.Join(errs...)
}

// special says whether a character of a path means something to the router, or needs to be escaped.
func special(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("/-_.~", r)
}
