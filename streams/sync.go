package streams

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// syncer makes what JetStream has stored survive a power cut, where the store is this process's own: one call of
// Options.Sync serves all who wait. Acknowledgements and the tail wait for it, so that nobody is told of a message, and
// nobody sees one, that could still be taken back and its sequence given to another.
//
// A sync covers everything that was known to be stored when it began, whoever asked for it.
type syncer struct {
	log  *Log
	wake chan struct{} // one token: somebody waits

	mu      sync.Mutex
	waiting []unsynced
	ended   bool
}

// unsynced is somebody who waits until a sequence has been synced, or for a sync that begins later.
type unsynced struct {
	g    *generation // nil: any sync that begins later will do
	seq  uint64
	then func(error) // called once, without a lock; it must not block
}

func newSyncer(l *Log) *syncer { return &syncer{log: l, wake: make(chan struct{}, 1)} }

// after calls then when everything up to seq, which is stored, has been synced; or with the error that it was not.
func (y *syncer) after(g *generation, seq uint64, then func(error)) {
	raise(&g.stored, seq)
	if g.synced.Load() >= seq {
		then(nil)
		return
	}
	y.add(unsynced{g, seq, then})
}

func (y *syncer) add(w unsynced) {
	y.mu.Lock()
	ended := y.ended
	if !ended {
		y.waiting = append(y.waiting, w)
	}
	y.mu.Unlock()
	if ended {
		w.then(ErrClosed)
		return
	}
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// run syncs whenever somebody waits, with a pause in between, until ctx ends.
func (y *syncer) run(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-y.wake:
		case <-ctx.Done():
			y.end()
			return
		}
		if todo := y.take(); len(todo) > 0 {
			select {
			case <-pause.C:
			case <-ctx.Done():
			}
			if ctx.Err() != nil {
				finish(todo, ErrClosed)
				continue
			}
			pause.Reset(y.log.opts.SyncPause)
			todo = append(todo, y.take()...)
			finish(todo, y.sync(todo))
		}
	}
}

// take removes all who wait, and lets those go whom a sync has covered meanwhile.
func (y *syncer) take() (todo []unsynced) {
	y.mu.Lock()
	todo, y.waiting = y.waiting, nil
	y.mu.Unlock()
	left := todo[:0]
	for _, w := range todo {
		if w.g != nil && w.g.synced.Load() >= w.seq {
			w.then(nil)
		} else {
			left = append(left, w)
		}
	}
	return left
}

func (y *syncer) sync(todo []unsynced) error {
	stored := make(map[*generation]uint64)
	for _, w := range todo {
		if w.g == nil {
			continue
		}
		stored[w.g] = w.g.stored.Load()
	}
	if err := y.log.opts.Sync(); err != nil {
		y.log.opts.Logger.Error("the store cannot be synced; what waits is neither acknowledged nor delivered", "error", err)
		return fmt.Errorf("%w: stored, but not synced", ErrTimeout)
	}
	y.log.synced.Add(1)
	for g, seq := range stored {
		raise(&g.synced, seq)
	}
	return nil
}

func finish(waiting []unsynced, err error) {
	for _, w := range waiting {
		w.then(err)
	}
}

// end answers all who wait, and all who come.
func (y *syncer) end() {
	y.mu.Lock()
	todo := y.waiting
	y.waiting, y.ended = nil, true
	y.mu.Unlock()
	finish(todo, ErrClosed)
}

// retrySync is how soon a sync that failed is tried again for the tail, which does not give up.
const retrySync = 100 * time.Millisecond

// wait returns when everything up to seq has been synced, and reports false if the Log closes before.
func (y *syncer) wait(g *generation, seq uint64) bool {
	done := make(chan error, 1)
	for {
		y.after(g, seq, func(err error) { done <- err })
		if err := <-done; err == nil {
			return true
		}
		select {
		case <-time.After(retrySync):
		case <-y.log.ctx.Done():
			return false
		}
	}
}

// Synced calls then once everything that JetStream had acknowledged before the call, to whomever, would survive a power cut;
// at once where nothing is synced: there is no Options.Sync, or no policy asks for it. then runs without a lock, from any
// goroutine, and must not block. Errors: ErrTimeout if the sync failed, ErrClosed.
func (l *Log) Synced(then func(error)) {
	if !l.syncsAny() {
		then(nil)
		return
	}
	l.syncer.add(unsynced{then: then})
}

// syncsAny reports whether any policy wants its stream to be synced.
func (l *Log) syncsAny() bool {
	if l.opts.Sync == nil {
		return false
	}
	for _, p := range l.listed {
		if p.synced() {
			return true
		}
	}
	return l.opts.Default != nil && l.opts.Default.synced()
}
