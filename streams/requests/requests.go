// Package requests sends requests over one connection to NATS, any number at a time, and has one inbox for all their answers.
//
// Invariants:
//   - Each request is ended once: by its answer, or by an error that tells what was not sent from what may have been.
//   - They leave in the order of asking. Whoever asks never waits: sending is done by a goroutine of its own, since it may hang with the
//     server.
//   - The only lock, Conn.mu, is not held while anything is called back.
//
// The package knows answers only by the subject they come to. It must not know what they say.
package requests

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/link"
)

// The errors of requests.
var (
	// ErrNotSent says that nothing of the request has left. It may wrap the reason, such as nats.ErrMaxPayload.
	ErrNotSent = errors.New("not sent")
	// ErrNoAnswer says that the request was sent, at least in part, and no answer came: what was asked for may have happened or not.
	ErrNoAnswer = errors.New("sent, and not answered")
	// ErrClosed says that the connection was closed before the request was sent.
	ErrClosed = errors.New("closed")
)

var (
	errDown   = fmt.Errorf("%w: the connection to NATS is down", ErrNotSent)
	errBroken = fmt.Errorf("%w: the connection to NATS broke", ErrNoAnswer)
	errLate   = fmt.Errorf("%w: it could not be sent in time", ErrNotSent)
)

const (
	grid     = 10 * time.Millisecond // those that are due within it are given up together
	maxQueue = 64 << 10              // messages that wait to be sent, past which Tell tells nobody

	ever time.Duration = 1<<63 - 1
)

// Conn is a connection to NATS that sends requests.
type Conn struct {
	// Fixed after construction.
	*link.Conn
	inbox string // ends with a dot
	began time.Time
	wake  chan struct{} // one token: queue is not empty
	timer *time.Timer   // runs until look
	stop  chan struct{}
	once  sync.Once
	work  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	queue   []message
	waiting map[uint64]request
	asked   uint64        // number of the last request
	sent    uint64        // number of the last one of which some may have left
	look    time.Duration // since began, when requests without an answer are looked for; ever: there are none
}

// message waits to be sent.
type message struct {
	number uint64 // 0: no answer is expected
	msg    *nats.Msg
}

// request waits for its answer.
type request struct {
	due  time.Duration // since began, a multiple of grid
	done func(*nats.Msg, error)
}

// Dial opens a connection. Its errors are those of Options.Connect, and of subscribing.
func Dial(o link.Options, extra ...nats.Option) (*Conn, error) {
	c := &Conn{began: time.Now(), wake: make(chan struct{}, 1), timer: time.NewTimer(ever), stop: make(chan struct{}), waiting: map[uint64]request{}, look: ever}
	down := o.Down
	o.Down = func() {
		if down != nil {
			down()
		}
		c.fail(ever, errBroken, errDown) // answers to what was sent on a connection that breaks will not come
	}
	var err error
	if c.Conn, err = link.Dial(o, extra...); err != nil {
		return nil, err
	}
	c.inbox = c.NewInbox() + "."
	if _, err := c.Subscribe(c.inbox+"*", c.answer); err != nil {
		c.Conn.Close()
		return nil, err
	}
	c.work.Go(c.send)
	c.work.Go(c.sweep)
	return c, nil
}

// Close ends the connection, and every request. When it returns, nothing is called back any more. It must not be called from a callback.
func (c *Conn) Close() {
	c.once.Do(func() {
		c.mu.Lock()
		c.closed = true
		c.mu.Unlock()
		close(c.stop)
		c.Conn.Close()
		c.work.Wait()
		c.fail(ever, errBroken, ErrClosed) // those that were asked while the connection broke
	})
}

// Ask sends a request, whose reply subject it sets. done is called once, from any goroutine, perhaps before Ask returns, with the answer, or
// with ErrNotSent, ErrNoAnswer or ErrClosed: these come when patience is over, some 10 ms late at most, or earlier. It must not block.
func (c *Conn) Ask(m *nats.Msg, patience time.Duration, done func(*nats.Msg, error)) {
	if !c.Up() {
		done(nil, errDown)
		return
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		done(nil, ErrClosed)
		return
	}
	c.asked++
	m.Reply = c.inbox + strconv.FormatUint(c.asked, 36)
	due := (time.Since(c.began)+patience)/grid*grid + grid
	c.waiting[c.asked] = request{due, done}
	c.lookLocked(due)
	c.queue = append(c.queue, message{c.asked, m})
	c.mu.Unlock()
	c.awaken()
}

// Tell sends a message to which no answer is expected, if it can be sent.
func (c *Conn) Tell(m *nats.Msg) {
	c.mu.Lock()
	if len(c.queue) < maxQueue {
		c.queue = append(c.queue, message{msg: m})
	}
	c.mu.Unlock()
	c.awaken()
}

func (c *Conn) awaken() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// send sends what is queued, until stop.
func (c *Conn) send() {
	var batch []message
	for {
		select {
		case <-c.wake:
		case <-c.stop:
			return
		}
		c.mu.Lock()
		batch, c.queue = c.queue, batch[:0]
		c.mu.Unlock()
		for i, m := range batch {
			batch[i] = message{}
			if m.number != 0 && !c.leaves(m.number) {
				continue
			}
			if err := c.PublishMsg(m.msg); err != nil {
				c.unsent(m.number, err)
			}
		}
		if cap(batch) > 1024 { // a burst is over
			batch = nil
		}
	}
}

// leaves marks a request as sent; false: it took too long to get here.
func (c *Conn) leaves(number uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	_, wanted := c.waiting[number]
	if wanted {
		c.sent = number
	}
	return wanted
}

// unsent ends a request that nats.go did not send, or not all of it.
func (c *Conn) unsent(number uint64, err error) {
	what := ErrNoAnswer
	if link.NotSent(err) {
		what = ErrNotSent
	}
	if q, ok := c.take(number); ok {
		q.done(nil, fmt.Errorf("%w: %w", what, err))
	}
}

// answer takes what comes to the inbox.
func (c *Conn) answer(m *nats.Msg) {
	number, err := strconv.ParseUint(m.Subject[len(c.inbox):], 36, 64)
	if err != nil {
		return
	}
	if q, ok := c.take(number); ok {
		q.done(m, nil)
	}
}

// take removes a request that waits; whoever takes it ends it.
func (c *Conn) take(number uint64) (request, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q, ok := c.waiting[number]
	delete(c.waiting, number)
	return q, ok
}

// lookLocked lets sweep look at that time, or before.
func (c *Conn) lookLocked(at time.Duration) {
	if at < c.look {
		c.look = at
		c.timer.Reset(at - time.Since(c.began))
	}
}

// sweep ends the requests that nobody has answered, until stop.
func (c *Conn) sweep() {
	defer c.timer.Stop()
	for {
		select {
		case <-c.timer.C:
			c.fail(time.Since(c.began), ErrNoAnswer, errLate)
		case <-c.stop:
			return
		}
	}
}

// fail ends the requests that are due by a time, and sees to it that the others are looked at.
func (c *Conn) fail(by time.Duration, sent, unsent error) {
	type failure struct {
		done func(*nats.Msg, error)
		err  error
	}
	var failures []failure
	next := ever
	c.mu.Lock()
	if c.closed {
		unsent = ErrClosed
	}
	for number, q := range c.waiting {
		switch {
		case q.due > by:
			next = min(next, q.due)
			continue
		case number <= c.sent:
			failures = append(failures, failure{q.done, sent})
		default:
			failures = append(failures, failure{q.done, unsent})
		}
		delete(c.waiting, number)
	}
	c.look = ever
	c.lookLocked(next)
	c.mu.Unlock()
	for _, f := range failures {
		f.done(nil, f.err)
	}
}
