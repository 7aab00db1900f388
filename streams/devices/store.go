package devices

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	timeout     = 5 * time.Second // for a Take, a Store, a request, and for Close
	window      = 1024            // reads and writes on their way at once; a server drops what exceeds 10,000 of all its publishers
	behind      = 256             // those of them that nobody waits for
	maxCalls    = 64 << 10        // Takes and Stores without an answer
	maxWaiters  = 1024            // Stores of one device without an answer
	maxTries    = 20              // conflicts of a cell, one after the other
	minBackoff  = 100 * time.Millisecond
	maxBackoff  = 5 * time.Second
	checkEvery  = time.Minute      // how often the bucket is looked at
	seenWithin  = 10 * time.Minute // how far the time of the last write may be from when the device was last seen
	maxTrims    = 16 << 10         // users whose number of devices waits to be looked at
	refreshPart = 4                // a record is written again when this part of Expiry has passed
)

var (
	errConflict = errors.New("the record has another revision")
	errNoBucket = errors.New("nobody answers for the bucket")
)

// bucket is what a store needs of JetStream. done functions are called once, from any goroutine, possibly before the method
// returns; an error other than those named means that the outcome is unknown, or that trying again may help.
type bucket interface {
	// get reads a record; authoritative says that an answer from a lagging replica will not do. Errors: errNoBucket.
	get(key string, authoritative bool, done func(entry, error))
	// put writes a record over the revision rev; 0: there is none. Errors: errConflict, errNoBucket, ErrTooLarge.
	put(key string, value []byte, rev uint64, done func(rev uint64, err error))
	// ensure makes the bucket if it is missing, and returns when it was made.
	ensure(ctx context.Context) (made time.Time, err error)
	// trim removes the records of a user that were written longest ago until there are no more than limit; those that spare names are kept.
	trim(ctx context.Context, user string, limit int, spare func(key string) bool) (removed int, err error)
	// announce tells other gateways who has taken a device.
	announce(key string, m mark)
}

// entry is what a bucket holds under a key.
type entry struct {
	value []byte // nil: nothing, or a deletion mark
	rev   uint64 // 0: nothing
}

// Store keeps the records of the devices that sessions of this process hold.
type Store struct {
	// Fixed after construction.
	opts   Options
	bucket bucket
	hangUp func() // closes the connection
	usage  func(context.Context) (Usage, error)
	ctx    context.Context
	cancel context.CancelFunc
	wake   chan struct{} // one token: the inbox is not empty
	trims  chan string
	ended  chan struct{} // closed when run has returned
	work   sync.WaitGroup

	hangUpOnce sync.Once

	mu     sync.Mutex
	inbox  []func()
	closed bool
	cells  map[string]*cell // written by run only
	most   int              // how many there were at once, since the map was made

	// Owned by run.
	urgent   queue[*cell] // somebody waits for them
	dirty    queue[late]  // to be written when their time has come, one after the other
	calls    queue[*call] // in the order of their deadlines
	open     int          // calls without an answer
	inFlight int
	inBehind int
	outside  int // callbacks that will come: of Options.Synced, and of timers
	up       bool
	ready    bool // the bucket is there, as far as is known
	ensuring bool
	ensureAt time.Time // when the bucket is to be looked at
	made     time.Time
	backoff  time.Duration
	pause    time.Time // nothing is written behind before
	sweepAt  time.Time // when the records that are old are looked for
	closing  bool
	closeBy  time.Time

	count counters
}

type counters struct {
	held, waiting                                                                          atomic.Int64
	takes, reads, writes, announced, takenHere, takenOver, conflicts, failures, unreadable atomic.Uint64
	evicted, rewritten, remade                                                             atomic.Uint64
}

// late is a cell that is to be written.
type late struct {
	cell *cell
	due  time.Time
}

// call is somebody who waits for an answer.
type call struct {
	done     func(error) // nil error: stored
	deadline time.Time
	answered bool
	cell     *cell // of a Take
}

func newStore(o Options) *Store {
	s := &Store{opts: o, cells: map[string]*cell{}, wake: make(chan struct{}, 1), trims: make(chan string, maxTrims), ended: make(chan struct{})}
	s.hangUp = func() {}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// start lets the store work on a bucket that is there.
func (s *Store) start(b bucket, made time.Time) {
	now := time.Now()
	s.bucket, s.made, s.up, s.ready = b, made, true, true
	s.ensureAt, s.sweepAt = now.Add(checkEvery), now.Add(s.sweepEvery())
	s.work.Go(s.run)
	s.work.Go(s.runTrims)
}

// Close writes what has changed, for five seconds at most and only if NATS is there, and ends the store. Whoever still waits gets ErrClosed;
// when it returns, nothing is called back any more. It must not be called from a callback.
func (s *Store) Close() error {
	s.post(func() {
		if !s.closing {
			s.closing, s.closeBy = true, time.Now().Add(timeout)
		}
	})
	<-s.ended
	s.cancel()
	s.work.Wait()
	s.hangUpOnce.Do(s.hangUp)
	return nil
}

// post leaves run a function; false: the store is closed.
func (s *Store) post(f func()) bool {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return false
	}
	s.inbox = append(s.inbox, f)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
	return true
}

func (s *Store) run() {
	defer close(s.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var spare []func()
	for {
		select {
		case <-s.wake:
		case <-timer.C:
		}
		s.mu.Lock()
		todo := s.inbox
		s.inbox = spare[:0]
		s.mu.Unlock()
		for i, f := range todo {
			todo[i] = nil
			f()
		}
		if spare = todo; cap(spare) > 4096 { // a burst is over
			spare = nil
		}
		now := time.Now()
		s.expire(now)
		s.keep(now)
		s.pump(now)
		s.count.waiting.Store(int64(s.inFlight))
		if s.closing && s.finished(now) {
			s.finish()
			return
		}
		timer.Reset(time.Until(s.next(now)))
	}
}

// pump begins what may begin now.
func (s *Store) pump(now time.Time) {
	if !s.up || !s.ready {
		return
	}
	for s.urgent.len() > 0 && s.inFlight < window {
		c := s.urgent.pop()
		c.queued = false
		s.advance(c, false)
	}
	for s.dirty.len() > 0 && s.inBehind < behind && s.inFlight < window && !now.Before(s.pause) {
		if now.Before(s.dirty.first().due) && !s.closing {
			return
		}
		c := s.dirty.pop().cell
		c.late = false
		if !c.busy && !c.queued {
			s.advance(c, true)
		}
	}
}

// next returns when run must wake up by itself.
func (s *Store) next(now time.Time) time.Time {
	at := s.sweepAt
	sooner := func(t time.Time) {
		if t.Before(at) {
			at = t
		}
	}
	if s.calls.len() > 0 {
		sooner(s.calls.first().deadline)
	}
	if s.up && !s.ensuring {
		sooner(s.ensureAt)
	}
	if s.up && s.ready && s.dirty.len() > 0 && s.inBehind < behind && s.inFlight < window {
		due := s.dirty.first().due
		if due.Before(s.pause) {
			due = s.pause
		}
		sooner(due)
	}
	if s.closing {
		sooner(s.closeBy)
	}
	if at.Before(now) {
		return now
	}
	return at
}

// wait makes a call wait; false: there are too many, and it has been answered.
func (s *Store) wait(w *call) bool {
	if s.open >= maxCalls {
		w.done(fmt.Errorf("%w: too many calls wait for the store; try again later", ErrUnavailable))
		return false
	}
	for s.calls.len() > 0 && s.calls.first().answered {
		s.calls.pop()
	}
	w.deadline = time.Now().Add(timeout)
	s.calls.push(w)
	s.open++
	return true
}

// answer ends a call, unless it has ended.
func (s *Store) answer(w *call, err error) {
	if !w.answered {
		w.answered = true
		s.open--
		w.done(err)
	}
}

func (s *Store) answerAll(ws []*call, err error) {
	for _, w := range ws {
		s.answer(w, err)
	}
}

// expire ends the calls whose time is over.
func (s *Store) expire(now time.Time) {
	for s.calls.len() > 0 {
		w := s.calls.first()
		if !w.answered && now.Before(w.deadline) {
			return
		}
		s.calls.pop()
		if w.answered {
			continue
		}
		if c := w.cell; c != nil && c.take != nil && &c.take.call == w {
			c.take = nil
			s.rest(c)
		}
		s.answer(w, fmt.Errorf("%w: NATS did not answer in time", ErrUnavailable))
	}
}

// finished reports whether a store that closes has nothing more to do, or no more time.
func (s *Store) finished(now time.Time) bool {
	return !s.up || !now.Before(s.closeBy) || s.inFlight == 0 && s.outside == 0 && s.urgent.len() == 0 && s.dirty.len() == 0
}

// finish answers everybody.
func (s *Store) finish() {
	s.mu.Lock()
	todo := s.inbox
	s.inbox, s.closed = nil, true
	s.mu.Unlock()
	for _, f := range todo {
		f()
	}
	for s.calls.len() > 0 {
		s.answer(s.calls.pop(), ErrClosed)
	}
	s.count.held.Store(0)
}
