package cursor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// tail reads a stream from a position.
type tail struct {
	// Fixed after construction.
	store  *Store
	source Source
	key    string
	handle func(Message)
	log    *slog.Logger

	window  atomic.Pointer[window] // nil: the position is not known yet
	pending atomic.Uint64          // messages that were not read, as JetStream said last
	seen    uint64                 // nothing up to here is left to be read, of whatever subject

	mu       sync.Mutex
	epoch    string   // of window
	saved    position // what the bucket holds …
	revision uint64   // … and under which revision
}

const (
	fetchWait   = 3 * time.Second
	lookEvery   = 3 * time.Second
	retryAfter  = time.Second
	idleForgets = time.Minute // a consumer that nobody asks for so long goes away
)

var (
	errAnew   = errors.New("the stream was made anew")
	errMissed = errors.New("messages were lost on their way")
)

func (t *tail) run(ctx context.Context) { passes(ctx, t.log, t.pass) }

// passes reads until ctx ends, with one consumer after the other. pass calls works when it does something.
func passes(ctx context.Context, log *slog.Logger, pass func(ctx context.Context, works func()) error) {
	failing := false
	for ctx.Err() == nil {
		err := pass(ctx, func() { failing = false })
		switch {
		case err == nil || ctx.Err() != nil || failing:
		case errors.Is(err, jetstream.ErrStreamNotFound):
			log.Debug("there is no such stream yet")
		default:
			failing = true
			log.Warn("the stream cannot be read for now", "error", err)
		}
		sleep(ctx, retryAfter)
	}
}

// pass reads with one consumer until that fails.
func (t *tail) pass(ctx context.Context, works func()) error {
	if err := t.restore(ctx); err != nil {
		return err
	}
	st, err := t.place(ctx)
	if err != nil {
		return err
	}
	w := t.window.Load()
	read, _ := w.state()
	cc := jetstream.ConsumerConfig{
		Description: "Jetwire " + t.key, FilterSubjects: t.source.Subjects, AckPolicy: jetstream.AckNonePolicy,
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(read, t.seen) + 1,
		MemoryStorage: true, Replicas: 1, InactiveThreshold: idleForgets,
	}
	consumer, err := st.CreateConsumer(ctx, cc)
	if err != nil {
		return err
	}
	defer t.forget(st, consumer.CachedInfo().Name)
	var received uint64
	var looked time.Time
	for ctx.Err() == nil {
		if time.Since(looked) >= lookEvery {
			if err := t.look(ctx, st, consumer, received); err != nil {
				return err
			}
			works()
			looked = time.Now()
		}
		waiting, cancel := context.WithTimeout(ctx, lookEvery)
		n := w.free(waiting)
		cancel()
		if n == 0 {
			continue
		}
		if err := t.fetch(ctx, st, consumer, n, &received); err != nil {
			return err
		}
	}
	return nil
}

// restore reads the position that the bucket holds, the first time.
func (t *tail) restore(ctx context.Context) error {
	if t.window.Load() != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	p, revision, err := t.store.load(ctx, t.key)
	if err != nil {
		return err
	}
	t.mu.Lock()
	t.epoch, t.saved, t.revision = p.Epoch, p, revision
	t.mu.Unlock()
	t.window.Store(newWindow(t.store.opts.Window, p.Seq))
	return nil
}

// place compares the position with the stream that there is now.
func (t *tail) place(ctx context.Context) (jetstream.Stream, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	st, err := t.store.js.Stream(ctx, t.source.Stream)
	if err != nil {
		return nil, err
	}
	info := st.CachedInfo()
	read, _ := t.window.Load().state()
	epoch := epochOf(info)
	if epoch == t.epoch && info.State.LastSeq >= read {
		return st, nil
	}
	behind := uint64(0)
	if epoch == t.epoch { // it has gone back: what it holds up to here was read before, or not; nobody can tell
		behind = info.State.LastSeq
	}
	w := newWindow(t.store.opts.Window, behind)
	known := t.epoch != ""
	t.mu.Lock()
	t.epoch, t.seen = epoch, 0
	t.window.Store(w)
	t.mu.Unlock()
	if known {
		t.log.Warn("the stream was made anew, or has gone back")
		t.tell(w, behind, Lost{Reason: Epoch})
	}
	return st, nil
}

// tell hands on a loss, in the place of the sequence.
func (t *tail) tell(w *window, seq uint64, l Lost) {
	t.handle(Message{Stream: t.source.Stream, Epoch: t.epoch, Seq: seq, Time: time.Now(), Lost: &l, Done: w.add(seq)})
}

func (t *tail) forget(st jetstream.Stream, consumer string) {
	ctx, cancel := context.WithTimeout(context.Background(), requestTimeout)
	defer cancel()
	if err := st.DeleteConsumer(ctx, consumer); err != nil {
		t.log.Debug("a consumer was not deleted: it goes away by itself", "error", err)
	}
}

// fetch hands on up to n messages, which it waits for a while.
func (t *tail) fetch(ctx context.Context, st jetstream.Stream, consumer jetstream.Consumer, n int, received *uint64) error {
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	batch, err := consumer.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		some := []jetstream.Msg{m}
		for len(batch.Messages()) > 0 { // what has come with it
			some = append(some, <-batch.Messages())
		}
		if err := t.handOn(ctx, st, some, received); err != nil {
			return err
		}
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// handOn hands on messages, and in its place what the stream has let go of before it could be read.
func (t *tail) handOn(ctx context.Context, st jetstream.Stream, some []jetstream.Msg, received *uint64) error {
	w := t.window.Load()
	read, _ := w.state()
	before, skips := max(read, t.seen), false
	last := before
	metas := make([]*jetstream.MsgMetadata, len(some))
	for i, m := range some {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		if meta.Sequence.Consumer != *received+uint64(i)+1 {
			return errMissed
		}
		skips = skips || meta.Sequence.Stream != last+1
		metas[i], last = meta, meta.Sequence.Stream
	}
	first := uint64(0)
	if skips { // over what is not of this source, was deleted, or is lost
		info, err := st.Info(ctx)
		if err != nil {
			return err
		}
		first = info.State.FirstSeq
	}
	for i, m := range some {
		seq := metas[i].Sequence.Stream
		if to := min(first, seq); to > before+1 {
			t.lost(w, before+1, to-1)
		}
		*received++
		t.handle(Message{Stream: t.source.Stream, Epoch: t.epoch, Subject: m.Subject(), Seq: seq, Time: metas[i].Timestamp,
			Header: m.Headers(), Data: m.Data(), Done: w.add(seq)})
		before = seq
	}
	return nil
}

// lost tells of what the stream has let go of.
func (t *tail) lost(w *window, from, to uint64) {
	t.log.Warn("the stream has let go of what was not read yet", "from", from, "to", to)
	t.tell(w, to, Lost{From: from, To: to, Reason: Retention})
}

// look asks how much is left to be read, whether all that was sent has come, and whether the stream is still the one that it was.
func (t *tail) look(ctx context.Context, st jetstream.Stream, consumer jetstream.Consumer, received uint64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := st.Info(ctx)
	if err != nil {
		return err
	}
	w := t.window.Load()
	read, _ := w.state()
	if epochOf(info) != t.epoch || info.State.LastSeq < read {
		return errAnew
	}
	t.seen = max(t.seen, read)
	if first := info.State.FirstSeq; first > t.seen+1 {
		t.lost(w, t.seen+1, first-1)
		t.seen = first - 1
	}
	ci, err := consumer.Info(ctx)
	if err != nil {
		return err
	}
	if ci.Delivered.Consumer != received {
		return fmt.Errorf("%w: %d of %d came", errMissed, received, ci.Delivered.Consumer)
	}
	t.pending.Store(ci.NumPending)
	if ci.NumPending == 0 { // what the stream held before it was asked was not of this source, or has come
		t.seen = max(t.seen, info.State.LastSeq)
		w.pass(t.seen)
	}
	return nil
}
