package events

import (
	"context"
	"iter"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/link"
)

// The defaults of Options.
const (
	DefaultMaxAge   = 7 * 24 * time.Hour
	DefaultMaxBytes = 1 << 30
	DefaultQueue    = 1 << 16
	DefaultGrace    = 3 * time.Second
)

// Options configures a Log. Connect, Gateway, Kinds and Alive are required.
type Options struct {
	Connect link.Connect
	Gateway string // this gateway's id: new for each process, and one token of a subject
	Kinds   []Kind // that are appended
	// Alive reports whether a gateway is known to live.
	Alive func(gateway string) bool
	// Open yields the connections that are open, and what each is subscribed to. It is asked when the others took this gateway for dead.
	Open iter.Seq2[*Connection, []string]

	Grace    time.Duration // for how long a gateway must not live before its connections are told to be gone
	Queue    int           // events that wait to be stored
	MaxAge   time.Duration
	MaxBytes int64
	Replicas int  // of the stream and the bucket
	Memory   bool // keep both in memory only
	Logger   *slog.Logger
}

// Stats is what a Log counts since it was opened.
type Stats struct {
	Appended uint64
	Lost     uint64
	Queued   int // now
}

// Log appends. Its methods are safe for concurrent use.
type Log struct {
	opts   Options
	conn   *link.Conn
	js     jetstream.JetStream
	kinds  map[Kind]bool
	keeps  bool          // entries: somebody wants to know who has gone
	wake   chan struct{} // one token: queue is not empty
	room   chan struct{} // one token: queue is no longer full
	stop   chan struct{} // closed by Close: no more will come
	ctx    context.Context
	cancel context.CancelFunc // ends what is under way
	work   sync.WaitGroup

	closing  sync.Once
	record   uint64 // revision of this gateway's key; owned by watch
	appended atomic.Uint64

	mu     sync.Mutex
	queue  []item
	next   uint64 // number of the next event that has no ID of its own
	lost   uint64 // in all
	untold uint64 // of these, those that no event has told
	closed bool
	intact bool // every Disconnect was queued and stored
}

// item is an event on its way, and what becomes of its connection's entry. An empty Kind is only the latter.
type item struct {
	Event
	entry  *entry // to be written before
	remove bool   // its entry, afterwards
}

// Open makes the stream and the bucket, unless they are there, and begins to append. ctx bounds how long that may take.
func Open(ctx context.Context, o Options) (*Log, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.MaxBytes <= 0 {
		o.MaxBytes = DefaultMaxBytes
	}
	if o.Grace <= 0 {
		o.Grace = DefaultGrace
	}
	l := &Log{opts: o, kinds: map[Kind]bool{Lost: true}, keeps: slices.Contains(o.Kinds, Disconnect), intact: true,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), stop: make(chan struct{})}
	for _, k := range o.Kinds {
		l.kinds[k] = true
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	conn, err := link.Dial(link.Options{Connect: o.Connect, Name: "events", Logger: o.Logger})
	if err != nil {
		return nil, err
	}
	l.conn = conn
	if l.js, err = jetstream.New(conn.Conn, jetstream.WithDefaultTimeout(requestTimeout), jetstream.WithPublishAsyncTimeout(requestTimeout)); err == nil {
		err = l.ensure(ctx)
	}
	if err == nil && l.keeps {
		l.record, err = l.write(ctx, o.Gateway)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	l.work.Go(l.run)
	if l.keeps {
		l.work.Go(l.watch)
	}
	return l, nil
}

// closeWait is how long Close waits for what is queued.
const closeWait = 5 * time.Second

// Close stores what is queued, if that is possible soon, and ends. Every connection must have been told to be gone.
func (l *Log) Close() { l.closing.Do(l.close) }

func (l *Log) close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	close(l.stop)
	timer := time.AfterFunc(closeWait, l.cancel)
	l.work.Wait()
	timer.Stop()
	l.cancel()
	if l.keeps && l.intact {
		l.unregister()
	}
	l.conn.Close()
}

// Stats returns what was counted so far.
func (l *Log) Stats() Stats {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Stats{Appended: l.appended.Load(), Lost: l.lost, Queued: len(l.queue)}
}

// Connected tells of a new connection. The names are what the client says, but for the session, which is one token of a subject and the
// connection's alone.
func (l *Log) Connected(session, user, device, client string) *Connection {
	now := time.Now().UnixMilli()
	c := &Connection{log: l, session: session, entry: entry{User: user, Device: device, Since: now}}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.connectedLocked(c, Event{Time: now, Client: client})
	return c
}

func (l *Log) connectedLocked(c *Connection, e Event) {
	e.ID, e.Kind, e.User, e.Session, e.Device = id(c.session, Connect, c.life), Connect, c.User, c.session, c.Device
	i := item{Event: e}
	if l.keeps {
		kept := c.entry
		kept.Life = c.life
		i.entry = &kept
	}
	l.pushLocked(i)
}

// Subscribed tells that the connection has a subscription to a channel or pattern.
func (c *Connection) Subscribed(channel string) { c.tell(Subscribe, channel) }

// Unsubscribed tells that it no longer has it. What a Disconnect ends needs not to be told.
func (c *Connection) Unsubscribed(channel string) { c.tell(Unsubscribe, channel) }

func (c *Connection) tell(k Kind, channel string) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.kinds[k] && !c.closed {
		l.pushLocked(l.channelItemLocked(k, c, channel))
	}
}

func (l *Log) channelItemLocked(k Kind, c *Connection, channel string) item {
	return item{Event: Event{ID: l.nextIDLocked(), Kind: k, Time: time.Now().UnixMilli(), User: c.User, Session: c.session, Device: c.Device, Channel: channel}}
}

// Disconnected tells that the connection has ended, with a WebSocket close code.
func (c *Connection) Disconnected(code int, reason string) {
	l := c.log
	l.mu.Lock()
	defer l.mu.Unlock()
	c.closed = true
	i := item{Event: disconnect(c.session, c.entry, c.life), remove: l.keeps}
	i.Code, i.Reason = code, reason
	if !l.pushLocked(i) {
		l.intact = false
	}
}

func disconnect(session string, e entry, life int) Event {
	return Event{ID: id(session, Disconnect, life), Kind: Disconnect, Time: time.Now().UnixMilli(), User: e.User, Session: session, Device: e.Device}
}

func (l *Log) nextIDLocked() string {
	l.next++
	return l.opts.Gateway + "-" + strconv.FormatUint(l.next, 36)
}

// pushLocked queues an item, and reports false if it is lost.
func (l *Log) pushLocked(i item) bool {
	if !l.kinds[i.Kind] {
		if i.entry == nil && !i.remove {
			return true
		}
		i.Kind = ""
	}
	if len(l.queue) >= l.opts.Queue || l.closed {
		l.loseLocked(1)
		return false
	}
	i.Gateway = l.opts.Gateway
	l.queue = append(l.queue, i)
	signal(l.wake)
	return true
}

func (l *Log) loseLocked(n int) {
	if l.untold == 0 {
		l.opts.Logger.Warn("events of connections are lost: NATS has not stored them for too long")
	}
	l.lost += uint64(n)
	l.untold += uint64(n)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
