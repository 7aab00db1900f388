// Package refusal says what JetStream's error codes mean to those who write to it.
package refusal

import (
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// Wrap says why a message was not stored, and wraps one of its caller's errors: full, tooLarge, or what holds for any other reason.
func Wrap(e *jetstream.APIError, full, tooLarge, other error) error {
	base := other
	switch {
	case isFull(e.ErrorCode):
		base = full
	case TooLarge(e.ErrorCode):
		base = tooLarge
	}
	return fmt.Errorf("%w: JetStream refused it: %s (%d)", base, e.Description, e.ErrorCode)
}

// isFull reports that a limit of the stream, the account or the server is reached, or the disk is full.
func isFull(code jetstream.ErrorCode) bool {
	switch code {
	case 10023, // insufficient resources
		10028, // insufficient memory
		10047, // insufficient storage
		10077, // store failed: maximum messages, maximum bytes, disk full
		10122: // the account's limit
		return true
	}
	return false
}

// TooLarge reports that the message is larger than the stream takes.
func TooLarge(code jetstream.ErrorCode) bool { return code == 10054 }

// Moved reports that somebody else has written to the subject since the revision that was expected.
func Moved(code jetstream.ErrorCode) bool {
	return code == jetstream.JSErrCodeStreamWrongLastSequence || code == 10164 // where the server does not know the present revision yet
}
