// Package webhook hands events to HTTP endpoints: signed as the Standard Webhooks specification has it
// (github.com/standard-webhooks/standard-webhooks, version 1), at least once, and in order for each key.
//
// Invariants:
//   - Done of an event is called only once the endpoint has answered it with 2xx, or it is stored as a dead letter.
//   - The events of one key are sent one after the other, each only when the one before it is done. Up to Parallel requests of
//     different keys are under way.
//   - An endpoint that answers nobody makes no dead letters but for events that are a day old: what cannot be sent waits.
//   - Redirects are not followed. No error, log line or dead letter holds a secret, a signature or the endpoint's URL.
//
// The package knows HTTP, time and bytes. It must not know sockets, sessions, NATS, nor where events come from.
package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"
)

// The defaults of an Endpoint.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxAttempts = 10
	DefaultParallel    = 8
)

// Patience is how long an event is tried before it becomes a dead letter, even if the endpoint refused it less than MaxAttempts times.
const Patience = 24 * time.Hour

// Endpoint is where events go. Name, URL and Secrets are required.
type Endpoint struct {
	Name        string
	URL         string        // http or https; a user and a password in it become basic authentication
	Secrets     [][]byte      // each signs; more than one while they are being replaced. See ParseSecret
	Timeout     time.Duration // of one request
	MaxAttempts int           // refusals of one event that make it a dead letter
	Parallel    int           // requests at a time
}

// Event is what an endpoint is told.
type Event struct {
	ID     string // the same each time that the event is sent
	Key    string // whose events keep their order
	Body   []byte // JSON
	Origin any    // for Options.Dead: where it comes from
	Done   func() // called when nothing is left to do for it, from any goroutine
}

// Letter is an event that could not be delivered.
type Letter struct {
	Endpoint string
	Event    Event
	Attempts int
	Reason   string // of the last failure
}

// Options is what all endpoints share. Dead is required.
type Options struct {
	// Dead stores a dead letter. It is called again, after a while, when it fails.
	Dead   func(context.Context, Letter) error
	Logger *slog.Logger // default: discard
}

// Stats counts since the Sender was made.
type Stats struct {
	Delivered uint64 // events answered with 2xx
	Failed    uint64 // requests that failed; most were repeated
	Dead      uint64 // events that became dead letters
}

// Sender sends to one endpoint.
type Sender struct {
	endpoint Endpoint
	dead     func(context.Context, Letter) error
	log      *slog.Logger
	client   *http.Client
	post     func(context.Context, Event) error
	pause    func(attempt int) time.Duration

	delivered, failed, died atomic.Uint64
	failing                 atomic.Bool // the last request failed
}

// ErrInvalid is wrapped by what Check and ParseSecret return.
var ErrInvalid = errors.New("invalid webhook")

// Check says what is wrong with an endpoint, without showing its URL or secrets.
func (e *Endpoint) Check() error {
	u, err := url.Parse(e.URL)
	switch {
	case e.Name == "":
		return fmt.Errorf("%w: it has no name", ErrInvalid)
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%w: %s: the URL is not like https://HOST/PATH", ErrInvalid, e.Name)
	case len(e.Secrets) == 0:
		return fmt.Errorf("%w: %s: it has no secret", ErrInvalid, e.Name)
	}
	return nil
}

// New makes the Sender of an endpoint. Close frees its connections.
func New(e Endpoint, o Options) (*Sender, error) {
	if err := e.Check(); err != nil {
		return nil, err
	}
	if e.Timeout <= 0 {
		e.Timeout = DefaultTimeout
	}
	if e.MaxAttempts <= 0 {
		e.MaxAttempts = DefaultMaxAttempts
	}
	if e.Parallel <= 0 {
		e.Parallel = DefaultParallel
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Sender{endpoint: e, dead: o.Dead, log: o.Logger.With("webhook", e.Name), client: newClient(&e), pause: backoff}
	s.post = s.request
	return s, nil
}

// Stats returns what was counted so far.
func (s *Sender) Stats() Stats {
	return Stats{Delivered: s.delivered.Load(), Failed: s.failed.Load(), Dead: s.died.Load()}
}

// Close closes idle connections. No Run may be left.
func (s *Sender) Close() { s.client.CloseIdleConnections() }
