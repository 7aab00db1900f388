//go:build !linux

package natsd

// store cannot be synced as a whole on this system.
type store struct{}

func openStore(string) (store, error) { return store{}, nil }

func (store) syncer() func() error { return nil }

func (store) close() {}
