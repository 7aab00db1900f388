package auth

import (
	"errors"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	const a, b = "0123456789abcdef", "another-key-of-the-same-server"
	keys, err := NewKeys([]string{a, b})
	if err != nil {
		t.Fatal(err)
	}
	for header, holds := range map[string]bool{
		"Bearer " + a: true, "Bearer " + b: true, "bearer " + b: true,
		"": false, "Bearer": false, "Bearer ": false, "Bearer " + a[:15]: false, "Bearer " + a + "0": false, "Bearer  " + a: false,
		a: false, "Basic " + a: false, "Bearer " + strings.ToUpper(a): false, "Bearer " + a + "," + b: false,
	} {
		if err := keys.Authorize(header); (err == nil) != holds || err != nil && !errors.Is(err, ErrNoAPIKey) {
			t.Errorf("%q: %v", header, err)
		}
	}
	if err := (Keys{}).Authorize("Bearer " + a); !errors.Is(err, ErrNoAPIKey) {
		t.Errorf("no keys: %v", err)
	}
}

func TestBadKeys(t *testing.T) {
	for _, key := range []string{"", "tooshortakey123", "0123456789abcde ", "0123456789,abcdef", "0123456789abcdeé"} {
		_, err := NewKeys([]string{"0123456789abcdef", key})
		if !errors.Is(err, ErrBadAPIKey) || key != "" && strings.Contains(err.Error(), key) {
			t.Errorf("%q: %v", key, err)
		}
	}
}
