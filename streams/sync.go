package streams

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// syncer makes what JetStream has stored survive a power cut, where the store is this process's own: one call of
// Options.Sync serves all who wait. Acknowledgements and the tail wait for it, so that nobody is told of a message, and
// nobody sees one, that could still be taken back and its sequence given to another.
//
// A sync covers everything that was known to be stored when it began, whoever asked for it.
type syncer struct {
	log  *Log
	wake chan struct{} // one token: look again

	gathers atomic.Bool // while messages keep coming, what is published waits to be sent together, just before the next sync

	mu      sync.Mutex
	held    bool // something has been gathered
	waiting []unsynced
	pace    pacer
	asleep  bool // run waits for the token, and for as long as pace says if somebody waits
	ended   bool
}

// unsynced is somebody who waits until a sequence has been synced, or for a sync that begins later.
type unsynced struct {
	g    *generation // nil: any sync that begins later will do
	seq  uint64
	then func(error) // called once, without a lock; it must not block
}

func newSyncer(l *Log) *syncer {
	return &syncer{log: l, wake: make(chan struct{}, 1), pace: pacer{least: l.opts.SyncPause, probe: firstProbe}}
}

// after calls then when everything up to seq, which is stored, has been synced; or with the error that it was not.
func (y *syncer) after(g *generation, seq uint64, then func(error)) {
	fresh := raise(&g.stored, seq)
	if g.synced.Load() >= seq {
		then(nil)
		return
	}
	y.add(unsynced{g, seq, then}, fresh)
}

// add lets w wait. fresh is how many messages are stored that nobody waited for so far.
func (y *syncer) add(w unsynced, fresh uint64) {
	now := time.Now()
	y.mu.Lock()
	if y.ended {
		y.mu.Unlock()
		w.then(ErrClosed)
		return
	}
	y.waiting = append(y.waiting, w)
	y.pace.arrive(int(fresh), now)
	rouse := y.asleep && (len(y.waiting) == 1 || y.pace.full())
	if rouse {
		y.asleep = false
	}
	y.mu.Unlock()
	if rouse {
		y.rouse()
	}
}

func (y *syncer) rouse() {
	select {
	case y.wake <- struct{}{}:
	default:
	}
}

// hold sees to it that what is gathered is sent in time.
func (y *syncer) hold() {
	y.mu.Lock()
	y.held = true
	rouse := y.asleep
	y.asleep = false
	y.mu.Unlock()
	if rouse {
		y.rouse()
	}
}

// release has what was gathered sent.
func (y *syncer) release() {
	last := y.log.pub.release()
	y.mu.Lock()
	y.pace.send(last)
	y.mu.Unlock()
}

// run syncs whenever somebody waits, as often as the pacer lets it, until ctx ends.
func (y *syncer) run(ctx context.Context) {
	for {
		todo, err := y.next(ctx)
		if err != nil {
			break
		}
		finish(todo, y.sync(todo))
	}
	y.mu.Lock()
	todo := y.waiting
	y.waiting, y.ended = nil, true
	y.mu.Unlock()
	finish(todo, ErrClosed)
}

// next waits until a sync is due, and returns those who wait for it.
func (y *syncer) next(ctx context.Context) ([]unsynced, error) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for ctx.Err() == nil {
		finish(y.covered(), nil)
		y.mu.Lock()
		now, waits := time.Now(), len(y.waiting) > 0
		wait := y.pace.wait(now)
		held := y.held
		if held && wait <= y.pace.lead() {
			y.held = false
			y.mu.Unlock()
			y.release()
			continue
		}
		if waits && wait <= 0 {
			todo := y.waiting
			y.waiting = nil
			y.pace.begin(now)
			y.gathers.Store(y.pace.flows)
			y.mu.Unlock()
			return todo, nil
		}
		if held {
			wait -= y.pace.lead()
		}
		y.asleep = true
		y.mu.Unlock()
		var due <-chan time.Time
		if waits || held {
			pause.Reset(wait)
			due = pause.C
		}
		select {
		case <-y.wake:
		case <-due:
		case <-ctx.Done():
		}
	}
	return nil, ctx.Err()
}

// covered takes away those who wait for what a sync has covered meanwhile.
func (y *syncer) covered() (done []unsynced) {
	y.mu.Lock()
	defer y.mu.Unlock()
	left := y.waiting[:0]
	for _, w := range y.waiting {
		if w.g != nil && w.g.synced.Load() >= w.seq {
			done = append(done, w)
		} else {
			left = append(left, w)
		}
	}
	clear(y.waiting[len(left):])
	y.waiting = left
	return done
}

func (y *syncer) sync(todo []unsynced) error {
	stored := make(map[*generation]uint64)
	for _, w := range todo {
		if w.g != nil {
			stored[w.g] = w.g.stored.Load()
		}
	}
	began := time.Now()
	err := y.log.opts.Sync()
	took := time.Since(began)
	y.mu.Lock()
	y.pace.end(took)
	y.mu.Unlock()
	if err != nil {
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
	if !l.Syncs() {
		then(nil)
		return
	}
	l.syncer.add(unsynced{then: then}, 1)
}

// Syncs reports whether Synced waits for anything: there is Options.Sync, and a policy asks for it.
func (l *Log) Syncs() bool {
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

// first syncs what the store holds already, perhaps of a process that was killed before it had synced it: it counts as seen.
func (y *syncer) first(ctx context.Context) error {
	done := make(chan error, 1)
	y.add(unsynced{then: func(err error) { done <- err }}, 1)
	var err error
	select {
	case err = <-done:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("%w: the store cannot be synced: %s", ErrUnavailable, err.Error()) // whatever err says of messages
	}
	return nil
}
