package streams

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/origin"
	"github.com/jetwire/jetwire/streams/tap"
)

const (
	pageReads = 64   // reads of one page on their way at once
	allReads  = 1024 // reads of all pages
)

// errGone tells that the log holds no message with this sequence.
var errGone = errors.New("no such message")

// reader reads messages from the log by sequence, over one connection with an inbox of its own. Reads of the same message at the same time are one.
//
// Reads of neighbours are not joined into batched direct gets: those cost the server as much a message (7.5 to 9 µs of CPU together with what it
// takes here, against 9). A scan by a consumer costs a quarter (2 µs), but only where most of a stretch is wanted: by one cursor, or by many
// together (see runs, and blocks.go).
type reader struct {
	log     *Log
	link    *conn
	waiting mux[*request]
	slots   chan struct{} // one for each read that is on its way

	mu      sync.Mutex
	sharing map[readKey]*request
	life    context.Context // ends when the connection breaks
	broken  context.CancelCauseFunc

	scanning chan struct{} // one for each run that is being read
	blocks   atomic.Int64  // bytes of the blocks of all streams

	arena arena // of the answers

	gets, shared, missing, slow, hits, runs atomic.Uint64
}

type readKey struct {
	g   *generation
	seq uint64
}

// request is one read, or with stream set a series of answers.
type request struct {
	key  readKey
	each func(*Message) // for requests with several answers: called for each, by the goroutine that takes them
	done chan struct{}  // closed when message or err is set

	message *Message
	err     error
}

func newReader(l *Log) *reader {
	r := &reader{log: l, slots: make(chan struct{}, allReads), scanning: make(chan struct{}, runReaders), sharing: map[readKey]*request{}}
	r.life, r.broken = context.WithCancelCause(l.ctx)
	return r
}

// attach gives the reader its connection.
func (r *reader) attach(c *conn) error {
	r.link = c
	r.waiting.prefix = c.NewInbox() + "."
	_, err := c.listen(r.waiting.prefix, "", r)
	return err
}

// read begins to read one message. It waits only for a free slot.
func (r *reader) read(ctx context.Context, s *Stream, g *generation, seq uint64) (*request, error) {
	key := readKey{g, seq}
	r.mu.Lock()
	if q := r.sharing[key]; q != nil {
		r.mu.Unlock()
		r.shared.Add(1)
		return q, nil
	}
	r.mu.Unlock()
	if err := r.acquire(ctx); err != nil {
		return nil, err
	}
	q := &request{key: key, done: make(chan struct{})}
	r.mu.Lock()
	if other := r.sharing[key]; other != nil {
		r.mu.Unlock()
		<-r.slots
		r.shared.Add(1)
		return other, nil
	}
	r.sharing[key] = q
	r.mu.Unlock()
	r.gets.Add(1)
	var scratch [32]byte
	body := append(scratch[:0], `{"seq":`...)
	body = strconv.AppendUint(body, seq, 10)
	body = append(body, '}')
	r.ask(s, q, body)
	return q, nil
}

// acquire takes a slot.
func (r *reader) acquire(ctx context.Context) error {
	if !r.link.Up() {
		return r.log.away()
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	default:
	}
	select {
	case r.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case <-r.log.ctx.Done():
		return ErrClosed
	}
}

func (r *reader) ask(s *Stream, q *request, body []byte) {
	reply := r.waiting.add(q, time.Now().Add(requestTimeout).UnixNano())
	if err := r.link.PublishRequest("$JS.API.DIRECT.GET."+s.name, reply, body); err != nil {
		if _, ok := r.waiting.abandon(reply); ok {
			r.finish(q, nil, sendError(err))
		}
	}
}

// finish ends a request. It must be called by whoever took it out of waiting.
func (r *reader) finish(q *request, m *Message, err error) {
	if q.each == nil {
		r.mu.Lock()
		delete(r.sharing, q.key)
		r.mu.Unlock()
	}
	q.message, q.err = m, err
	<-r.slots
	close(q.done)
}

// wait waits for a read.
func (r *reader) wait(ctx context.Context, q *request) (*Message, error) {
	select {
	case <-q.done:
		return q.message, q.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	case <-r.log.ctx.Done():
		return nil, ErrClosed
	}
}

// take takes the log's answers.
func (r *reader) take(m *tap.Message) {
	q, ok := r.waiting.get(m.Subject)
	if !ok {
		return
	}
	at, found, err := locate(m.Header)
	switch {
	case !found:
		status, text := m.Header.Status()
		r.release(m.Subject, nil, statusError(string(status), string(text)))
		return
	case err != nil:
		r.release(m.Subject, nil, err)
		return
	}
	message := r.arena.message(at.subject, m.Header, m.Body)
	message.Seq, message.Time = at.seq, at.time
	if q.each != nil {
		q.each(message)
		return
	}
	message.Prev = q.key.g.index.Prev(message.Channel, message.Seq)
	r.release(m.Subject, message, nil)
}

func (r *reader) rest() { r.arena.rest() }

func (r *reader) release(subject []byte, m *Message, err error) {
	if q, ok := r.waiting.take(subject); ok {
		r.finish(q, m, err)
	}
}

// statusError maps a direct get's status; 204 ends a batch.
func statusError(status, text string) error {
	switch status {
	case "204":
		return nil
	case "404":
		return errGone
	}
	return fmt.Errorf("%w: direct get: %s %s", ErrUnavailable, status, text)
}

// whereabouts are what a direct get says of a message.
type whereabouts struct {
	subject []byte
	seq     uint64
	time    int64 // Unix ns
}

// locate reads what the server has added to a message's headers; found: it is one. The last value of each is the server's,
// whatever the publisher wrote before it.
func locate(h tap.Header) (at whereabouts, found bool, err error) {
	var seq, stamp []byte
	for k, v := range h.All() {
		switch string(k) {
		case "Nats-Sequence":
			seq = v
		case "Nats-Time-Stamp":
			stamp = v
		case "Nats-Subject":
			at.subject = v
		}
	}
	if len(seq) == 0 {
		return at, false, nil
	}
	var t time.Time
	if err = t.UnmarshalText(stamp); err == nil {
		at.time = t.UnixNano()
		if at.seq, found = decimal(seq); !found {
			err = errors.New("unreadable sequence")
		}
	}
	if err != nil {
		err = fmt.Errorf("%w: direct get: %w", ErrUnavailable, err)
	}
	return at, true, err
}

// gone makes sure that a message which a direct get did not find is gone: with replicas, one that lags behind may have answered.
func (r *reader) gone(ctx context.Context, s *Stream, g *generation, seq uint64) (*Message, error) {
	if s.policy.Load().Replicas > 1 {
		st, err := r.link.js.Stream(ctx, s.name)
		if err != nil {
			return nil, streamError(s.name, err)
		}
		raw, err := st.GetMsg(ctx, seq)
		if err == nil {
			from, id := origin.Of(raw.Header)
			return &Message{Channel: raw.Subject, Seq: raw.Sequence, Prev: g.index.Prev(raw.Subject, raw.Sequence), Time: raw.Time.UnixNano(), ID: id, From: from, Body: raw.Data}, nil
		}
		if !errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, streamError(s.name, err)
		}
	}
	if s.gen.Load() != g {
		return nil, ErrWrongEpoch
	}
	r.missing.Add(1)
	g.shaky.Store(true)
	return nil, errGone
}

// batchRequest is a direct get with several answers.
type batchRequest struct {
	Seq       uint64     `json:"seq,omitempty"`
	Next      string     `json:"next_by_subj,omitempty"`
	Batch     int        `json:"batch,omitempty"`
	MaxBytes  int        `json:"max_bytes,omitempty"`
	StartTime *time.Time `json:"start_time,omitempty"`
	MultiLast []string   `json:"multi_last,omitempty"`
	UpTo      uint64     `json:"up_to_seq,omitempty"`
}

// batch reads what the log finds itself.
func (r *reader) batch(ctx context.Context, s *Stream, b batchRequest) ([]*Message, error) {
	body, err := json.Marshal(b)
	if err != nil {
		return nil, err
	}
	if err := r.acquire(ctx); err != nil {
		return nil, err
	}
	r.slow.Add(1)
	var got []*Message
	q := &request{done: make(chan struct{}), each: func(m *Message) { got = append(got, m) }}
	r.ask(s, q, body)
	if _, err := r.wait(ctx, q); err != nil && !errors.Is(err, errGone) {
		return nil, err
	}
	return got, nil
}

// runSweeper ends the reads that nobody answered, until ctx ends.
func (r *reader) runSweeper(ctx context.Context) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case now := <-tick.C:
			r.fail(r.waiting.expire(now), fmt.Errorf("%w: a read was not answered", ErrUnavailable))
		case <-ctx.Done():
			r.fail(r.waiting.abandonAll(), ErrClosed)
			return
		}
	}
}

// disconnected is called when the connection breaks.
func (r *reader) disconnected() {
	r.mu.Lock()
	r.broken(ErrUnavailable)
	r.life, r.broken = context.WithCancelCause(r.log.ctx)
	r.mu.Unlock()
	r.fail(r.waiting.abandonAll(), ErrUnavailable)
}

// connected returns a context that ends with ctx, or when the connection breaks; done releases it.
func (r *reader) connected(ctx context.Context) (_ context.Context, done func()) {
	r.mu.Lock()
	life := r.life
	r.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(life, func() { cancel(context.Cause(life)) })
	return ctx, func() {
		stop()
		cancel(nil)
	}
}

func (r *reader) fail(qs []*request, err error) {
	for _, q := range qs {
		r.finish(q, nil, err)
	}
}

func (r *reader) count(st *Stats) {
	st.DirectGets, st.SharedGets, st.NotFound = r.gets.Load(), r.shared.Load(), r.missing.Load()
	st.SlowReads, st.RingHits, st.RunReads = r.slow.Load(), r.hits.Load(), r.runs.Load()
}
