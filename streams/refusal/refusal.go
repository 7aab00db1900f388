// Package refusal says what JetStream's error codes mean to those who write to it.
package refusal

import "github.com/nats-io/nats.go/jetstream"

// Full reports that a limit of the stream, the account or the server is reached, or the disk is full.
func Full(code jetstream.ErrorCode) bool {
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
