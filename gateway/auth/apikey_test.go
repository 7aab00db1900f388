package auth

import (
	"errors"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	const a, b, c = "0123456789abcdef", "another-key-of-the-same-server", "a-key-for-few-things"
	keys, err := NewKeys(APIKey{Key: a}, APIKey{Key: b, Name: "shop"}, APIKey{Key: c, Name: "reader", Scopes: []Scope{ScopeHistory, ScopeInfo}}, APIKey{Key: c + "-none", Scopes: []Scope{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		header string
		scope  Scope
		name   string
		err    error
	}{
		{"Bearer " + a, ScopePublish, "key 1", nil},
		{"Bearer " + b, ScopeDebug, "shop", nil},
		{"bearer " + b, ScopePublish, "shop", nil},
		{"Bearer " + c, ScopeHistory, "reader", nil},
		{"Bearer " + c, ScopeInfo, "reader", nil},
		{"Bearer " + c, ScopePublish, "reader", ErrScope},
		{"Bearer " + c, "", "reader", ErrScope},
		{"Bearer " + c + "-none", ScopeInfo, "key 4", ErrScope},
		{"", ScopePublish, "", ErrNoAPIKey},
		{"Bearer", ScopePublish, "", ErrNoAPIKey},
		{"Bearer ", ScopePublish, "", ErrNoAPIKey},
		{"Bearer " + a[:15], ScopePublish, "", ErrNoAPIKey},
		{"Bearer " + a + "0", ScopePublish, "", ErrNoAPIKey},
		{"Bearer  " + a, ScopePublish, "", ErrNoAPIKey},
		{a, ScopePublish, "", ErrNoAPIKey},
		{"Basic " + a, ScopePublish, "", ErrNoAPIKey},
		{"Bearer " + strings.ToUpper(a), ScopePublish, "", ErrNoAPIKey},
		{"Bearer " + a + "," + b, ScopePublish, "", ErrNoAPIKey},
	} {
		if name, err := keys.Authorize(c.header, c.scope); name != c.name || !errors.Is(err, c.err) {
			t.Errorf("%q for %q: %q, %v; want %q, %v", c.header, c.scope, name, err, c.name, c.err)
		}
	}
	if _, err := (Keys{}).Authorize("Bearer "+a, ScopeInfo); !errors.Is(err, ErrNoAPIKey) || keys.None() || !(Keys{}).None() {
		t.Errorf("no keys: %v", err)
	}
}

func TestBadKeys(t *testing.T) {
	for _, key := range []string{"", "tooshortakey123", "0123456789abcde ", "0123456789,abcdef", "0123456789abcdeé"} {
		_, err := NewKeys(APIKey{Key: "0123456789abcdef"}, APIKey{Key: key})
		if !errors.Is(err, ErrBadAPIKey) || key != "" && strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v", key, err)
		}
	}
	if _, err := NewKeys(APIKey{Key: "0123456789abcdef"}, APIKey{Key: "0123456789abcdef", Scopes: []Scope{}}); !errors.Is(err, ErrSameAPIKey) {
		t.Error(err)
	}
	if _, err := NewKeys(APIKey{Key: "0123456789abcdef", Scopes: []Scope{"publish", "everything"}}); !errors.Is(err, ErrBadScope) || strings.Contains(err.Error(), "0123456789abcdef") {
		t.Error(err)
	}
}
