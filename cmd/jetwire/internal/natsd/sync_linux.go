package natsd

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// store is the directory of JetStream's files, open so that its file system can be synced.
type store struct{ dir *os.File }

func openStore(dir string) (store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return store{}, err
	}
	f, err := os.Open(dir)
	return store{f}, err
}

// syncer returns what makes everything in the store survive a power cut. It syncs the whole file system: which of
// JetStream's files hold what was acknowledged is JetStream's own affair.
func (s store) syncer() func() error {
	return func() error {
		raw, err := s.dir.SyscallConn()
		if err != nil {
			return err
		}
		var failed error
		err = raw.Control(func(fd uintptr) { failed = unix.Syncfs(int(fd)) })
		if err := errors.Join(err, failed); err != nil {
			return fmt.Errorf("sync the file system of %s: %w", s.dir.Name(), err)
		}
		return nil
	}
}

func (s store) close() {
	if s.dir != nil {
		_ = s.dir.Close()
	}
}
