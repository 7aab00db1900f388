package devices

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// vault is a bucket without NATS, for simulated time. Stores reach it over lines.
type vault struct {
	mu      sync.Mutex
	rng     *rand.Rand
	made    time.Time
	missing bool
	last    uint64
	entries map[string]entry
	old     map[string]entry // what a lagging replica has
	lines   []*line
	puts    int
}

func newVault(seed uint64) *vault {
	return &vault{rng: rand.New(rand.NewPCG(seed, 1)), made: time.Now(), entries: map[string]entry{}, old: map[string]entry{}}
}

func (v *vault) record(key string) (r record, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	e := v.entries[key]
	if e.value == nil {
		return r, false
	}
	r, err := decode(e.value)
	return r, err == nil
}

func (v *vault) remove(key string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.entries, key)
	delete(v.old, key)
}

// wipe deletes the bucket.
func (v *vault) wipe() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.missing, v.last = true, 0
	clear(v.entries)
	clear(v.old)
}

var errLost = errors.New("no answer")

// line is one store's way to the vault.
type line struct {
	v     *vault
	store *Store

	// Guarded by vault.mu.
	up       bool
	lag      time.Duration // the most that one way takes
	forget   int           // answers that get lost
	late     int           // requests that arrive after they were given up
	busy     int           // writes refused though nothing has changed
	stale    bool          // reads that need not be authoritative may be old
	deaf     bool          // announcements do not come through
	requests map[int]func(error)
	number   int
}

func (v *vault) line(o Options) *line {
	l := &line{v: v, up: true, requests: map[int]func(error){}}
	v.mu.Lock()
	v.lines = append(v.lines, l)
	v.mu.Unlock()
	o.Connect, o.Logger = func(string, ...nats.Option) (*nats.Conn, error) { panic("a line needs no connection") }, quiet()
	if err := o.fill(); err != nil {
		panic(err)
	}
	l.store = newStore(o)
	l.store.start(l, v.made)
	return l
}

// cut breaks or mends the connection.
func (l *line) cut() {
	l.v.mu.Lock()
	if !l.up {
		l.v.mu.Unlock()
		return
	}
	l.up = false
	open := l.requests
	l.requests = map[int]func(error){}
	l.v.mu.Unlock()
	l.store.onConnection(false)
	for _, f := range open {
		f(errLost)
	}
}

func (l *line) mend() {
	l.v.mu.Lock()
	was := l.up
	l.up, l.forget, l.late, l.busy = true, 0, 0, 0
	l.v.mu.Unlock()
	if !was {
		l.store.onConnection(true)
	}
}

func (l *line) pauseLocked() time.Duration { return time.Duration(l.v.rng.Int64N(int64(l.lag) + 1)) }

func drawLocked(n *int) bool {
	if *n > 0 {
		*n--
		return true
	}
	return false
}

// request carries do to the vault and its answer back, unless something comes between.
func request[T any](l *line, do func() (T, error), done func(T, error)) {
	var zero T
	l.v.mu.Lock()
	if !l.up {
		l.v.mu.Unlock()
		done(zero, errLost)
		return
	}
	l.number++
	n := l.number
	fail := func(err error) { done(zero, err) }
	l.requests[n] = fail
	way, back := l.pauseLocked(), l.pauseLocked()
	if drawLocked(&l.late) {
		way = timeout + time.Duration(l.v.rng.Int64N(int64(2*time.Second)))
	}
	forget := drawLocked(&l.forget)
	l.v.mu.Unlock()
	take := func() bool {
		l.v.mu.Lock()
		defer l.v.mu.Unlock()
		_, ok := l.requests[n]
		delete(l.requests, n)
		return ok
	}
	time.AfterFunc(timeout, func() {
		if take() {
			fail(errLost)
		}
	})
	time.AfterFunc(way, func() {
		value, err := do()
		if forget {
			return
		}
		time.AfterFunc(back, func() {
			if take() {
				done(value, err)
			}
		})
	})
}

func (l *line) get(key string, authoritative bool, done func(entry, error)) {
	request(l, func() (entry, error) {
		l.v.mu.Lock()
		defer l.v.mu.Unlock()
		if l.v.missing {
			return entry{}, errNoBucket
		}
		if l.stale && !authoritative && l.v.rng.IntN(2) == 0 {
			return l.v.old[key], nil
		}
		return l.v.entries[key], nil
	}, done)
}

func (l *line) put(key string, value []byte, rev uint64, done func(uint64, error)) {
	request(l, func() (uint64, error) {
		l.v.mu.Lock()
		defer l.v.mu.Unlock()
		switch {
		case l.v.missing:
			return 0, errNoBucket
		case drawLocked(&l.busy) || l.v.entries[key].rev != rev:
			return 0, errConflict
		}
		l.v.last++
		l.v.puts++
		l.v.old[key] = l.v.entries[key]
		l.v.entries[key] = entry{value: value, rev: l.v.last}
		return l.v.last, nil
	}, done)
}

func (l *line) ensure(ctx context.Context) (time.Time, error) {
	type answer struct {
		made time.Time
		err  error
	}
	c := make(chan answer, 1)
	request(l, func() (time.Time, error) {
		l.v.mu.Lock()
		defer l.v.mu.Unlock()
		if l.v.missing {
			l.v.missing, l.v.made = false, time.Now()
		}
		return l.v.made, nil
	}, func(made time.Time, err error) { c <- answer{made, err} })
	select {
	case a := <-c:
		return a.made, a.err
	case <-ctx.Done():
		return time.Time{}, ctx.Err()
	}
}

func (l *line) trim(context.Context, string, int, func(string) bool) (int, error) { return 0, nil }

func (l *line) announce(key string, m mark) {
	l.v.mu.Lock()
	defer l.v.mu.Unlock()
	for _, other := range l.v.lines {
		if other != l && other.up && !other.deaf {
			time.AfterFunc(other.pauseLocked(), func() { other.store.onTakenMessage(key, m) })
		}
	}
}

var _ bucket = (*line)(nil)

// disturb brings trouble.
func (l *line) disturb(what string, n int) {
	l.v.mu.Lock()
	defer l.v.mu.Unlock()
	switch what {
	case "forget":
		l.forget += n % 3
	case "late":
		l.late += n % 2
	case "busy":
		l.busy += n % 3
	case "stale":
		l.stale = !l.stale
	case "deaf":
		l.deaf = !l.deaf
	}
}
