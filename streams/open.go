package streams

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxOpenings  = 64              // namespaces that are being opened at once
	maxWaiters   = 16 << 10        // calls that wait for one namespace
	openTimeout  = 5 * time.Second // for one attempt
	maxSpaces    = 4096            // names remembered, with the failed ones
	retryFailed  = time.Second     // how long a failure is the answer to further calls
	retryMissing = 100 * time.Millisecond
)

// space is one namespace as this Log knows it.
type space struct {
	stream atomic.Pointer[Stream] // set once it is open and nobody waits any more
	opened atomic.Pointer[Stream] // set as soon as it is open

	mu       sync.Mutex
	busy     bool // an opening runs, or its waiters are being called
	waiters  []func(*Stream, error)
	failed   error
	failedAt time.Time
}

// space returns the entry of a namespace, made if need be; nil when the Log is closed or there are too many.
func (l *Log) space(ns string) *space {
	if sp := (*l.spaces.Load())[ns]; sp != nil {
		return sp
	}
	l.opening.mu.Lock()
	defer l.opening.mu.Unlock()
	old := *l.spaces.Load()
	if sp := old[ns]; sp != nil || l.opening.closed {
		return sp
	}
	next := make(map[string]*space, len(old)+1)
	for name, sp := range old {
		if len(old) < maxSpaces || !sp.idle() {
			next[name] = sp
		}
	}
	sp := &space{}
	next[ns] = sp
	l.spaces.Store(&next)
	return sp
}

// lockSpace returns the entry with its lock held, which keeps it from being forgotten.
func (l *Log) lockSpace(ns string) *space {
	for {
		sp := l.space(ns)
		if sp == nil {
			return nil
		}
		sp.mu.Lock()
		if (*l.spaces.Load())[ns] == sp {
			return sp
		}
		sp.mu.Unlock()
	}
}

// idle reports whether the space is not open and nothing happens in it. It does not wait: the lock order is the other way round.
func (sp *space) idle() bool {
	if !sp.mu.TryLock() {
		return false
	}
	defer sp.mu.Unlock()
	return sp.opened.Load() == nil && !sp.busy
}

// With calls fn with the stream of a channel or a pattern: at once, on the caller's goroutine, if it is open; otherwise it opens (or creates)
// the stream in the background and calls fn when that is done. Calls for one namespace run in the order they were made.
func (l *Log) With(channel string, fn func(*Stream, error)) {
	ns, err := spaceOf(channel)
	if err != nil {
		fn(nil, err)
		return
	}
	if sp := (*l.spaces.Load())[ns]; sp != nil {
		if s := sp.stream.Load(); s != nil {
			fn(s, nil)
			return
		}
	}
	if s, err := l.wait(ns, fn); s != nil || err != nil {
		fn(s, err)
	}
}

// wait lets fn wait for the namespace's stream, or returns what fn shall be called with now.
func (l *Log) wait(ns string, fn func(*Stream, error)) (*Stream, error) {
	p, listed := l.listed[ns]
	if !listed {
		if l.opts.Default == nil {
			return nil, fmt.Errorf("%w: %s", ErrUnknownNamespace, ns)
		}
		p = l.defaultPolicy(ns)
	}
	if !l.feed.Up() {
		return nil, l.away()
	}
	if !listed {
		if err := l.crowded(ns); err != nil {
			return nil, err
		}
	}
	sp := l.lockSpace(ns)
	if sp == nil {
		return nil, ErrClosed
	}
	defer sp.mu.Unlock()
	if s := sp.stream.Load(); s != nil {
		return s, nil
	}
	if sp.busy {
		if len(sp.waiters) >= maxWaiters {
			return nil, fmt.Errorf("%w: too many calls wait for namespace %s", ErrUnavailable, ns)
		}
		sp.waiters = append(sp.waiters, fn)
		return nil, nil
	}
	if sp.failed != nil && time.Since(sp.failedAt) < pause(sp.failed) {
		return nil, sp.failed
	}
	if err := l.begin(); err != nil {
		return nil, err
	}
	sp.busy, sp.waiters = true, append(sp.waiters, fn)
	go func() {
		defer l.workers.Done()
		defer l.end()
		s, err := l.openSpace(p, listed)
		sp.finish(s, err)
	}()
	return nil, nil
}

func pause(err error) time.Duration {
	if errors.Is(err, ErrUnavailable) {
		return retryMissing
	}
	return retryFailed
}

// crowd is the unlisted namespaces that there were when there could be no more.
type crowd struct {
	names []string
	at    time.Time
}

// refuse returns nil for a namespace that is there.
func (c *crowd) refuse(ns string) error {
	if slices.Contains(c.names, ns) {
		return nil
	}
	return fmt.Errorf("%w: %d exist already; list %s in the configuration", ErrTooManyNamespaces, len(c.names), ns)
}

// crowded refuses an unlisted namespace for which there was no place within the last second: names cost nothing to invent, and for each of
// them NATS would be asked.
func (l *Log) crowded(ns string) error {
	if c := l.opening.crowd.Load(); c != nil && time.Since(c.at) < retryFailed {
		return c.refuse(ns)
	}
	return nil
}

// begin takes one of the openings that may run at once.
func (l *Log) begin() error {
	l.opening.mu.Lock()
	defer l.opening.mu.Unlock()
	switch {
	case l.opening.closed:
		return ErrClosed
	case l.opening.active >= maxOpenings:
		return fmt.Errorf("%w: too many namespaces are being opened", ErrUnavailable)
	}
	l.opening.active++
	l.workers.Add(1)
	return nil
}

func (l *Log) end() {
	l.opening.mu.Lock()
	defer l.opening.mu.Unlock()
	l.opening.active--
}

// finish calls everyone who waits, in order, and then opens the short way for later calls.
func (sp *space) finish(s *Stream, err error) {
	sp.opened.Store(s)
	for {
		sp.mu.Lock()
		waiters := sp.waiters
		sp.waiters = nil
		if len(waiters) == 0 {
			sp.busy, sp.failed, sp.failedAt = false, err, time.Now()
			if s != nil {
				sp.stream.Store(s)
			}
			sp.mu.Unlock()
			return
		}
		sp.mu.Unlock()
		for _, fn := range waiters {
			fn(s, err)
		}
	}
}

func (l *Log) openSpace(p Policy, listed bool) (*Stream, error) {
	ctx, cancel := context.WithTimeout(l.ctx, openTimeout)
	defer cancel()
	if !listed {
		// One at a time, so that the count holds.
		l.opening.admit.Lock()
		defer l.opening.admit.Unlock()
		if err := l.crowded(p.Namespace); err != nil {
			return nil, err
		}
		names, err := unlistedStreams(ctx, l.feed.js, l.listed)
		if err != nil {
			return nil, err
		}
		if len(names) >= l.opts.MaxUnlisted {
			c := &crowd{names, time.Now()}
			l.opening.crowd.Store(c)
			if err := c.refuse(p.Namespace); err != nil {
				return nil, err
			}
		}
	}
	s, err := l.openStream(ctx, p, l.indexBudget(listed))
	if err != nil && l.ctx.Err() != nil {
		return nil, ErrClosed
	}
	return s, err
}
