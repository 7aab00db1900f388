//go:build !unix || solaris || illumos || aix

package main

import (
	"fmt"
	"os"
)

// lockDir makes the data directory. This system has no flock: nothing keeps a second server out of it.
func lockDir(dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data directory: %w", err)
	}
	return func() error { return nil }, nil
}
