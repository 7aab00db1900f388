// Package client is Jetwire's Go client: one WebSocket that is kept alive, subscriptions that survive it, and publishes that
// are stored once.
//
// Its invariants:
//   - A Client is in one State at a time, and one goroutine (run) makes every transition.
//   - A connection has one reader and one writer. Whatever waits for the writer leaves in one write.
//   - What a subscription hands on is in order, without duplicates, and without a gap that OnGap did not name.
//   - A publish with an id is tried again until its outcome is known, or until trying again could store it twice.
//   - In a durable session nothing is acknowledged that the application has not taken, and nothing that the server keeps for the device is
//     given up but by Unsubscribe.
//   - Every queue is bounded, and every goroutine has ended when Close returns.
//
// It must not know how a server keeps its log, and it imports nothing of Jetwire's but the protocol (gateway/wire).
package client

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// The defaults of Options.
const (
	DefaultBackoffMin     = 500 * time.Millisecond
	DefaultBackoffMax     = 30 * time.Second
	DefaultStableAfter    = 10 * time.Second
	DefaultConnectTimeout = 10 * time.Second
	DefaultReplyTimeout   = 30 * time.Second
	DefaultMaxPending     = 1024
	DefaultQueueMessages  = 1024
	DefaultQueueBytes     = 1 << 20
	DefaultMaxFrame       = 16 << 20
)

// Options says where to connect and how. Only URL is needed; the zero value of each other field means its Default constant, or what is named beside it.
type Options struct {
	URL   string                                // ws://host:port/path or wss://…
	Token func(context.Context) (string, error) // asked before the first connect, before the token expires, and whenever the server wants a new one; nil: no token
	Name  string                                // the program's name and version, for the server's log; at most 64 bytes

	// Device makes the session durable: the server keeps the subscriptions of (user, device), and up to where they were
	// acknowledged, across connections and processes. Two clients must not share one: the newer takes the session over, and the
	// older ends with the code taken_over. 1 to 64 bytes of printable ASCII without spaces; empty: not durable.
	Device string

	Header http.Header                                                       // of the upgrade request, for example Origin
	TLS    *tls.Config                                                       // for wss; nil: the system's roots
	Dialer func(ctx context.Context, network, addr string) (net.Conn, error) // nil: net.Dialer

	// FailFast makes Dial return the error of its first attempt, whatever it is. Otherwise Dial tries again until its
	// context ends, except after an error that says that the same request will fail again.
	FailFast bool

	// After n failures in a row, the next attempt waits for a random time between 0 and min(BackoffMax, BackoffMin << (n-1)).
	BackoffMin, BackoffMax time.Duration
	StableAfter            time.Duration // a connection that held this long starts the back-off anew
	ConnectTimeout         time.Duration // for one attempt: network, TLS, upgrade and connect's reply
	ReplyTimeout           time.Duration // after which a request that was sent counts as lost
	MaxPending             int           // publishes, commands, calls, and requests for history and presence that wait for their replies
	QueueMessages          int           // received for one subscription and not yet handed on (or the server's max_unacked, if that is more) …
	QueueBytes             int           // … and their bodies' bytes
	MaxFrame               int           // bytes of the largest frame taken from the server

	Logger  *slog.Logger // nil: nothing is logged
	OnState func(State)  // called at every change, in order, on the client's own goroutine; must not block

	// OnSession is called for each connection before its state is Connected, on the same goroutine; must not block. In a durable
	// session it tells whether the server still knows the device.
	OnSession func(Session)
}

func (o *Options) setDefaults() {
	def(&o.BackoffMin, DefaultBackoffMin)
	def(&o.BackoffMax, DefaultBackoffMax)
	def(&o.StableAfter, DefaultStableAfter)
	def(&o.ConnectTimeout, DefaultConnectTimeout)
	def(&o.ReplyTimeout, DefaultReplyTimeout)
	def(&o.MaxPending, DefaultMaxPending)
	def(&o.QueueMessages, DefaultQueueMessages)
	def(&o.QueueBytes, DefaultQueueBytes)
	def(&o.MaxFrame, DefaultMaxFrame)
	if o.Dialer == nil {
		o.Dialer = (&net.Dialer{}).DialContext
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
}

func def[T int | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// State is where a Client stands.
type State uint8

// The states. Closed is final.
const (
	Connecting State = iota
	Connected
	BackingOff
	Closed
)

// String returns the state's name in lower case.
func (s State) String() string {
	switch s {
	case Connecting:
		return "connecting"
	case Connected:
		return "connected"
	case BackingOff:
		return "backing off"
	default:
		return "closed"
	}
}

// Stats counts what a Client saw since Dial.
type Stats struct {
	Connects   uint64 // connections that reached Connected
	Received   uint64 // messages handed to OnMessage's queue
	Duplicates uint64 // messages dropped because their sequence was handed on already
	Gaps       uint64 // times that prev showed a missing message
	Repairs    uint64 // of these: subscriptions made anew from their position
	Sheds      uint64 // times that a subscription was given back to the server because its handler was too slow
	Dropped    uint64 // messages without a sequence dropped because the queue was full
	Retries    uint64 // requests sent again
	Acks       uint64 // acks sent by durable subscriptions
}

// Client is a connection to a Jetwire server that is made anew whenever it is lost. Its methods may be called from any goroutine.
type Client struct {
	// Fixed after construction.
	o      Options
	log    *slog.Logger
	ctx    context.Context // ends when the client does
	cancel context.CancelCauseFunc
	slots  chan struct{} // holds one element for each pending publish or history request
	prefix string        // of the message ids that this client makes
	wg     sync.WaitGroup
	ready  chan struct{} // closed by run when it has been Connected once
	ended  chan struct{} // closed by run when the state is Closed
	alarm  chan struct{} // wakes keepTime
	moved  chan struct{} // tells run that conn.moveAt has changed
	ids    atomic.Uint64 // of message ids
	count  counters

	// Owned by run.
	backoff backoff
	token   string
	expires time.Time // of token; zero: never, or unknown
	fresh   bool      // ask for a new token before the next connect
	refused wire.Code // what the last attempt was refused with, if that asked for a new token; else 0

	// mu guards what follows and the fields of requests and subscriptions that say so. No callback runs under it.
	mu      sync.Mutex
	state   State
	lastErr error   // why the last connection or attempt ended
	err     error   // why the client ended
	conn    *conn   // nil unless Connected
	session Session // of the present connection, or of the last one
	window  time.Duration
	nextID  uint64 // of commands
	pending map[uint64]*request
	out     []*request               // waiting to be written, in order
	subs    map[string]*Subscription // by channel or pattern

	ackLater []*Subscription // their acks are due later
	spare    string          // a token that was to renew a connection; empty: none
}

type counters struct {
	connects, received, duplicates, gaps, repairs, sheds, dropped, retries, acks atomic.Uint64
}

// Dial connects. It returns when the client is Connected, or with the error that made it give up: ctx ended, the server answered
// that the same request would fail again (*wire.Error or *CloseError), or any error at all if Options.FailFast is set.
// Afterwards the client connects again by itself until Close, or until such an answer (see Done).
func Dial(ctx context.Context, o Options) (*Client, error) {
	o.setDefaults()
	u, err := parseURL(o.URL)
	if err != nil {
		return nil, err
	}
	o.URL = u
	if o.Device != "" {
		if err := wire.ValidDevice(o.Device); err != nil {
			return nil, fmt.Errorf("client: %w", err)
		}
	}
	// The client outlives the context of Dial, but keeps its values: Options.Token and Options.Dialer see them.
	c := newClient(context.WithoutCancel(ctx), o)
	c.wg.Go(c.run)
	c.wg.Go(c.keepTime)
	select {
	case <-c.ready:
		return c, nil
	case <-c.ended:
		c.wg.Wait()
		return nil, c.Err()
	case <-ctx.Done():
		last := c.LastError()
		_ = c.Close()
		if last != nil {
			return nil, fmt.Errorf("client: dial: %w; the last attempt: %w", context.Cause(ctx), last)
		}
		return nil, fmt.Errorf("client: dial: %w", context.Cause(ctx))
	}
}

func newClient(ctx context.Context, o Options) *Client {
	c := &Client{
		o:       o,
		log:     o.Logger,
		slots:   make(chan struct{}, o.MaxPending),
		prefix:  rand.Text()[:16] + "-",
		ready:   make(chan struct{}),
		ended:   make(chan struct{}),
		alarm:   make(chan struct{}, 1),
		moved:   make(chan struct{}, 1),
		backoff: backoff{min: o.BackoffMin, max: o.BackoffMax},
		fresh:   true,
		state:   Connecting,
		pending: make(map[uint64]*request),
		subs:    make(map[string]*Subscription),
	}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	return c
}

// Close ends the client: it says goodbye to the server, fails what is pending and waits for every goroutine, callbacks included.
// So it must not be called from a callback; `go c.Close()` does there. Messages received but not yet handed on are dropped.
func (c *Client) Close() error {
	c.cancel(ErrClosed)
	c.wg.Wait()
	return nil
}

// State returns the current state.
func (c *Client) State() State {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// Done is closed when the client has ended, by Close or by an answer that says not to come back; Err then says why.
func (c *Client) Done() <-chan struct{} { return c.ended }

// Err returns nil while the client lives, ErrClosed after Close, and otherwise the error that ended it.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// LastError says why the last connection was lost, or why the last attempt to connect failed; nil if there was no such thing.
func (c *Client) LastError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lastErr
}

// Stats returns the counters.
func (c *Client) Stats() Stats {
	n := &c.count
	return Stats{
		Connects: n.connects.Load(), Received: n.received.Load(), Duplicates: n.duplicates.Load(), Gaps: n.gaps.Load(),
		Repairs: n.repairs.Load(), Sheds: n.sheds.Load(), Dropped: n.dropped.Load(), Retries: n.retries.Load(), Acks: n.acks.Load(),
	}
}

// Ping asks the server for a reply and waits for it. It fails with ErrNotConnected if there is no connection, or if that is lost meanwhile.
func (c *Client) Ping(ctx context.Context) error {
	return c.do(ctx, &request{op: wire.OpPing}, func(id uint64) []byte { return wire.AppendPing(nil, id) }, nil)
}

// newMessageID makes an id that no other client makes.
func (c *Client) newMessageID() string {
	return c.prefix + strconv.FormatUint(c.ids.Add(1), 36)
}

// end makes the client Closed: everything pending fails with err. Called once, by run, when its connection is gone.
func (c *Client) end(err error) {
	c.cancel(err)
	c.mu.Lock()
	c.err = err
	c.out = nil
	left := slices.SortedFunc(maps.Values(c.pending), byID)
	subs := slices.Collect(maps.Values(c.subs))
	for _, r := range left {
		c.removeLocked(r)
	}
	for _, s := range subs {
		s.endLocked(err)
	}
	c.mu.Unlock()
	for _, r := range left {
		r.done(nil, r.failure(err))
	}
	c.setState(Closed, nil)
	close(c.ended)
}
