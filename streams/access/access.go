package access

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/link"
)

const (
	DefaultKeep = 30 * 24 * time.Hour

	MaxTickets     = 1 << 20
	MaxRevocations = 1 << 17
	MaxValue       = 16 << 10 // bytes of what a ticket stands for
	MaxTTL         = 24 * time.Hour

	timeout    = 5 * time.Second // for one request
	checkEvery = time.Minute     // how often the buckets are looked at, and what has ended is forgotten
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
	redeeming  = 1024 // tickets under way; more are refused for now
)

var (
	// ErrInvalid says that a ticket was not issued for this, has ended, or was used before.
	ErrInvalid = errors.New("access: the ticket is not valid")
	// ErrUnavailable says that NATS is away or did not answer in time. A ticket may have been used up; a revocation may have been stored.
	ErrUnavailable = errors.New("access: unavailable")
	// ErrFull says that there are as many tickets, or revocations, as there may be.
	ErrFull = errors.New("access: full")
	// ErrBadRequest is wrapped by what says that an argument is out of bounds.
	ErrBadRequest = errors.New("access: bad request")
)

// Options are the options of a Store. Connect is required.
type Options struct {
	Connect  link.Connect
	Keep     time.Duration // how long a revocation holds that names no time: as long as a token may live; DefaultKeep
	Replicas int           // 1
	Memory   bool          // keep the buckets in memory only
	// Synced calls then once everything that JetStream has acknowledged would survive a power cut; nil: it is not waited for.
	Synced func(then func(error))
	// Revoked is called when there are new revocations: what Store.Revoked says may have changed. It must not block.
	Revoked func()
	Logger  *slog.Logger
}

// Store is a gateway's part. Its methods may be called from any goroutine.
type Store struct {
	// Fixed after construction.
	opts    Options
	check   time.Duration
	nc      *link.Conn
	buckets buckets
	ctx     context.Context
	cancel  context.CancelFunc
	again   chan struct{} // one token: the connection is back
	slots   chan struct{} // of tickets under way

	key atomic.Pointer[sharedKey]
	set revocations

	mu     sync.Mutex
	closed bool
	work   sync.WaitGroup
}

// Open connects to NATS, makes the buckets if they are missing, and reads all revocations.
func Open(ctx context.Context, o Options) (*Store, error) { return open(ctx, o, checkEvery) }

func open(ctx context.Context, o Options, check time.Duration) (*Store, error) {
	if o.Connect == nil {
		return nil, errors.New("access: Connect is required")
	}
	if o.Keep <= 0 {
		o.Keep = DefaultKeep
	}
	o.Replicas = max(o.Replicas, 1)
	if o.Revoked == nil {
		o.Revoked = func() {}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{opts: o, check: check, again: make(chan struct{}, 1), slots: make(chan struct{}, redeeming)}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if err := s.dial(); err != nil {
		s.cancel()
		return nil, err
	}
	w, err := s.watch(ctx)
	if err != nil {
		s.hangUp()
		return nil, err
	}
	if err := s.readAll(ctx, w); err != nil {
		s.hangUp()
		return nil, err
	}
	s.work.Go(func() { s.run(w) })
	return s, nil
}

func (s *Store) dial() (err error) {
	up := func() {
		select {
		case s.again <- struct{}{}:
		default:
		}
	}
	s.nc, err = link.Dial(link.Options{Connect: s.opts.Connect, Name: "access", Up: up, Logger: s.opts.Logger})
	if err != nil {
		return unavailable(err)
	}
	s.buckets.js, err = jetstream.New(s.nc.Conn, jetstream.WithDefaultTimeout(timeout))
	if err != nil {
		s.hangUp()
	}
	return err
}

func (s *Store) hangUp() {
	s.cancel()
	s.nc.Close()
}

// Close ends the store and waits for what is under way; tickets that are being redeemed get ErrUnavailable.
func (s *Store) Close() error {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return nil
	}
	s.cancel()
	s.work.Wait()
	s.hangUp()
	return nil
}

// goWork runs f on a goroutine that Close waits for. It reports false if the store is closed.
func (s *Store) goWork(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.work.Go(f)
	}
	return !s.closed
}

// run follows the revocations until the store is closed, and begins anew whenever something may have been missed.
func (s *Store) run(w jetstream.KeyWatcher) {
	backoff := minBackoff
	for {
		if w != nil {
			s.follow(w)
			backoff = minBackoff
		}
		if s.ctx.Err() != nil {
			return
		}
		var err error
		if w, err = s.watch(s.ctx); err == nil {
			continue
		}
		s.opts.Logger.Warn("the revocations of tokens cannot be read now; those known go on to hold", "error", err, "retry_in", backoff)
		t := time.NewTimer(backoff)
		select {
		case <-t.C:
		case <-s.again:
		case <-s.ctx.Done():
		}
		t.Stop()
		backoff = min(2*backoff, maxBackoff)
	}
}

// follow takes revocations as they come, and returns when they are to be read again.
func (s *Store) follow(w jetstream.KeyWatcher) {
	defer func() { _ = w.Stop() }()
	check := time.NewTicker(s.check)
	defer check.Stop()
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return
			}
			s.take(e)
		case <-s.again:
			return
		case now := <-check.C:
			s.set.forget(now)
			if !s.buckets.same(s.ctx, s.key.Load()) {
				return
			}
		case <-s.ctx.Done():
			return
		}
	}
}

// readAll takes the revocations that there are.
func (s *Store) readAll(ctx context.Context, w jetstream.KeyWatcher) error {
	for {
		select {
		case e, ok := <-w.Updates():
			if !ok {
				return unavailable(errors.New("the connection has ended"))
			}
			if e == nil {
				return nil
			}
			s.take(e)
		case <-ctx.Done():
			return unavailable(context.Cause(ctx))
		}
	}
}

// watch makes what is missing of the buckets and begins to follow the revocations.
func (s *Store) watch(ctx context.Context) (jetstream.KeyWatcher, error) {
	ctx, cancel := context.WithTimeout(ctx, 4*timeout)
	defer cancel()
	key, err := s.buckets.ensure(ctx, &s.opts, s.key.Load())
	if err != nil {
		return nil, err
	}
	s.key.Store(key)
	w, err := s.buckets.revokedKV().WatchAll(s.ctx) // it ends with its context
	if err != nil {
		return nil, unavailable(err)
	}
	return w, nil
}

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }
