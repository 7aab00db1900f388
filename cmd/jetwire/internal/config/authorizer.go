package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/callout"
	"github.com/jetwire/jetwire/gateway/webhook"
)

// Authorizer is somebody outside who says who may do what: over NATS, or over HTTP.
type Authorizer struct {
	NATS       string   `yaml:"nats,omitempty"`       // the subject of requests
	URL        string   `yaml:"url,omitempty"`        // where they are posted
	Secret     string   `yaml:"secret,omitempty"`     // signs what is posted: whsec_ and base64
	Timeout    Duration `yaml:"timeout,omitempty"`    // of an answer; 0: callout.DefaultTimeout
	Cache      Duration `yaml:"cache,omitempty"`      // how long an answer is remembered at most; 0: not at all
	Operations []string `yaml:"operations,omitempty"` // that are asked about; none: all
	Data       bool     `yaml:"data,omitempty"`       // each body is shown, too
}

// Options translates a. Its errors do not show the secret.
func (a *Authorizer) Options() (callout.Options, error) {
	o := callout.Options{Subject: a.NATS, URL: a.URL, Timeout: time.Duration(a.Timeout), Cache: time.Duration(a.Cache), Data: a.Data}
	var errs []error
	if a.Secret != "" {
		secret, err := webhook.ParseSecret(a.Secret)
		if err != nil {
			errs = append(errs, fmt.Errorf("secret: %w", err))
		}
		o.Secret = secret
	}
	for _, name := range a.Operations {
		i := slices.IndexFunc(auth.Ops(), func(op auth.Op) bool { return op.String() == name })
		if i < 0 {
			errs = append(errs, fmt.Errorf("operations: %q is none of %v", name, auth.Ops()))
			continue
		}
		o.Operations = append(o.Operations, auth.Ops()[i])
	}
	return o, errors.Join(append(errs, o.Check())...)
}

func (c *Config) checkAuthorizers() error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c.Authorizers)) {
		a := c.Authorizers[name]
		if _, err := a.Options(); err != nil {
			errs = append(errs, fmt.Errorf("authorizers.%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// hide returns a without its secret, and without what in its URL may be one.
func (a Authorizer) hide() Authorizer {
	if a.Secret != "" {
		a.Secret = hidden
	}
	if u, err := url.Parse(a.URL); err != nil {
		a.URL = hidden
	} else if u.User != nil || u.RawQuery != "" {
		if u.User != nil {
			u.User = url.User("hidden")
		}
		if u.RawQuery != "" {
			u.RawQuery = "hidden"
		}
		a.URL = u.String()
	}
	return a
}
