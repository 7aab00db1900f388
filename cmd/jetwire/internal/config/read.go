package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"

	"github.com/goccy/go-yaml"
)

// ReadFile lays what a YAML file says over c.
func (c *Config) ReadFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := c.Read(text); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// Read lays what a YAML document says over c. An empty one says nothing.
func (c *Config) Read(text []byte) error {
	d := yaml.NewDecoder(bytes.NewReader(text), yaml.Strict())
	if err := d.Decode(c); err != nil && !errors.Is(err, io.EOF) {
		return errors.New(plain(err))
	}
	var more any
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one YAML document")
	}
	return nil
}

// plain returns the error as "[line:column] message", without the lines around it: they may hold a secret.
func plain(err error) string { return strings.TrimSpace(yaml.FormatError(err, false, false)) }

// hidden stands where a secret is.
const hidden = "(hidden)"

// Show returns c as YAML, with secrets hidden.
func (c Config) Show() ([]byte, error) {
	if c.Token.Secret != "" {
		c.Token.Secret = hidden
	}
	c.NATS.URL = Redact(c.NATS.URL)
	return yaml.Marshal(c)
}

// Redact hides the user and the password of each URL in a list that commas part.
func Redact(urls string) string {
	if urls == "" {
		return ""
	}
	list := strings.Split(urls, ",")
	for i, s := range list {
		u, err := url.Parse(strings.TrimSpace(s))
		switch {
		case err != nil || u.Host == "" && strings.Contains(s, "@"):
			list[i] = hidden
		case u.User != nil:
			u.User = url.User("…")
			list[i] = strings.Replace(u.String(), url.User("…").String(), hidden, 1)
		}
	}
	return strings.Join(list, ",")
}
