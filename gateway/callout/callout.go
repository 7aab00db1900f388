// Package callout asks somebody outside, over NATS or HTTP, whether a user may do something: what tokens and rules cannot say.
//
// Nothing is allowed unless a well-formed answer says so. Whatever else happens (no answer in time, an answer that cannot be read or is
// too large, too many who wait) is an error, never an answer. What is asked at a time, what waits and what is remembered is bounded, and
// those who want to know the same ask once.
//
// The package knows users, operations and channels by name. It must not know connections, sessions or rules.
package callout

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// DefaultTimeout is how long an answer may take where Options names nothing else, and MaxTimeout the longest that it can name.
const (
	DefaultTimeout = 2 * time.Second
	MaxTimeout     = time.Minute
)

const (
	maxAsking  = 128     // questions under way
	maxWaiting = 4096    // that wait for their turn
	maxAnswers = 1 << 15 // that are remembered
)

// The errors of this package.
var (
	ErrInvalid     = errors.New("invalid authorizer")
	ErrUnavailable = errors.New("callout: the authorizer gives no answer")
)

// Options says whom to ask, and about what. Either Subject and Request, or URL is required.
type Options struct {
	Name    string // for the log
	Subject string // of NATS
	Request func(ctx context.Context, subject string, body []byte) ([]byte, error)

	URL    string
	Secret []byte // signs HTTP requests as webhooks are signed (package webhook); nil: they are not

	Timeout    time.Duration // of an answer, with the wait for its turn; 0: DefaultTimeout
	Cache      time.Duration // how long an answer is remembered at most; 0: not at all
	Operations []auth.Op     // nil: all
	// Data has the body of each message, command and call asked about, too. Answers to these are not remembered.
	Data   bool
	Logger *slog.Logger // default: discard
}

// Question is what an authorizer is asked.
type Question struct {
	User    string
	Op      auth.Op
	Channel string // of a subscription, perhaps a pattern; of a command or call, the destination

	// Session and Device are told where no answer is remembered: one that is must hold for all of the user's.
	Session, Device string

	Data     []byte // the JSON value of what is sent; told if Options.Data says so
	Encoding wire.Encoding
}

// Answer is what an authorizer says.
type Answer struct {
	Allow  bool
	Reason string // for the client; may be empty
}

// Authorizer asks one authority. Its methods are safe for concurrent use.
type Authorizer struct {
	opt    Options
	client *http.Client  // nil: NATS is asked
	turn   chan struct{} // a place for each question under way
	warn   rate.Sometimes

	ctx  context.Context // ends with Close
	stop context.CancelFunc
	work sync.WaitGroup

	asked, known, denied, failed atomic.Uint64

	mu      sync.Mutex
	closed  bool
	asking  int // goroutines that ask, or wait for their turn
	flights map[key][]func(Answer, error)
	recent  *simplelru.LRU[key, remembered]
}

// key is what an answer is remembered by.
type key struct {
	user, channel string
	op            auth.Op
}

type remembered struct {
	Answer
	until time.Time
}

// New makes an Authorizer. It fails with ErrInvalid. Close must be called.
func New(o Options) (*Authorizer, error) {
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Subject != "" && o.Request == nil {
		return nil, fmt.Errorf("%w: Subject without Request", ErrInvalid)
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if len(o.Operations) == 0 {
		o.Operations = auth.Ops()
	}
	recent, err := simplelru.NewLRU[key, remembered](maxAnswers, nil)
	if err != nil {
		return nil, err
	}
	a := &Authorizer{opt: o, warn: rate.Sometimes{First: 1, Interval: 10 * time.Second}, recent: recent, turn: make(chan struct{}, maxAsking), flights: map[key][]func(Answer, error){}}
	a.ctx, a.stop = context.WithCancel(context.Background())
	if o.URL != "" {
		a.client = newClient()
	}
	return a, nil
}

// Close ends the questions under way, and waits for them.
func (a *Authorizer) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	a.stop()
	a.work.Wait()
	if a.client != nil {
		a.client.CloseIdleConnections()
	}
	return nil
}

// Check reports what is wrong with o, but for Request. Its errors wrap ErrInvalid.
func (o *Options) Check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", ErrInvalid, fmt.Errorf(format, args...))
	}
	switch {
	case (o.Subject == "") == (o.URL == ""):
		return bad("want either nats or url")
	case o.URL != "" && !validURL(o.URL):
		return bad("url: want http://… or https://…")
	case o.Subject != "" && !validSubject(o.Subject):
		return bad("nats: %q is no subject to send to, or begins with jetwire", o.Subject)
	case o.Secret != nil && o.URL == "":
		return bad("secret: signs requests to a url")
	case o.Timeout < 0 || o.Timeout > MaxTimeout:
		return bad("timeout: more than %v", MaxTimeout)
	case o.Cache < 0:
		return bad("cache: is negative")
	}
	return nil
}

func validURL(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != ""
}

func validSubject(s string) bool {
	for token := range strings.SplitSeq(s, ".") {
		if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' || r == '*' || r == '>' }) {
			return false
		}
	}
	first, _, _ := strings.Cut(s, ".")
	return len(s) <= wire.MaxChannel && s[0] != '$' && first != "jetwire"
}

// Stats are counts since New.
type Stats struct {
	Asked  uint64 // questions sent
	Known  uint64 // answers given from memory
	Denied uint64 // noes, also from memory
	Failed uint64 // questions without an answer
}

// Stats returns the counts.
func (a *Authorizer) Stats() Stats {
	return Stats{a.asked.Load(), a.known.Load(), a.denied.Load(), a.failed.Load()}
}
