package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
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

// Read lays what a YAML document says over c. An empty one says nothing, and so does a key without a value.
func (c *Config) Read(text []byte) error {
	file, err := parser.ParseBytes(text, 0)
	if err != nil {
		return errors.New(plain(err))
	}
	var body ast.Node
	for _, doc := range file.Docs {
		switch {
		case doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType:
		case body != nil:
			return errors.New("there is more than one YAML document")
		default:
			body = doc.Body
		}
	}
	if body == nil {
		return nil
	}
	dropEmpty(body)
	if err := yaml.NodeToValue(body, c, yaml.Strict()); err != nil {
		return errors.New(plain(err))
	}
	return nil
}

// dropEmpty takes keys without a value out of the top level's mappings: the decoder would set to zero what has a default.
// The names of namespaces stay.
func dropEmpty(n ast.Node) {
	m, ok := n.(*ast.MappingNode)
	if !ok {
		return
	}
	m.Values = slices.DeleteFunc(m.Values, func(v *ast.MappingValueNode) bool { return v.Value.Type() == ast.NullType })
	for _, v := range m.Values {
		if v.Key.String() != "namespaces" {
			dropEmpty(v.Value)
		}
	}
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
	c.Token.PreviousSecrets = slices.Repeat([]string{hidden}, len(c.Token.PreviousSecrets))
	c.API.Keys = slices.Clone(c.API.Keys)
	for i := range c.API.Keys {
		c.API.Keys[i].Key = hidden
	}
	c.NATS.URL = Redact(c.NATS.URL)
	c.Authorizers = maps.Clone(c.Authorizers)
	for name, a := range c.Authorizers {
		c.Authorizers[name] = a.hide()
	}
	c.Webhooks = shown(c.Webhooks)
	return yaml.Marshal(c)
}

// Redact hides the user and the password of each URL in a list that commas part.
func Redact(urls string) string {
	if urls == "" {
		return ""
	}
	list := strings.Split(urls, ",")
	for i, s := range list {
		u, err := parseNATS(s)
		switch {
		case err != nil:
			list[i] = hidden
		case u.User != nil:
			u.User = url.User("…")
			list[i] = strings.Replace(u.String(), url.User("…").String(), hidden, 1)
		}
	}
	return strings.Join(list, ",")
}

// parseNATS parses one URL as nats.go does: without a scheme it is nats://.
func parseNATS(s string) (*url.URL, error) {
	if s = strings.TrimSpace(s); s != "" && !strings.Contains(s, "://") {
		s = "nats://" + s
	}
	return url.Parse(s)
}
