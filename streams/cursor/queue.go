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

// consumerPrefix is what the names of consumers of work queues begin with.
const consumerPrefix = "jetwire-"

// queue reads a work queue. What is not done when the reader changes comes again, in its place: the consumer is made anew, and a queue
// gives a new consumer everything that it holds.
type queue struct {
	// Fixed after construction.
	store  *Store
	source Source
	name   string // of the consumer
	handle func(Message)
	log    *slog.Logger

	pending atomic.Uint64 // messages that were not read, as JetStream said last

	mu   sync.Mutex
	made time.Time                // when the last consumer was
	open map[uint64]jetstream.Msg // handed on, and not done
	room chan struct{}            // closed and renewed when one is done
}

const (
	ackWait    = 30 * time.Second // without a word for so long a message comes again
	stillEvery = ackWait / 3      // how often JetStream is told that a message is still worked on

	queueForgets = 10 * time.Minute // a consumer that nobody asks for so long goes away: its reader has died, and is not configured any more
)

func (q *queue) run(ctx context.Context) { passes(ctx, q.log, q.pass) }

func (q *queue) save(context.Context) error { return nil }
func (q *queue) stream() string             { return q.source.Stream }

func (q *queue) waiting() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.pending.Load() + uint64(len(q.open))
}

// pass reads with one consumer until that fails.
func (q *queue) pass(ctx context.Context, works func()) error {
	rc, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	st, err := q.store.js.Stream(rc, q.source.Stream)
	if err != nil {
		return err
	}
	if err := st.DeleteConsumer(rc, q.name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return err
	}
	q.untilDone(ctx) // or they would be handed on twice, out of order
	rc, cancel = context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	consumer, err := st.CreateConsumer(rc, jetstream.ConsumerConfig{
		Durable: q.name, Description: "Jetwire: reads for a webhook", FilterSubjects: q.source.Subjects,
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: ackWait, MaxAckPending: q.store.opts.Window, InactiveThreshold: queueForgets,
	})
	if err != nil {
		return fmt.Errorf("%w (others that take the same from the queue are in the way: nats consumer ls %s)", err, q.source.Stream)
	}
	q.mu.Lock()
	q.made = consumer.CachedInfo().Created
	q.mu.Unlock()
	epoch := epochOf(st.CachedInfo())
	still := time.NewTicker(stillEvery)
	defer still.Stop()
	for ctx.Err() == nil {
		works()
		if err := q.fetch(ctx, consumer, epoch); err != nil {
			return err
		}
		select {
		case <-still.C:
			q.sayStill()
		default:
		}
		if err := q.look(ctx, consumer); err != nil {
			return err
		}
	}
	return nil
}

// leave takes the consumer away, unless it is a successor's: nobody else could read the same from the queue.
func (q *queue) leave(ctx context.Context) {
	q.mu.Lock()
	made := q.made
	q.mu.Unlock()
	consumer, err := q.store.js.Consumer(ctx, q.source.Stream, q.name)
	if err == nil && consumer.CachedInfo().Created.Equal(made) {
		err = q.store.js.DeleteConsumer(ctx, q.source.Stream, q.name)
	}
	if err != nil {
		q.log.Debug("a consumer was not deleted: it goes away by itself", "error", err)
	}
}

// untilDone waits until nothing is open.
func (q *queue) untilDone(ctx context.Context) {
	for {
		q.mu.Lock()
		if q.room == nil {
			q.open, q.room = map[uint64]jetstream.Msg{}, make(chan struct{})
		}
		n, room := len(q.open), q.room
		q.mu.Unlock()
		if n == 0 {
			return
		}
		select {
		case <-room:
		case <-ctx.Done():
			return
		}
	}
}

// fetch hands on what comes within a while.
func (q *queue) fetch(ctx context.Context, consumer jetstream.Consumer, epoch string) error {
	ctx, cancel := context.WithTimeout(ctx, fetchWait)
	defer cancel()
	batch, err := consumer.Fetch(q.store.opts.Window, jetstream.FetchContext(ctx)) // MaxAckPending bounds what comes
	if err != nil {
		return err
	}
	for m := range batch.Messages() {
		meta, err := m.Metadata()
		if err != nil {
			return err
		}
		seq := meta.Sequence.Stream
		if !q.take(seq, m) {
			continue
		}
		q.handle(Message{Stream: q.source.Stream, Epoch: epoch, Subject: m.Subject(), Seq: seq, Time: meta.Timestamp,
			Header: m.Headers(), Data: m.Data(), Done: func() { q.done(seq, m) }})
	}
	if err := batch.Error(); err != nil && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// take reports false for a message that is open already.
func (q *queue) take(seq uint64, m jetstream.Msg) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, again := q.open[seq]
	q.open[seq] = m
	return !again
}

func (q *queue) done(seq uint64, m jetstream.Msg) {
	if err := m.Ack(); err != nil {
		q.log.Debug("a message stays in the queue, and comes again", "seq", seq, "error", err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.open, seq)
	close(q.room)
	q.room = make(chan struct{})
}

// sayStill keeps what is worked on from coming again.
func (q *queue) sayStill() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for seq, m := range q.open {
		if err := m.InProgress(); err != nil {
			q.log.Debug("a message may come again", "seq", seq, "error", err)
		}
	}
}

// look asks how much is left to be read.
func (q *queue) look(ctx context.Context, consumer jetstream.Consumer) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	info, err := consumer.Info(ctx)
	if err != nil {
		return err
	}
	q.pending.Store(info.NumPending)
	return nil
}
