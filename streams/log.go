package streams

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Log is Jetwire's view of the streams of one NATS account.
type Log struct {
	// Fixed after construction.
	opts   Options
	listed map[string]Policy
	ctx    context.Context
	cancel context.CancelFunc
	// publish carries publications, their acknowledgements and QoS 0 in both directions: NoEcho keeps what is sent here
	// from coming back here. feed carries the tails and management, reads carries pages.
	publish, feed, reads *conn
	pub                  *publisher
	syncer               *syncer // nil: there is no Options.Sync
	rd                   *reader
	workers              sync.WaitGroup

	spaces  atomic.Pointer[map[string]*space] // copied on write
	opening struct {
		mu     sync.Mutex // guards writes of spaces, and:
		closed bool
		active int // openings that run
		born   int // unlisted streams opened so far
		admit  sync.Mutex
		crowd  atomic.Pointer[crowd] // nil: there was always a place
	}

	gaps, refills, restarts, resets, delivered, synced atomic.Uint64
}

// Open connects to NATS, makes or updates the streams of the listed namespaces and begins to tail them. It refuses an
// update that would lose data, with an error that names what and what to do about it.
func Open(ctx context.Context, o Options) (*Log, error) {
	l := &Log{opts: o, listed: map[string]Policy{}}
	if err := l.fill(); err != nil {
		return nil, err
	}
	l.spaces.Store(&map[string]*space{})
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if err := l.connect(); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	l.workers.Go(func() { l.pub.runSender(l.ctx) })
	l.workers.Go(func() { l.pub.runSweeper(l.ctx) })
	l.workers.Go(func() { l.rd.runSweeper(l.ctx) })
	if l.opts.Sync != nil {
		l.syncer = newSyncer(l)
		l.workers.Go(func() { l.syncer.run(l.ctx) })
	}
	if err := l.openListed(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// fill checks the options and fills in their defaults.
func (l *Log) fill() error {
	o := &l.opts
	if o.Connect == nil || o.Deliver == nil {
		return errors.New("streams: Connect and Deliver are required")
	}
	o.MaxUnlisted = defaulted(o.MaxUnlisted, DefaultMaxUnlisted)
	o.MaxMessageSize = defaulted(o.MaxMessageSize, DefaultMaxMessageSize)
	o.SyncPause = defaulted(o.SyncPause, DefaultSyncPause)
	o.PublishTimeout = defaulted(o.PublishTimeout, DefaultPublishTimeout)
	o.IndexBytes = defaulted(o.IndexBytes, DefaultIndexBytes)
	o.RingBytes = defaulted(o.RingBytes, DefaultRingBytes)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	for _, p := range o.Policies {
		if !validNamespace(p.Namespace) {
			return fmt.Errorf("streams: %q cannot be a namespace: use letters, digits, _ and -, no _ at the beginning, and not %q", p.Namespace, reserved)
		}
		if _, twice := l.listed[p.Namespace]; twice {
			return fmt.Errorf("streams: namespace %q is listed twice", p.Namespace)
		}
		l.listed[p.Namespace] = p.filled(o)
	}
	if o.Sync != nil {
		return nil
	}
	for _, p := range o.Policies {
		if p.Sync {
			return fmt.Errorf("streams: namespace %s: sync: %w", p.Namespace, errNoSync)
		}
	}
	if o.Default != nil && o.Default.Sync {
		return fmt.Errorf("streams: default: sync: %w", errNoSync)
	}
	return nil
}

var errNoSync = errors.New("only the store of this process can be synced, and only on Linux; with an external NATS, set sync_interval there")

func defaulted[T int | int64 | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}

func (l *Log) connect() (err error) {
	l.pub, l.rd = newPublisher(l), newReader(l)
	if l.publish, err = dial(&l.opts, "publish", l.pub.disconnected, nil, nats.NoEcho()); err != nil {
		return err
	}
	if l.feed, err = dial(&l.opts, "feed", nil, l.feedUp); err != nil {
		return err
	}
	if l.reads, err = dial(&l.opts, "reads", l.rd.disconnected, nil); err != nil {
		return err
	}
	if err := l.pub.attach(l.publish); err != nil {
		return err
	}
	if err := l.rd.attach(l.reads); err != nil {
		return err
	}
	return l.watchAdvisories()
}

// feedUp makes every tail again: what was on its way when the connection broke is gone.
func (l *Log) feedUp() {
	for _, sp := range *l.spaces.Load() {
		if s := sp.opened.Load(); s != nil {
			s.restart(errReconnected)
		}
	}
}

// openListed opens the listed namespaces, and makes existing unlisted streams what the default policy says.
func (l *Log) openListed(ctx context.Context) error {
	for _, p := range l.listed {
		sp := l.space(p.Namespace)
		s, err := l.openStream(ctx, p, l.indexBudget(true))
		if err != nil {
			return err
		}
		sp.finish(s, nil)
	}
	if l.opts.Default == nil {
		return nil
	}
	names, err := unlistedStreams(ctx, l.feed.js, l.listed)
	if err != nil {
		return err
	}
	for _, ns := range names {
		if !validNamespace(ns) {
			continue
		}
		if _, err := ensure(ctx, l.feed.js, l.defaultPolicy(ns), l.opts.AllowShrink); err != nil {
			return fmt.Errorf("namespace %s is not listed, so the default policy applies: %w", ns, err)
		}
	}
	return nil
}

func (l *Log) defaultPolicy(ns string) Policy {
	p := *l.opts.Default
	p.Namespace, p.unlisted = ns, true
	return p.filled(&l.opts)
}

// indexBudget is a new stream's share of IndexBytes. Listed streams share one half evenly (all of it, if others are refused); of the
// rest the n-th unlisted one gets a share that falls with 1/n, so that all that may come stay within it.
func (l *Log) indexBudget(listed bool) int64 {
	half := l.opts.IndexBytes
	if len(l.listed) > 0 && l.opts.Default != nil {
		half /= 2
	}
	if listed {
		return half / int64(len(l.listed))
	}
	l.opening.mu.Lock()
	defer l.opening.mu.Unlock()
	l.opening.born++
	harmonic := math.Log(float64(l.opts.MaxUnlisted)) + 1 // not less than 1 + 1/2 + … + 1/MaxUnlisted
	return int64(float64(half) / harmonic / float64(l.opening.born))
}

// Close stops everything and closes the connections. Publications without an answer get ErrClosed; when it returns, no callback runs any more.
func (l *Log) Close() error {
	l.opening.mu.Lock()
	first := !l.opening.closed
	l.opening.closed = true
	l.opening.mu.Unlock()
	if !first {
		return nil
	}
	l.cancel()
	for _, sp := range *l.spaces.Load() {
		if s := sp.opened.Load(); s != nil {
			s.stop()
		}
	}
	l.workers.Wait()
	for _, c := range []*conn{l.reads, l.feed, l.publish} {
		if c != nil {
			c.close()
		}
	}
	for _, sp := range *l.spaces.Load() {
		if s := sp.opened.Load(); s != nil {
			s.checked(false)
		}
	}
	if l.pub != nil {
		l.pub.finish()
	}
	return nil
}

// away is the error while a connection is down.
func (l *Log) away() error {
	if l.ctx.Err() != nil {
		return ErrClosed
	}
	return ErrUnavailable
}

// Connected reports whether the connections to NATS stand.
func (l *Log) Connected() bool {
	return l.publish.Up() && l.feed.Up() && l.reads.Up()
}

// Stats returns the counters.
func (l *Log) Stats() Stats {
	st := Stats{
		GapsFound: l.gaps.Load(), GapsRefilled: l.refills.Load(), TailRestarts: l.restarts.Load(), Resets: l.resets.Load(),
		Delivered: l.delivered.Load(), Syncs: l.synced.Load(),
		Published: l.pub.published.Load(), Refused: l.pub.refused.Load(), Unknown: l.pub.unknown.Load(),
	}
	st.InFlight, st.Queued = l.pub.counts()
	l.rd.count(&st)
	for _, sp := range *l.spaces.Load() {
		s := sp.opened.Load()
		if s == nil {
			continue
		}
		g := s.gen.Load()
		channels, bytes := g.index.Stats()
		st.Streams++
		st.IndexChannels += channels
		st.IndexBytes += bytes
		st.RingBytes += g.ring.size()
	}
	return st
}

// Opened returns the streams that are open, by namespace.
func (l *Log) Opened() []*Stream {
	var open []*Stream
	for _, sp := range *l.spaces.Load() {
		if s := sp.opened.Load(); s != nil {
			open = append(open, s)
		}
	}
	slices.SortFunc(open, func(a, b *Stream) int { return strings.Compare(a.Namespace(), b.Namespace()) })
	return open
}

// RetryWindow returns the least dedup window of all policies: for so long a retry with the same id is safe.
func (l *Log) RetryWindow() time.Duration {
	var w time.Duration
	for _, p := range l.listed {
		w = minWindow(w, p.DedupWindow)
	}
	if l.opts.Default != nil || w == 0 {
		d := Policy{}
		if l.opts.Default != nil {
			d = *l.opts.Default
		}
		w = minWindow(w, d.filled(&l.opts).DedupWindow)
	}
	return w
}

// Publish stores a message, or at QoS 0 sends it. done is called exactly once, from any goroutine, possibly before Publish returns, and must
// not block. The body may be reused when Publish has returned.
func (l *Log) Publish(p Publication, done func(Ack, error)) {
	ns, err := namespaceOf(p.Channel)
	if err != nil {
		done(Ack{}, err)
		return
	}
	if sp := (*l.spaces.Load())[ns]; sp != nil {
		if s := sp.stream.Load(); s != nil {
			s.publish(&p, done)
			return
		}
	}
	p.Body = append([]byte(nil), p.Body...)
	l.With(p.Channel, func(s *Stream, err error) {
		if err != nil {
			done(Ack{}, err)
			return
		}
		s.publish(&p, done)
	})
}
