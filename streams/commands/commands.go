package commands

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/dead"
	"github.com/jetwire/jetwire/streams/link"
	"github.com/jetwire/jetwire/streams/requests"
)

// Names that backends use.
const (
	Stream        = "jetwire_commands"
	SubjectPrefix = "jetwire.command." // before a destination: a command
	CallPrefix    = "jetwire.call."    // before a destination: a call
	HeaderTimeout = "Jw-Timeout"       // of a call: for how many milliseconds its client waits
)

// The defaults of Options.
const (
	DefaultMaxBytes       = 256 << 20
	DefaultMaxMessageSize = 64 << 10
	DefaultDedupWindow    = 2 * time.Minute
	DefaultTimeout        = 5 * time.Second
	DefaultInFlight       = 8192
	DefaultCalls          = 1024
	DefaultNamespaceCalls = 256
	DefaultCallTimeout    = 10 * time.Second
	DefaultMaxCallTimeout = 30 * time.Second
	DefaultMaxReply       = 64 << 10
)

// The errors of this package, besides *Refused.
var (
	// ErrUnavailable says that NATS cannot be reached, or does not take it. Nothing was stored, and nobody was asked.
	ErrUnavailable = errors.New("commands: unavailable")
	// ErrTimeout says that no answer came in time: what was asked for may have happened or not.
	ErrTimeout = errors.New("commands: no answer in time")
	// ErrStoreFull says that the queue holds as much as it may. Nothing was stored.
	ErrStoreFull = errors.New("commands: the queue is full")
	// ErrTooLarge says that a body, or a backend's answer, is larger than the options allow.
	ErrTooLarge = errors.New("commands: too large")
	// ErrNoService says that nobody serves the destination.
	ErrNoService = errors.New("commands: no backend serves this destination")
	// ErrBusy says that as many commands or calls are under way as may be.
	ErrBusy = errors.New("commands: too many are under way")
	// ErrClosed says that the queue is closed.
	ErrClosed = errors.New("commands: closed")
	// ErrRefused says that a stream cannot be made what the options say.
	ErrRefused = errors.New("commands: refused")
)

// Refused is a backend's own error, as NATS's micro services send them. Its text is for the client.
type Refused struct {
	Code string // such as "404"; may be empty
	Text string
}

func (e *Refused) Error() string {
	if e.Code == "" {
		return e.Text
	}
	return e.Code + ": " + e.Text
}

// Options says how commands are kept, and bounds what clients can make grow. Connect is required; the zero value of each other field is
// the default named beside it. Gateways that share a NATS account give the same.
type Options struct {
	Connect        link.Connect
	Memory         bool          // keep the queue in memory only
	Replicas       int           // 1
	MaxAge         time.Duration // a command that nobody has handled for so long is dropped; 0: never
	MaxBytes       int64         // of the queue; past it commands are refused; DefaultMaxBytes
	MaxMessageSize int           // bytes of a body; DefaultMaxMessageSize
	DedupWindow    time.Duration // DefaultDedupWindow
	Timeout        time.Duration // for storing a command; DefaultTimeout
	InFlight       int           // commands that wait for the store; DefaultInFlight

	Calls          int           // under way; DefaultCalls
	NamespaceCalls int           // under way to destinations of one namespace; DefaultNamespaceCalls
	CallTimeout    time.Duration // where a client names none; DefaultCallTimeout
	MaxCallTimeout time.Duration // at most, whatever a client names; DefaultMaxCallTimeout
	MaxReply       int           // bytes of an answer; DefaultMaxReply

	// Synced calls then once everything that JetStream has acknowledged would survive a power cut; nil: it is not waited for, and
	// durability does not say so. It must not block; then may be called at once or from any goroutine.
	Synced      func(then func(error))
	ServerSyncs bool                      // the NATS servers sync before they acknowledge: somebody's word, which is not checked
	Fault       func(stream string) error // what keeps a stream of the embedded store from taking more; nil: not asked

	AllowShrink bool // let smaller limits delete commands
	Dead        dead.Options
	Logger      *slog.Logger

	sweep time.Duration // between two looks for what was given up and nobody was told of
}

func (o *Options) fill() error {
	if o.Connect == nil {
		return errors.New("commands: Connect is required")
	}
	o.Replicas = defaulted(o.Replicas, 1)
	o.MaxBytes = defaulted(o.MaxBytes, DefaultMaxBytes)
	o.MaxMessageSize = defaulted(o.MaxMessageSize, DefaultMaxMessageSize)
	o.DedupWindow = defaulted(o.DedupWindow, DefaultDedupWindow)
	if o.MaxAge > 0 {
		o.DedupWindow = min(o.DedupWindow, o.MaxAge) // JetStream's rule
	}
	o.Timeout = defaulted(o.Timeout, DefaultTimeout)
	o.InFlight = defaulted(o.InFlight, DefaultInFlight)
	o.Calls = defaulted(o.Calls, DefaultCalls)
	o.NamespaceCalls = defaulted(o.NamespaceCalls, DefaultNamespaceCalls)
	o.MaxCallTimeout = defaulted(o.MaxCallTimeout, DefaultMaxCallTimeout)
	o.CallTimeout = min(defaulted(o.CallTimeout, DefaultCallTimeout), o.MaxCallTimeout)
	o.MaxReply = defaulted(o.MaxReply, DefaultMaxReply)
	o.sweep = defaulted(o.sweep, defaultSweep)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	return nil
}

func defaulted[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

// durability is the class of what is stored, as package streams names them.
func (o *Options) durability() string {
	switch {
	case o.Memory:
		return "memory"
	case o.Replicas > 1 && o.ServerSyncs:
		return "replicated+sync"
	case o.Replicas > 1:
		return "replicated"
	case o.Synced != nil || o.ServerSyncs:
		return "file+sync"
	}
	return "file"
}

// Stats are counters since Open, but for those that say "now".
type Stats struct {
	Stored    uint64 // commands
	Refused   uint64 // commands
	Unknown   uint64 // commands whose outcome stayed unknown
	InFlight  int    // commands now
	Called    uint64 // calls, however they ended
	Calls     int    // now
	NoService uint64 // calls
	TimedOut  uint64 // calls
	Waiting   uint64 // commands in the queue, whichever gateway they came through, as of the last look, a minute ago at most
	Dead      uint64 // commands put among the dead letters here
}

// Queue is Jetwire's side of commands and calls in one NATS account.
type Queue struct {
	// Fixed after construction.
	opts       Options
	durability string
	conn       *requests.Conn
	js         jetstream.JetStream
	calls      calls
	ctx        context.Context
	cancel     context.CancelFunc
	work       sync.WaitGroup // bury, maintain, sweep, and commands that wait for a sync
	missing    chan struct{}  // one token: a stream is gone

	stored, refused, unknown, inFlight, called, noService, timedOut, waiting, dead atomic.Int64
}

// Open connects to NATS and makes the streams, or makes them what the options say; ctx bounds how long that may take. It fails with
// ErrRefused, which says what to do, where that cannot be.
func Open(ctx context.Context, o Options) (*Queue, error) {
	if err := o.fill(); err != nil {
		return nil, err
	}
	q := &Queue{opts: o, durability: o.durability(), missing: make(chan struct{}, 1)}
	q.calls.namespaces, q.calls.users = map[string]int{}, map[string]int{}
	q.ctx, q.cancel = context.WithCancel(context.Background())
	var err error
	if q.conn, err = requests.Dial(link.Options{Connect: o.Connect, Name: "commands", Up: q.lost, Logger: o.Logger}); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	if q.js, err = jetstream.New(q.conn.Conn.Conn, jetstream.WithDefaultTimeout(apiTimeout)); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	if err := q.ensure(ctx); err != nil {
		return nil, errors.Join(err, q.Close())
	}
	q.work.Go(q.bury)
	q.work.Go(q.maintain)
	q.work.Go(q.sweep)
	return q, nil
}

// Close ends the connection. What waits for an answer gets ErrClosed; when it returns, nothing is called back any more.
func (q *Queue) Close() error {
	q.cancel()
	q.conn.Close()
	q.work.Wait()
	return nil
}

// DedupWindow is for how long a command with an id may be put again.
func (q *Queue) DedupWindow() time.Duration { return q.opts.DedupWindow }

// Stats returns the counters.
func (q *Queue) Stats() Stats {
	q.calls.mu.Lock()
	calls := q.calls.all
	q.calls.mu.Unlock()
	return Stats{
		Stored: uint64(q.stored.Load()), Refused: uint64(q.refused.Load()), Unknown: uint64(q.unknown.Load()), InFlight: int(q.inFlight.Load()),
		Called: uint64(q.called.Load()), Calls: calls, NoService: uint64(q.noService.Load()), TimedOut: uint64(q.timedOut.Load()), Waiting: uint64(q.waiting.Load()), Dead: uint64(q.dead.Load()),
	}
}
