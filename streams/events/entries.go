package events

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Bucket is the KV bucket of open connections: GATEWAY.SESSION is an entry, and GATEWAY alone says that there may be some.
const Bucket = "jetwire_connections"

const (
	bucketStream   = "KV_" + Bucket
	bucketSubjects = "$KV." + Bucket + "."
	markerTTL      = "10s" // how long it is remembered that an entry was removed; nobody asks
	watchEvery     = 3 * time.Second
)

func (l *Log) storage() jetstream.StorageType {
	if l.opts.Memory {
		return jetstream.MemoryStorage
	}
	return jetstream.FileStorage
}

// ensure makes the stream and the bucket what the options say.
func (l *Log) ensure(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := l.js.CreateOrUpdateStream(ctx, jetstream.StreamConfig{
		Name: Stream, Description: "Jetwire: what becomes of connections", Subjects: []string{Prefix + ">"},
		Retention: jetstream.LimitsPolicy, Discard: jetstream.DiscardOld, Storage: l.storage(), Replicas: max(l.opts.Replicas, 1),
		MaxAge: l.opts.MaxAge, MaxBytes: l.opts.MaxBytes, Duplicates: min(l.opts.MaxAge, time.Minute),
		AllowDirect: true, AllowAtomicPublish: true,
	})
	if err != nil {
		return fmt.Errorf("stream %s: %w", Stream, err)
	}
	if !l.keeps {
		return nil
	}
	_, err = l.js.CreateOrUpdateKeyValue(ctx, jetstream.KeyValueConfig{
		Bucket: Bucket, Description: "Jetwire: open connections", History: 1, Storage: l.storage(), Replicas: max(l.opts.Replicas, 1),
		LimitMarkerTTL: time.Minute,
	})
	if err != nil {
		return fmt.Errorf("bucket %s: %w", Bucket, err)
	}
	return nil
}

func (l *Log) entrySubject(session string) string {
	return bucketSubjects + l.opts.Gateway + "." + session
}

// removal takes a key away, as nats kv purge does; the mark that stays goes by itself.
func removal(subject string) *nats.Msg {
	return &nats.Msg{Subject: subject, Header: nats.Header{
		"KV-Operation": {"PURGE"}, "Nats-Rollup": {"sub"}, "Nats-TTL": {markerTTL},
	}}
}

// write writes the key that says that a gateway may have entries.
func (l *Log) write(ctx context.Context, gateway string) (revision uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	ack, err := l.js.Publish(ctx, bucketSubjects+gateway, []byte("{}"))
	if err != nil {
		return 0, fmt.Errorf("bucket %s: %w", Bucket, err)
	}
	return ack.Sequence, nil
}

// unregister is for a gateway that has no entries left.
func (l *Log) unregister() {
	if err := l.purge(context.Background(), l.opts.Gateway, l.record); err != nil {
		l.opts.Logger.Debug("another gateway will see that this one has left", "error", err)
	}
}

// purge removes, for good, what was written of keys up to a revision.
func (l *Log) purge(ctx context.Context, keys string, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	st, err := l.js.Stream(ctx, bucketStream)
	if err != nil {
		return err
	}
	return st.Purge(ctx, jetstream.WithPurgeSubject(bucketSubjects+keys), jetstream.WithPurgeSequence(revision+1))
}

// watch looks whether the others take this gateway for dead, which they do when it was out of their sight for too long: then its
// connections were told to be gone, and are told again.
func (l *Log) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.stop:
			return
		}
		ctx, cancel := context.WithTimeout(l.ctx, requestTimeout)
		gone, err := l.gone(ctx)
		if err == nil && gone {
			if l.record, err = l.write(ctx, l.opts.Gateway); err == nil {
				l.again()
			}
		}
		cancel()
		if err != nil {
			l.opts.Logger.Debug("cannot look after this gateway's entries", "error", err)
		}
	}
}

func (l *Log) gone(ctx context.Context) (bool, error) {
	st, err := l.js.Stream(ctx, bucketStream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return true, l.ensure(ctx)
	}
	if err != nil {
		return false, err
	}
	m, err := st.GetLastMsgForSubject(ctx, bucketSubjects+l.opts.Gateway)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return true, nil
	}
	return err == nil && m.Sequence != l.record, err
}

// again tells of every open connection that it is there. It waits for the queue.
func (l *Log) again() {
	n := 0
	for c, channels := range l.opts.Open {
		if !l.untilRoom(1 + len(channels)) {
			return
		}
		l.mu.Lock()
		if !c.closed { // otherwise its Disconnect stands in the queue, or behind it
			c.life++
			l.connectedLocked(c, Event{Time: time.Now().UnixMilli(), Again: true})
			for _, channel := range channels {
				if l.kinds[Subscribe] {
					l.pushLocked(l.channelItemLocked(Subscribe, c, channel))
				}
			}
			n++
		}
		l.mu.Unlock()
	}
	l.opts.Logger.Warn("other gateways took this one for dead; its connections were told again", "connections", n)
}

// untilRoom waits until n events fit into half of the queue: the rest is for what happens meanwhile. It reports false when the log closes.
func (l *Log) untilRoom(n int) bool {
	for {
		l.mu.Lock()
		queued := len(l.queue)
		l.mu.Unlock()
		if queued == 0 || queued+n <= l.opts.Queue/2 {
			return true
		}
		select {
		case <-l.room:
		case <-l.stop:
			return false
		}
	}
}
