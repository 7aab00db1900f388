package config

import (
	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/jetwire/jetwire/gateway/auth"
)

// API says which keys open what is for operators and backends.
type API struct {
	Keys []APIKey `yaml:"keys"`
}

// APIKey is a key. In the file it is its text, which opens everything, or a mapping that says for what it is.
type APIKey struct {
	Key    string       `yaml:"key"`
	Name   string       `yaml:"name,omitempty"`  // for logs
	Scopes []auth.Scope `yaml:"scopes,omitzero"` // absent: all
}

// APIKeys are keys without names that open everything.
func APIKeys(texts ...string) []APIKey {
	keys := make([]APIKey, len(texts))
	for i, text := range texts {
		keys[i].Key = text
	}
	return keys
}

// Known returns the keys in the form in which they are checked.
func (a *API) Known() (auth.Keys, error) {
	keys := make([]auth.APIKey, len(a.Keys))
	for i, k := range a.Keys {
		keys[i] = auth.APIKey(k)
	}
	return auth.NewKeys(keys...)
}

// UnmarshalYAML reads a text or a mapping.
func (k *APIKey) UnmarshalYAML(n ast.Node) error {
	if _, ok := n.(ast.ScalarNode); ok {
		return scalar(n, func(text string) error { k.Key = text; return nil })
	}
	type mapping APIKey
	return yaml.NodeToValue(n, (*mapping)(k), yaml.Strict())
}

// MarshalYAML writes what UnmarshalYAML reads.
func (k APIKey) MarshalYAML() (any, error) {
	if k.Name == "" && k.Scopes == nil {
		return k.Key, nil
	}
	type mapping APIKey
	return mapping(k), nil
}
