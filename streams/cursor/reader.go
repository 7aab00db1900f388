package cursor

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Source is a part of a stream.
type Source struct {
	Stream   string
	Subjects []string // that are read; none: all
	// Queue says that the stream is a work queue: what is done is taken from it, and there is no position. Nobody else may read the same
	// subjects of it.
	Queue bool
}

// source reads one Source.
type source interface {
	run(ctx context.Context)
	save(ctx context.Context) error // the position, if it has moved
	leave(ctx context.Context)      // nothing more is read, and what was handed on is finished
	waiting() uint64
	stream() string
}

// Message is one of a stream's.
type Message struct {
	Stream  string
	Epoch   string // of the stream
	Subject string
	Seq     uint64
	Time    time.Time // when it was stored
	Header  nats.Header
	Data    []byte
	Lost    *Lost  // not nil: it stands for messages that were lost, and has no subject, header or data
	Done    func() // to be called once nothing is left to do for it, from any goroutine
}

// Lost says what a stream no longer holds. It may be that none of it was of the source.
type Lost struct {
	From, To uint64
	Reason   string // Retention, or Epoch: the stream was made anew, From and To are 0
}

// The reasons of Lost.
const (
	Retention = "retention"
	Epoch     = "epoch"
)

// saveEvery is how often positions are written, if they have moved.
const saveEvery = time.Second

// Reader reads under one name, while the name's lease is held.
type Reader struct {
	log     *slog.Logger
	sources []source
	moved   atomic.Bool // another has moved a position
}

// NewReader makes a Reader. handle is called for one message of a source at a time; it may wait.
func (s *Store) NewReader(name string, sources []Source, handle func(Message)) *Reader {
	r := &Reader{log: s.opts.Logger.With("reader", name)}
	for _, src := range sources {
		log := r.log.With("stream", src.Stream)
		if src.Queue {
			r.sources = append(r.sources, &queue{store: s, source: src, name: consumerPrefix + name, handle: handle, log: log})
		} else {
			r.sources = append(r.sources, &tail{store: s, source: src, key: positionKey(name, src.Stream), handle: handle, log: log})
		}
	}
	return r
}

// Run reads until ctx ends, or another moves a position.
func (r *Reader) Run(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var work sync.WaitGroup
	for _, src := range r.sources {
		work.Go(func() { src.run(ctx) })
	}
	for sleep(ctx, saveEvery) && !r.moved.Load() {
		r.save(ctx)
	}
	end()
	work.Wait()
}

// Save writes the positions once more, after Run, when those to whom messages were handed have finished, and lets others read.
func (r *Reader) Save() {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if !r.moved.Load() {
		r.save(ctx)
	}
	for _, src := range r.sources {
		src.leave(ctx)
	}
}

// Waiting returns how many messages are still to be read or done, as it was known last.
func (r *Reader) Waiting() (n uint64) {
	for _, src := range r.sources {
		n += src.waiting()
	}
	return n
}

func (r *Reader) save(ctx context.Context) {
	for _, src := range r.sources {
		if err := src.save(ctx); moved(err) {
			r.log.Warn("another reader has moved the position", "stream", src.stream())
			r.moved.Store(true)
		} else if err != nil && ctx.Err() == nil {
			r.log.Debug("cannot write the position; trying again", "stream", src.stream(), "error", err)
		}
	}
}

func (t *tail) leave(context.Context) {} // each pass has

func (t *tail) stream() string { return t.source.Stream }

func (t *tail) waiting() uint64 {
	n := t.pending.Load()
	if w := t.window.Load(); w != nil {
		_, open := w.state()
		n += uint64(open)
	}
	return n
}

func (t *tail) save(ctx context.Context) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.window.Load()
	if w == nil {
		return nil
	}
	p := position{t.epoch, w.position()}
	if p == t.saved {
		return nil
	}
	value, err := json.Marshal(p)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	revision, err := t.store.put(ctx, t.key, value, t.revision, 0)
	if err != nil {
		return err
	}
	t.saved, t.revision = p, revision
	return nil
}
