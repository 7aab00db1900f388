package client

import (
	"errors"
	"fmt"

	"github.com/jetwire/jetwire/gateway/wire"
)

// The errors of this package, besides *wire.Error for what the server refused.
var (
	// ErrClosed is returned after Close.
	ErrClosed = errors.New("client: closed")
	// ErrNotConnected says that nothing was sent: there is no connection, or it was lost before.
	ErrNotConnected = errors.New("client: not connected")
	// ErrOutcomeUnknown says that a publish, a command or a call was sent, that no answer came, and that sending it again might have it
	// done twice.
	ErrOutcomeUnknown = errors.New("client: outcome unknown")
	// ErrTooManyPending is returned by PublishAsync when Options.MaxPending requests wait for their replies.
	ErrTooManyPending = errors.New("client: too many requests are pending")
	// ErrUnsubscribed is Subscription.Err after Unsubscribe.
	ErrUnsubscribed = errors.New("client: unsubscribed")

	errSilent   = errors.New("client: nothing was heard for two ping intervals")
	errNoReply  = errors.New("client: no reply in time")
	errMoved    = errors.New("client: the server asked for a new connection")
	errResend   = errors.New("client: messages are to be sent again")
	errNewToken = errors.New("client: the server asked for a new token")
)

// CloseError is how the server closed the connection. It unwraps to a *wire.Error of the same code.
type CloseError struct {
	Code   wire.Code // 0: the close frame named none
	Reason string
}

func (e *CloseError) Error() string {
	s := "client: the server closed the connection"
	if e.Code != 0 {
		s += ": " + e.Code.String()
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	return s
}

// Unwrap returns the code as the error that a reply would carry.
func (e *CloseError) Unwrap() error {
	if e.Code == 0 {
		return nil
	}
	return e.Code.With(e.Reason)
}

// LostError is yielded by HistoryAll where the log no longer holds a part of what was asked for.
type LostError struct {
	Channel  string
	From, To uint64 // inclusive
}

func (e *LostError) Error() string {
	return fmt.Sprintf("client: %s: the log no longer holds messages between %d and %d", e.Channel, e.From, e.To)
}

// protocolError is a breach of RFC 6455 or of Jetwire's protocol by the server; code is what the client closes with.
// It does not unwrap: what the decoder says of the server is not what a server says of a command.
type protocolError struct {
	code wire.Code
	err  error
}

func (e *protocolError) Error() string {
	return "client: the server broke the protocol: " + e.err.Error()
}

func unknown(cause error) error { return fmt.Errorf("%w: %w", ErrOutcomeUnknown, cause) }
