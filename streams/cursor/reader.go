package cursor

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Source is a part of a stream.
type Source struct {
	Stream   string
	Subjects []string // that are read; none: all
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
	store *Store
	name  string
	tails []*tail
	moved atomic.Bool // another has moved a position
}

// NewReader makes a Reader. handle is called for one message of a source at a time; it may wait.
func (s *Store) NewReader(name string, sources []Source, handle func(Message)) *Reader {
	r := &Reader{store: s, name: name}
	for _, src := range sources {
		r.tails = append(r.tails, &tail{store: s, source: src, key: positionKey(name, src.Stream), handle: handle,
			log: s.opts.Logger.With("reader", name, "stream", src.Stream)})
	}
	return r
}

// Run reads until ctx ends, or another moves a position.
func (r *Reader) Run(ctx context.Context) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	var work sync.WaitGroup
	for _, t := range r.tails {
		work.Go(func() { t.run(ctx) })
	}
	for sleep(ctx, saveEvery) && !r.moved.Load() {
		r.save(ctx)
	}
	end()
	work.Wait()
}

// Save writes the positions once more, after Run, when those to whom messages were handed have finished.
func (r *Reader) Save() {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if !r.moved.Load() {
		r.save(ctx)
	}
}

// Waiting returns how many messages are still to be read or done, as it was known last.
func (r *Reader) Waiting() (n uint64) {
	for _, t := range r.tails {
		n += t.pending.Load()
		if w := t.window.Load(); w != nil {
			_, waiting := w.state()
			n += uint64(waiting)
		}
	}
	return n
}

func (r *Reader) save(ctx context.Context) {
	for _, t := range r.tails {
		if err := t.save(ctx); moved(err) {
			t.log.Warn("another reader has moved the position")
			r.moved.Store(true)
		} else if err != nil && ctx.Err() == nil {
			t.log.Debug("cannot write the position; trying again", "error", err)
		}
	}
}

// save writes the position, if it has moved.
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
