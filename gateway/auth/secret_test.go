package auth

import (
	"errors"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestSecretIsMadeOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var wg sync.WaitGroup
	got := make([]string, 8)
	for i := range got {
		wg.Go(func() {
			s, err := Secret(dir)
			if err != nil {
				t.Error(err)
			}
			got[i] = string(s)
		})
	}
	wg.Wait()
	for _, s := range got {
		if s != got[0] || len(s) < MinSecret || url.PathEscape(s) != s {
			t.Fatal("the callers do not agree, or the secret is short, or cannot stand in a URL")
		}
	}
	info, err := os.Stat(filepath.Join(dir, SecretFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	other, err := Secret(t.TempDir())
	if err != nil || string(other) == got[0] {
		t.Error("another directory has the same secret")
	}
}

func TestSecretRefusesAFileOpenToOthers(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, SecretFile)
	text := strings.Repeat("s", 40)
	if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := Secret(dir); err != nil || string(s) != text {
		t.Errorf("%q, %v", s, err)
	}
	for _, mode := range []os.FileMode{0o604, 0o640, 0o602} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		_, err := Secret(dir)
		if !errors.Is(err, ErrOpenSecret) {
			t.Errorf("mode %v: %v", mode, err)
		}
		if err != nil && strings.Contains(err.Error(), text) {
			t.Error("the error shows the secret")
		}
	}
}

func TestSecretRefusesAShortOne(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, SecretFile), []byte("  short \n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Secret(dir); !errors.Is(err, ErrWeakSecret) {
		t.Error(err)
	}
}
