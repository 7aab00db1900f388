package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/config"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
)

// The exit codes, as help prints them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitRefused     = 3
	exitUnavailable = 4
	exitInterrupted = 130

	exitHelp = `Exit codes:
   0    success; for serve also an orderly end after SIGINT or SIGTERM
   1    failure
   2    wrong usage or configuration
   3    refused: the token, a permission, or by a backend
   4    unavailable, or no answer in time (the outcome may be unknown)
   130  interrupted`
)

// errInterrupted is the cause of the program's context after SIGINT or SIGTERM.
var errInterrupted = errors.New("interrupted")

// usageError is a mistake in the arguments or the configuration.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// exitCode is the one place that maps errors to exit codes.
func exitCode(err error) int {
	var usage *usageError
	var answer *wire.Error
	var network *net.OpError // not net.Error: that is also what a full disk gives (syscall.Errno)
	var name *net.DNSError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	case errors.As(err, &usage), errors.Is(err, config.ErrUnsafe):
		return exitUsage
	case errors.As(err, &answer):
		return answerCode(answer.Code)
	case errors.Is(err, client.ErrNotConnected), errors.Is(err, client.ErrOutcomeUnknown), errors.Is(err, context.DeadlineExceeded),
		errors.Is(err, streams.ErrUnavailable), errors.Is(err, streams.ErrTimeout), errors.As(err, &network), errors.As(err, &name):
		return exitUnavailable
	}
	return exitFailure
}

// answerCode is the exit code for what the server answered.
func answerCode(c wire.Code) int {
	switch c {
	case wire.BadToken, wire.ExpiredToken, wire.Revoked, wire.Unauthenticated, wire.PermissionDenied, wire.Refused, wire.Disconnected:
		return exitRefused
	case wire.BadChannel:
		return exitUsage
	case wire.StoreFull, wire.Internal:
		return exitFailure
	}
	if c.Comeback() == wire.Later {
		return exitUnavailable
	}
	return exitFailure
}
