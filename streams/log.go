package streams

import (
	"context"
	"errors"
	"time"
)

// Log is Jetwire's view of the streams of one NATS account.
type Log struct {
	opts Options
}

// Open connects to NATS, makes or updates the streams of the listed namespaces and begins to tail them. It refuses an
// update that would lose data, with an error that names what and what to do about it.
func Open(ctx context.Context, o Options) (*Log, error) { return nil, errors.ErrUnsupported }

// Close stops everything and closes the connections. Publications without an answer get ErrClosed; when it returns, no callback runs any more.
func (l *Log) Close() error { return nil }

// Connected reports whether the connections to NATS stand.
func (l *Log) Connected() bool { return false }

// Stats returns the counters.
func (l *Log) Stats() Stats { return Stats{} }

// RetryWindow returns the least dedup window of all policies: for so long a retry with the same id is safe.
func (l *Log) RetryWindow() time.Duration { return 0 }

// With calls fn with the stream of a channel: at once, on the caller's goroutine, if it is open; otherwise it opens (or creates)
// the stream in the background and calls fn when that is done. Calls for one namespace run in the order they were made.
func (l *Log) With(channel string, fn func(*Stream, error)) { fn(nil, ErrUnavailable) }

// Publish stores a message, or at QoS 0 sends it. done is called exactly once, from any goroutine, possibly before Publish returns, and must
// not block. The body may be reused when Publish has returned.
func (l *Log) Publish(p Publication, done func(Ack, error)) { done(Ack{}, ErrUnavailable) }
