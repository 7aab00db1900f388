//go:build !linux

package poll

// Poller has no implementation on this system.
type Poller struct{}

// New returns ErrUnsupported.
func New() (*Poller, error) { return nil, ErrUnsupported }

// Add returns ErrUnsupported.
func (*Poller) Add(int, uint64, Events) error { return ErrUnsupported }

// Modify returns ErrUnsupported.
func (*Poller) Modify(int, uint64, Events) error { return ErrUnsupported }

// Remove returns ErrUnsupported.
func (*Poller) Remove(int) error { return ErrUnsupported }

// Wait returns ErrUnsupported.
func (*Poller) Wait(func([]Event)) error { return ErrUnsupported }

// Close does nothing.
func (*Poller) Close() error { return nil }
