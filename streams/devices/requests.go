package devices

import (
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/link"
)

const sweepEvery = 100 * time.Millisecond

// requests are pipelined over one connection with one inbox. Sending is done by a goroutine of its own, since it may hang with the server.
type requests struct {
	// Fixed after construction.
	nc    *link.Conn
	ev    events
	inbox string        // ends with a dot
	wake  chan struct{} // one token: queue is not empty
	stop  chan struct{}
	work  sync.WaitGroup

	mu      sync.Mutex
	closed  bool
	queue   queue[outgoing]
	waiting map[uint64]waiting
	number  uint64
}

// outgoing is a message to be sent.
type outgoing struct {
	number uint64 // 0: no answer is expected
	msg    *nats.Msg
}

// waiting is a request without an answer.
type waiting struct {
	deadline time.Time
	done     func(*nats.Msg, error)
}

func newRequests(o *Options, ev events) (*requests, error) {
	r := &requests{ev: ev, wake: make(chan struct{}, 1), stop: make(chan struct{}), waiting: map[uint64]waiting{}}
	nc, err := link.Dial(link.Options{
		Connect: o.Connect, Name: "devices", Logger: o.Logger,
		Down: func() {
			ev.up(false)
			r.failAll(away())
		},
		Up: func() { ev.up(true) },
	}, nats.NoEcho()) // what is announced here is for others
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	r.nc, r.inbox = nc, nc.NewInbox()+"."
	for subject, cb := range map[string]nats.MsgHandler{r.inbox + "*": r.onAnswer, takenSubject: r.onTaken} {
		if _, err := nc.Subscribe(subject, cb); err != nil {
			r.close()
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
		}
	}
	r.work.Go(r.send)
	r.work.Go(r.sweep)
	return r, nil
}

// close ends the connection and waits until nothing runs any more; requests without an answer are failed.
func (r *requests) close() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	close(r.stop)
	r.nc.Close()
	r.work.Wait()
	r.failAll(ErrClosed)
}

// ask sends a request. done is called once; it must not block.
func (r *requests) ask(m *nats.Msg, done func(*nats.Msg, error)) {
	if !r.nc.Up() {
		done(nil, away())
		return
	}
	r.mu.Lock()
	if r.closed {
		r.mu.Unlock()
		done(nil, ErrClosed)
		return
	}
	r.number++
	n := r.number
	m.Reply = r.inbox + strconv.FormatUint(n, 36)
	r.waiting[n] = waiting{time.Now().Add(timeout), done}
	r.queue.push(outgoing{n, m})
	r.mu.Unlock()
	r.awaken()
}

// tell sends a message to which no answer is expected.
func (r *requests) tell(m *nats.Msg) {
	r.mu.Lock()
	if r.queue.len() < 2*maxCalls {
		r.queue.push(outgoing{msg: m})
	}
	r.mu.Unlock()
	r.awaken()
}

func (r *requests) awaken() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// take removes a request that waits.
func (r *requests) take(n uint64) (waiting, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	w, ok := r.waiting[n]
	delete(r.waiting, n)
	return w, ok
}

func (r *requests) send() {
	for {
		select {
		case <-r.wake:
		case <-r.stop:
			return
		}
		for {
			r.mu.Lock()
			if r.queue.len() == 0 {
				r.mu.Unlock()
				break
			}
			o := r.queue.pop()
			_, wanted := r.waiting[o.number]
			r.mu.Unlock()
			if !wanted && o.number != 0 {
				continue // it took too long to get here
			}
			if err := r.nc.PublishMsg(o.msg); err != nil {
				if w, ok := r.take(o.number); ok {
					w.done(nil, err)
				}
			}
		}
	}
}

func (r *requests) onAnswer(m *nats.Msg) {
	n, err := strconv.ParseUint(m.Subject[len(r.inbox):], 36, 64)
	if err != nil {
		return
	}
	w, ok := r.take(n)
	switch {
	case !ok:
	case link.NoResponders(m):
		w.done(nil, errNoBucket)
	default:
		w.done(m, nil)
	}
}

func (r *requests) onTaken(m *nats.Msg) {
	if key, by, ok := parseAnnouncement(m.Data); ok {
		r.ev.taken(key, by)
	}
}

// sweep fails the requests that nobody answered.
func (r *requests) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			r.fail(func(w waiting) bool { return !now.Before(w.deadline) }, fmt.Errorf("%w: no answer", ErrUnavailable))
		case <-r.stop:
			return
		}
	}
}

func (r *requests) failAll(err error) { r.fail(func(waiting) bool { return true }, err) }

func (r *requests) fail(which func(waiting) bool, err error) {
	var failed []waiting
	r.mu.Lock()
	for n, w := range r.waiting {
		if which(w) {
			delete(r.waiting, n)
			failed = append(failed, w)
		}
	}
	r.mu.Unlock()
	for _, w := range failed {
		w.done(nil, err)
	}
}
