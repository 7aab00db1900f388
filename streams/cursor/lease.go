package cursor

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// requestTimeout bounds one request to JetStream.
const requestTimeout = 2 * time.Second

// renewEvery is also how often those ask for a lease who do not hold it.
func (s *Store) renewEvery() time.Duration { return s.opts.Lease / 4 }

// Hold calls f each time that this process gets the name's lease, with a context that ends when it loses it, until ctx ends. Others get
// the lease when f returns.
func (s *Store) Hold(ctx context.Context, name string, f func(context.Context)) {
	key := "lease." + name
	for {
		asked := time.Now()
		rc, cancel := context.WithTimeout(ctx, requestTimeout)
		revision, err := s.kv.Create(rc, key, []byte(s.opts.Owner), jetstream.KeyTTL(s.opts.Lease))
		cancel()
		switch {
		case err == nil:
			s.opts.Logger.Debug("holds a lease", "name", name)
			s.term(ctx, lease{key, revision, asked}, f)
		case !errors.Is(err, jetstream.ErrKeyExists) && ctx.Err() == nil:
			s.opts.Logger.Debug("cannot ask for a lease", "name", name, "error", err)
		}
		if !sleep(ctx, s.renewEvery()/2+rand.N(s.renewEvery()/2)) {
			return
		}
	}
}

type lease struct {
	key      string
	revision uint64
	since    time.Time // when the last successful request for it was made
}

// term runs f while the lease is held.
func (s *Store) term(ctx context.Context, l lease, f func(context.Context)) {
	term, end := context.WithCancel(ctx)
	defer end()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(term)
	}()
	defer func() {
		end()
		<-done
		s.release(l)
	}()
	tick := time.NewTicker(s.renewEvery())
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if !s.renew(ctx, &l) {
				s.opts.Logger.Warn("lost a lease", "key", l.key)
				return
			}
		case <-done:
			return
		case <-ctx.Done():
			return
		}
	}
}

// renew reports false when the lease is another's, or may be before it is renewed again.
func (s *Store) renew(ctx context.Context, l *lease) bool {
	asked := time.Now()
	rc, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	revision, err := s.put(rc, l.key, []byte(s.opts.Owner), l.revision, s.opts.Lease)
	if err == nil {
		l.revision, l.since = revision, asked
		return true
	}
	return !moved(err) && time.Since(l.since) < s.opts.Lease*3/4
}

// release gives the lease back, if it is still held.
func (s *Store) release(l lease) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if err := s.kv.Delete(ctx, l.key, jetstream.LastRevision(l.revision)); err != nil {
		s.opts.Logger.Debug("a lease was not given back: it lapses", "key", l.key, "error", err)
	}
}
