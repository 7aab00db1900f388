// Package poll tells which sockets are ready, and nothing else: it wraps epoll for raw file descriptors that never meet
// Go's runtime poller. It reads, writes, opens and closes no socket, and imports nothing of Jetwire's.
//
// The epoll descriptor itself is parked in Go's poller, so a waiting Poller costs no thread: a goroutine blocked in
// epoll_wait would hold one, and waking it costs scheduler hand-offs.
//
// Only Linux has an implementation; elsewhere New returns ErrUnsupported and callers use a goroutine for each connection.
package poll

import "errors"

// Errors returned by this package, besides those of the system calls.
var (
	ErrUnsupported = errors.New("poll: epoll is not available on this system")
	ErrClosed      = errors.New("poll: poller closed")
)

// Events is what a descriptor is ready for, or what its owner wants to hear of.
type Events uint8

// Readable includes the end of the peer's stream; Hangup and errors are always reported, wanted or not.
const (
	Readable Events = 1 << iota
	Writable
	Hangup
)

// Event is one ready descriptor, named by the token that Add was given. A token should outlive its descriptor: the number
// of a closed descriptor is used again at once, and an event of the old one may already stand in the array.
type Event struct {
	Token  uint64
	Events Events
}

// BatchSize is the most events one call of Wait's function is given.
const BatchSize = 256
