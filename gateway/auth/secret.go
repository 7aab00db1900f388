package auth

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// MinSecret is the length of the shortest secret in bytes: RFC 7518, section 3.2, wants a key at least as long as the
// hash, which is 32 bytes for HS256.
const MinSecret = 32

// SecretFile is the name of the secret's file in a data directory.
const SecretFile = "secret"

// ErrOpenSecret is wrapped by what Secret returns for a file that other users can read or write.
var ErrOpenSecret = errors.New("the secret is open to other users")

// Secret returns the token secret of a data directory, as MakeSecret does.
func Secret(dir string) ([]byte, error) { return MakeSecret(filepath.Join(dir, SecretFile)) }

// MakeSecret returns the text of a file without surrounding white space. The first call makes it: 32 random bytes in
// base64url, which needs no quoting in a URL, in a file of mode 0600 that appears whole or not at all, so that two processes that start together agree.
func MakeSecret(path string) ([]byte, error) {
	secret, err := readPrivate(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return secret, err
	}
	if err := create(path); err != nil {
		return nil, fmt.Errorf("make the secret %s: %w", path, err)
	}
	return readPrivate(path)
}

func create(path string) error {
	dir, name := filepath.Dir(path), filepath.Base(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	raw := make([]byte, 32)
	rand.Read(raw)                               // never fails (crypto/rand)
	tmp, err := os.CreateTemp(dir, "."+name+"-") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(base64.RawURLEncoding.EncodeToString(raw) + "\n")
	if err := errors.Join(err, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	// A link, unlike a rename, fails if somebody was faster; then theirs is the secret.
	if err := os.Link(tmp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// readPrivate reads a secret that nobody but its owner may read.
func readPrivate(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("%w: %s has mode %04o; make a new one, or run chmod 600 on it", ErrOpenSecret, path, mode)
	}
	return ReadSecret(path)
}

// ReadSecret returns the text of a file without surrounding white space, whatever the file's mode.
// It fails with ErrWeakSecret if that is shorter than MinSecret.
func ReadSecret(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if b = bytes.TrimSpace(b); len(b) < MinSecret {
		return nil, fmt.Errorf("%s: %w", path, ErrWeakSecret)
	}
	return b, nil
}
