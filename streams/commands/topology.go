package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/dead"
)

const (
	apiTimeout = 5 * time.Second // for one request to JetStream's API
	headerRoom = 4 << 10         // what a stream's message size limit leaves for headers

	advisories      = "jetwire_advisories"
	exhaustedPrefix = "$JS.EVENT.ADVISORY.CONSUMER.MAX_DELIVERIES." + Stream
	endedPrefix     = "$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED." + Stream
	undertaker      = "jetwire_dead_letters" // the gateways' consumer of advisories

	advisoriesAge   = 7 * 24 * time.Hour
	advisoriesBytes = 1 << 20
	buryWithin      = 30 * time.Second // after which another gateway tries
)

// ensure makes the streams and the shared consumer, or makes them what the options say.
func (q *Queue) ensure(ctx context.Context) error {
	if err := dead.Ensure(ctx, q.js, q.opts.Dead); err != nil {
		return unavailable(err)
	}
	if err := q.ensureStream(ctx, q.advisoriesConfig()); err != nil {
		return err
	}
	if err := q.ensureStream(ctx, q.queueConfig()); err != nil {
		return err
	}
	_, err := q.js.CreateOrUpdateConsumer(ctx, advisories, jetstream.ConsumerConfig{
		Durable: undertaker, Description: "Jetwire: makes dead letters of commands",
		AckPolicy: jetstream.AckExplicitPolicy, AckWait: buryWithin, MaxAckPending: 1000, Replicas: q.opts.Replicas, MemoryStorage: q.opts.Memory,
	})
	if err != nil {
		return unavailable(fmt.Errorf("consumer %s of %s: %w", undertaker, advisories, err))
	}
	return nil
}

func (q *Queue) queueConfig() jetstream.StreamConfig {
	o := &q.opts
	return jetstream.StreamConfig{
		Name: Stream, Description: "Jetwire: commands to backends", Subjects: []string{SubjectPrefix + ">"},
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardNew, Storage: o.storage(), Replicas: o.Replicas,
		MaxAge: max(o.MaxAge, 0), MaxBytes: o.MaxBytes, MaxMsgSize: int32(min(o.MaxMessageSize+headerRoom, 1<<31-1)),
		Duplicates: o.DedupWindow, // no direct gets: what is read here must not come from a replica that lags
	}
}

func (q *Queue) advisoriesConfig() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name: advisories, Description: "Jetwire: which commands have been given up", Subjects: []string{exhaustedPrefix + ".>", endedPrefix + ".>"},
		Retention: jetstream.WorkQueuePolicy, Discard: jetstream.DiscardOld, Storage: q.opts.storage(), Replicas: q.opts.Replicas,
		MaxAge: advisoriesAge, MaxBytes: advisoriesBytes, Duplicates: DefaultDedupWindow,
	}
}

func (o *Options) storage() jetstream.StorageType {
	if o.Memory {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

// ensureStream makes a stream, or makes it what is wanted; it leaves alone what is not spoken of here.
func (q *Queue) ensureStream(ctx context.Context, want jetstream.StreamConfig) error {
	st, err := q.js.Stream(ctx, want.Name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		st, err = q.js.CreateStream(ctx, want)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // another gateway was faster
			st, err = q.js.Stream(ctx, want.Name)
		}
	}
	if err != nil {
		return unavailable(fmt.Errorf("stream %s: %w", want.Name, err))
	}
	c := st.CachedInfo().Config
	if c.Storage != want.Storage || c.Retention != want.Retention {
		return fmt.Errorf("%w: stream %s keeps its messages in %s storage by %s retention, %s and %s are wanted, and neither can be changed; "+
			"change the configuration back, or delete the stream with all its messages: nats stream rm %s",
			ErrRefused, want.Name, c.Storage, c.Retention, want.Storage, want.Retention, want.Name)
	}
	if slices.Equal(c.Subjects, want.Subjects) && c.Discard == want.Discard && c.Replicas == want.Replicas && c.MaxAge == want.MaxAge &&
		c.MaxBytes == want.MaxBytes && (c.MaxMsgSize == want.MaxMsgSize || want.MaxMsgSize == 0) && c.Duplicates == want.Duplicates && !c.AllowDirect {
		return nil
	}
	if want.MaxAge > 0 && (c.MaxAge <= 0 || want.MaxAge < c.MaxAge) && !q.opts.AllowShrink {
		return fmt.Errorf("%w: stream %s: the configuration lowers the maximum age to %s, which deletes commands that nobody has handled; "+
			"change it back, or allow it with --allow-shrink", ErrRefused, want.Name, want.MaxAge)
	}
	c.Subjects, c.Discard, c.Replicas, c.MaxAge, c.MaxBytes = want.Subjects, want.Discard, want.Replicas, want.MaxAge, want.MaxBytes
	c.Duplicates, c.AllowDirect = want.Duplicates, false
	if want.MaxMsgSize != 0 {
		c.MaxMsgSize = want.MaxMsgSize
	}
	if _, err := q.js.UpdateStream(ctx, c); err != nil {
		return unavailable(fmt.Errorf("stream %s: %w", want.Name, err))
	}
	return nil
}

// unavailable marks an error that may pass.
func unavailable(err error) error {
	if errors.Is(err, ErrRefused) || errors.Is(err, dead.ErrRefused) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// lost has the streams looked at, one of which does not answer.
func (q *Queue) lost() {
	select {
	case q.missing <- struct{}{}:
	default:
	}
}

// maintain looks at the streams when one of them may be gone, until the queue is closed.
func (q *Queue) maintain() {
	for {
		select {
		case <-q.missing:
		case <-q.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(q.ctx, apiTimeout)
		err := q.ensure(ctx)
		cancel()
		if err != nil && q.ctx.Err() == nil {
			q.opts.Logger.Error("the streams of commands cannot be made", "error", err)
			q.rest()
			q.lost()
		}
	}
}
