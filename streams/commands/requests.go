package commands

import (
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/link"
)

// requests are pipelined over one connection, with one inbox for all answers. Sending is done by a goroutine of its own, in the order of
// asking, since it may hang with the server.
type requests struct {
	// Fixed after construction.
	conn  *link.Conn
	inbox string        // ends with a dot
	wake  chan struct{} // one token: queue is not empty
	stop  chan struct{}
	work  sync.WaitGroup // the sender, and what is being called back by a timer

	mu      sync.Mutex
	closed  bool
	queue   []*request
	waiting map[uint64]*request
	number  uint64
}

// request waits for its answer.
type request struct {
	msg   *nats.Msg
	done  func(*nats.Msg, error)
	timer *time.Timer

	number uint64
	sent   bool // guarded by requests.mu: some of it may have left
}

func newRequests(o link.Options) (*requests, error) {
	r := &requests{wake: make(chan struct{}, 1), stop: make(chan struct{}), waiting: map[uint64]*request{}}
	o.Down = r.fail // answers to what was sent on a connection that breaks will not come
	conn, err := link.Dial(o)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r.conn, r.inbox = conn, conn.NewInbox()+"."
	if _, err := conn.Subscribe(r.inbox+"*", r.answer); err != nil {
		conn.Close()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r.work.Go(r.send)
	return r, nil
}

// close ends the connection; requests without an answer are failed. When it returns, nothing is called back any more.
func (r *requests) close() {
	r.mu.Lock()
	again := r.closed
	r.closed = true
	r.mu.Unlock()
	if again {
		return
	}
	close(r.stop)
	r.conn.Close()
	r.fail()
	r.work.Wait()
}

// ask sends a request. done is called once, from any goroutine, perhaps before ask returns, with the answer, ErrUnavailable (it was not
// sent), ErrTimeout, or ErrClosed. It must not block.
func (r *requests) ask(m *nats.Msg, patience time.Duration, done func(*nats.Msg, error)) {
	if !r.conn.Up() {
		done(nil, ErrUnavailable)
		return
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		done(nil, ErrClosed)
		return
	}
	r.number++
	q := &request{msg: m, done: done, number: r.number}
	m.Reply = r.inbox + strconv.FormatUint(q.number, 36)
	r.waiting[q.number] = q
	r.queue = append(r.queue, q)
	q.timer = time.AfterFunc(patience, func() { r.expire(q) })
	r.mu.Unlock()
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// takeLocked removes a request that waits; then the caller calls its done, without the lock.
func (r *requests) takeLocked(number uint64) *request {
	q := r.waiting[number]
	if q != nil {
		delete(r.waiting, number)
		q.timer.Stop()
	}
	return q
}

// expire ends a request whose time is over.
func (r *requests) expire(q *request) {
	r.mu.Lock()
	alive := !r.closed && r.takeLocked(q.number) != nil
	if alive {
		r.work.Add(1) // close waits for what is called back
	}
	sent := q.sent
	r.mu.Unlock()
	if !alive {
		return
	}
	defer r.work.Done()
	if sent {
		q.done(nil, ErrTimeout)
	} else {
		q.done(nil, fmt.Errorf("%w: it could not be sent in time", ErrUnavailable))
	}
}

// send sends what is queued, until stop.
func (r *requests) send() {
	for {
		q := r.next()
		if q == nil {
			select {
			case <-r.wake:
				continue
			case <-r.stop:
				return
			}
		}
		err := r.conn.PublishMsg(q.msg)
		if err == nil {
			continue
		}
		r.mu.Lock()
		alive := r.takeLocked(q.number) != nil
		r.mu.Unlock()
		if alive {
			q.done(nil, sendError(err))
		}
	}
}

// next returns the next request that still waits, marked as sent; nil: there is none.
func (r *requests) next() *request {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.queue) > 0 {
		q := r.queue[0]
		r.queue[0] = nil
		r.queue = r.queue[1:]
		if r.waiting[q.number] != nil {
			q.sent = true
			return q
		}
	}
	r.queue = nil
	return nil
}

// sendError tells what was not sent from what may have been.
func sendError(err error) error {
	switch {
	case errors.Is(err, nats.ErrMaxPayload):
		return fmt.Errorf("%w: %w", ErrTooLarge, err)
	case link.NotSent(err):
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return fmt.Errorf("%w: %w", ErrTimeout, err)
}

// answer takes what comes to the inbox.
func (r *requests) answer(m *nats.Msg) {
	n, err := strconv.ParseUint(m.Subject[len(r.inbox):], 36, 64)
	if err != nil {
		return
	}
	r.mu.Lock()
	q := r.takeLocked(n)
	r.mu.Unlock()
	if q != nil {
		q.done(m, nil)
	}
}

// fail ends every request that waits.
func (r *requests) fail() {
	r.mu.Lock()
	unsent, waiting := ErrUnavailable, r.waiting
	if r.closed {
		unsent = ErrClosed
	}
	r.waiting = map[uint64]*request{}
	for _, q := range waiting {
		q.timer.Stop()
	}
	r.mu.Unlock()
	for _, q := range waiting { // nobody else has them any more
		if q.sent {
			q.done(nil, fmt.Errorf("%w: the connection to NATS broke", ErrTimeout))
		} else {
			q.done(nil, unsent)
		}
	}
}
