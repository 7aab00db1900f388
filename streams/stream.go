package streams

import (
	"context"
	"errors"
)

// Stream is the open stream of one namespace.
type Stream struct {
	policy Policy
}

// Namespace returns the namespace's name.
func (s *Stream) Namespace() string { return s.policy.Namespace }

// Policy returns the namespace's policy, its defaults filled in.
func (s *Stream) Policy() Policy { return s.policy }

// Durability returns the durability class of the stream.
func (s *Stream) Durability() string { return s.policy.Durability() }

// Epoch names this life of the stream. It changes when the stream is made anew, just before Options.Reset is called.
func (s *Stream) Epoch() string { return "" }

// Head returns the highest sequence that the tail has handed, or is handing, to Deliver. By then pages contain it.
func (s *Stream) Head() uint64 { return 0 }

// Page reads a part of a channel's past.
func (s *Stream) Page(ctx context.Context, r PageRequest) (Page, error) {
	return Page{}, errors.ErrUnsupported
}
