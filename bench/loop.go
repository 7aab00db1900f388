package bench

import (
	"errors"
	"iter"
	"sync"

	"github.com/jetwire/jetwire/gateway/poll"
	"github.com/jetwire/jetwire/gateway/wire"
)

const readBuffer = 256 << 10

// sink judges what a loop's sockets receive. Its methods run with the loop's mu held.
type sink interface {
	message(c *conn, m *push, now int64)
	gap(c *conn)
	answer(c *conn, a *answer, now int64)
	refused(c *conn, id uint64, why *wire.Error)
	settled(c *conn, now int64) error // everything read together has been handled; an error ends the connection
}

// loop is one epoll instance, its goroutine and its sockets.
type loop struct {
	fleet   *fleet
	poller  *poll.Poller
	dialect dialect
	sink    sink
	done    chan struct{} // closed when the goroutine ends

	mu      sync.Mutex // guards what follows, the conns themselves, and the sink
	conns   []*conn    // by token; an entry is never used again, and nil once its connection is forgotten
	next    int        // the first of conns that has not been begun
	opening int        // begun, and not joined
	ahead   int        // may be opening at the same time
	buf     []byte     // what one read brings; one for all sockets
	text    []byte     // scratch
	frame   []byte     // scratch
	spare   []byte     // a rest that is not needed any more
	decoder wire.ServerDecoder
	memo    memo
	push    push   // scratch
	reply   answer // scratch
	pings   uint64 // of servers, that were answered
	busy    int64  // nanoseconds spent on events
}

func (f *fleet) newLoop(s sink) (*loop, error) {
	p, err := poll.New()
	if err != nil {
		return nil, err
	}
	l := &loop{fleet: f, poller: p, dialect: dialects[f.target.Protocol], sink: s, ahead: f.load.Ahead, done: make(chan struct{}), buf: make([]byte, readBuffer)}
	f.mu.Lock()
	f.all = append(f.all, l)
	f.mu.Unlock()
	go l.run()
	return l, nil
}

func (l *loop) run() {
	defer close(l.done)
	if err := l.poller.Wait(l.events); !errors.Is(err, poll.ErrClosed) {
		l.fleet.fail(err)
	}
}

// close ends the goroutine, waits for it, and closes the sockets.
func (l *loop) close() error {
	err := l.poller.Close()
	<-l.done
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.begun() {
		c.leave()
	}
	return err
}

func (l *loop) events(batch []poll.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := l.fleet.clock.now()
	for _, e := range batch {
		c := l.conns[e.Token]
		if c == nil || c.phase == ended {
			continue // it ended earlier in this batch, or after its event was fetched
		}
		if err := c.event(e.Events); err != nil {
			l.end(c, err)
		}
	}
	l.fill()
	l.busy += l.fleet.clock.now() - from
}

// begun yields the connections that have been begun and not forgotten. The caller must hold mu.
func (l *loop) begun() iter.Seq[*conn] {
	return func(yield func(*conn) bool) {
		for _, c := range l.conns[:l.next] {
			if c != nil && !yield(c) {
				return
			}
		}
	}
}

// forget drops a connection that has ended. The caller must hold mu.
func (l *loop) forget(c *conn) { l.conns[c.index] = nil }

func (c *conn) event(e poll.Events) error {
	if e&(poll.Writable|poll.Hangup) != 0 && (c.phase == dialing || len(c.out) > 0) {
		if err := c.writable(); err != nil {
			return err
		}
	}
	if e&(poll.Readable|poll.Hangup) != 0 && c.phase != dialing {
		return c.readable()
	}
	return nil
}

// add queues connections; fill opens them.
func (l *loop) add(conns []*conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range conns {
		c.loop, c.index, c.fd = l, len(l.conns), -1
		l.conns = append(l.conns, c)
	}
	l.fill()
}

// fill begins as many of the queued connections as may be under way. The caller must hold mu.
func (l *loop) fill() {
	for l.next < len(l.conns) && l.opening < l.ahead && !l.fleet.failed() {
		c := l.conns[l.next]
		l.next++
		if err := c.begin(); err != nil {
			c.phase = ended
			l.forget(c)
			l.fleet.notJoined(err)
			continue
		}
		l.opening++
	}
}

// end closes a connection that failed or that the server ended. The caller must hold mu.
func (l *loop) end(c *conn, why error) {
	was := c.phase
	c.why = why
	c.finish()
	if was < joined {
		l.opening--
		l.forget(c)
		l.fleet.notJoined(why)
		return
	}
	l.fleet.disconnected(why)
}

// finish closes a connection. The loop's mu must be held.
func (c *conn) finish() {
	if c.phase == joined {
		c.loop.fleet.standing.Add(-1)
	}
	c.phase = ended
	c.rest, c.part, c.out = nil, nil, nil
	abort(c.fd)
}

// keep makes p the rest of c: what could not be handled yet. Sockets hand the buffer for it on to each other. The caller
// must hold mu.
func (l *loop) keep(c *conn, p []byte) {
	const most = 64 << 10
	switch {
	case len(p) == 0:
		if c.rest != nil && cap(c.rest) <= most {
			l.spare = c.rest[:0]
		}
		c.rest = nil
	default:
		if c.rest == nil && l.spare != nil {
			c.rest, l.spare = l.spare, nil
		}
		c.rest = append(c.rest[:0], p...)
	}
}
