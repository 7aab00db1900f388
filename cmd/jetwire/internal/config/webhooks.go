package config

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/webhook"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Webhook is an endpoint that is told what happens: gateway/webhook/README.md.
type Webhook struct {
	Name            string   `yaml:"name"`
	URL             string   `yaml:"url"`
	Secret          string   `yaml:"secret,omitempty"`
	SecretFile      string   `yaml:"secret_file,omitempty"`      // instead: one secret a line, the first of them as secret
	PreviousSecrets []string `yaml:"previous_secrets,omitempty"` // which sign, too, while receivers change to the new one
	Events          []string `yaml:"events"`
	Namespaces      []string `yaml:"namespaces,omitempty"` // of messages, commands and subscriptions
	Timeout         Duration `yaml:"timeout,omitempty"`
	MaxAttempts     int      `yaml:"max_attempts,omitempty"`
	Parallel        int      `yaml:"parallel,omitempty"`
	InsecureNoTLS   bool     `yaml:"insecure_no_tls,omitempty"` // http to another machine, over a network that is trusted
}

// Events says how long is kept what becomes of connections, for webhooks. Storage and replicas are those of Devices.
type Events struct {
	MaxAge   Duration `yaml:"max_age"`
	MaxBytes Size     `yaml:"max_bytes"` // past it the oldest go
}

// most is what a webhook's numbers are at most.
const (
	mostTimeout  = Duration(5 * time.Minute)
	mostAttempts = 1000
	mostParallel = 256
)

func (c *Config) checkWebhooks() error {
	var errs []error
	seen := map[string]bool{}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		if err := w.check(c); err != nil {
			errs = append(errs, fmt.Errorf("webhooks, number %d: %w", i+1, err))
		}
		if seen[w.Name] {
			errs = append(errs, fmt.Errorf("webhooks, number %d: another one is named %q", i+1, w.Name))
		}
		seen[w.Name] = true
	}
	if c.Events.MaxAge < Duration(time.Minute) {
		errs = append(errs, errors.New("events.max_age: less than a minute"))
	}
	if c.Events.MaxBytes < 1<<20 {
		errs = append(errs, errors.New("events.max_bytes: less than 1MiB"))
	}
	return errors.Join(errs...)
}

func (w *Webhook) check(c *Config) error {
	var errs []error
	if (w.Secret == "") == (w.SecretFile == "") {
		errs = append(errs, errors.New("want either secret or secret_file"))
	}
	known, err := w.endpoint(append([]string{w.Secret}, w.PreviousSecrets...))
	errs = append(errs, err)
	if err == nil {
		errs = append(errs, known.Check())
	}
	if u, err := url.Parse(w.URL); err == nil && u.Scheme == "http" && !w.InsecureNoTLS && !local(u.Hostname()) {
		errs = append(errs, errors.New("url: http to another machine is not encrypted: use https, or say insecure_no_tls: true if the network is trusted"))
	}
	for _, ns := range w.Namespaces {
		if _, listed := c.Namespaces[ns]; !listed && (c.Default.Off && ns != "user" || wire.ValidChannel(ns+".x") != nil || strings.Contains(ns, ".")) {
			errs = append(errs, fmt.Errorf("namespaces: %q is none", ns))
		}
	}
	if w.Timeout > mostTimeout || w.MaxAttempts < 0 || w.MaxAttempts > mostAttempts || w.Parallel < 0 || w.Parallel > mostParallel {
		errs = append(errs, fmt.Errorf("timeout is at most %v, max_attempts %d, parallel %d", mostTimeout, mostAttempts, mostParallel))
	}
	return errors.Join(errs...)
}

func local(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// endpoint returns the webhook with these secrets. Empty ones stand for what is in a file.
func (w *Webhook) endpoint(secrets []string) (gateway.Webhook, error) {
	known := gateway.Webhook{Events: w.Events, Namespaces: w.Namespaces, Endpoint: webhook.Endpoint{
		Name: w.Name, URL: w.URL, Timeout: time.Duration(w.Timeout), MaxAttempts: w.MaxAttempts, Parallel: w.Parallel}}
	for _, text := range secrets {
		secret, err := webhook.ParseSecret(text)
		if err != nil && text != "" {
			return known, fmt.Errorf("secret: %w", err)
		}
		known.Secrets = append(known.Secrets, secret)
	}
	return known, nil
}

// Endpoints returns the webhooks with their secrets. It reads files.
func (c *Config) Endpoints() ([]gateway.Webhook, error) {
	var list []gateway.Webhook
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		secrets := []string{w.Secret}
		if w.SecretFile != "" {
			text, err := os.ReadFile(w.SecretFile)
			if err != nil {
				return nil, fmt.Errorf("webhook %s: %w", w.Name, err)
			}
			if secrets = strings.Fields(string(text)); len(secrets) == 0 {
				return nil, fmt.Errorf("webhook %s: %s holds no secret", w.Name, w.SecretFile)
			}
		}
		known, err := w.endpoint(append(secrets, w.PreviousSecrets...))
		if err != nil {
			return nil, fmt.Errorf("webhook %s: %w", w.Name, err)
		}
		list = append(list, known)
	}
	return list, nil
}

// shown returns the webhooks without their secrets.
func shown(list []Webhook) []Webhook {
	list = slices.Clone(list)
	for i := range list {
		w := &list[i]
		if w.Secret != "" {
			w.Secret = hidden
		}
		w.PreviousSecrets = slices.Repeat([]string{hidden}, len(w.PreviousSecrets))
		u, err := url.Parse(w.URL)
		if err != nil {
			w.URL = hidden
			continue
		}
		if u.User != nil {
			u.User = url.User("…")
		}
		if u.RawQuery != "" {
			u.RawQuery = hidden
		}
		w.URL = strings.Replace(u.String(), url.User("…").String(), hidden, 1)
	}
	return list
}
