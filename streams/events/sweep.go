package events

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	sweepEvery = time.Second
	readMost   = batchMost
)

// Sweep tells of the connections of gateways that have died, until ctx ends. One gateway does it at a time; if two do, an event is
// stored twice.
func (l *Log) Sweep(ctx context.Context) {
	missed := map[string]time.Time{} // gateways that do not live, and since when that is known
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		gateways, err := l.gateways(ctx)
		if err != nil && ctx.Err() == nil {
			l.opts.Logger.Debug("cannot look after the entries of other gateways", "error", err)
		}
		now := time.Now()
		for _, gateway := range gateways {
			since, known := missed[gateway]
			switch {
			case l.opts.Alive(gateway):
				delete(missed, gateway)
			case !known:
				missed[gateway] = now
			case now.Sub(since) >= l.opts.Grace:
				n, err := l.bury(ctx, gateway)
				if err != nil {
					l.opts.Logger.Warn("cannot tell that a gateway's connections are gone; trying again", "gateway", gateway, "error", err)
					continue
				}
				l.opts.Logger.Info("a gateway has died", "gateway", gateway, "connections", n)
				delete(missed, gateway)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// gateways returns those that may have entries.
func (l *Log) gateways(ctx context.Context) (ids []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	st, err := l.js.Stream(ctx, bucketStream)
	if err != nil {
		return nil, err
	}
	info, err := st.Info(ctx, jetstream.WithSubjectFilter(bucketSubjects+"*"))
	if err != nil {
		return nil, err
	}
	for subject := range info.State.Subjects {
		ids = append(ids, strings.TrimPrefix(subject, bucketSubjects))
	}
	return ids, nil
}

// bury tells that all connections of a gateway are gone, and removes their entries. The gateway's own key is written first: if it is not
// dead after all, it sees that, and what it writes from then on is not touched.
func (l *Log) bury(ctx context.Context, gateway string) (told int, err error) {
	st, err := l.js.Stream(ctx, bucketStream)
	if err != nil {
		return 0, err
	}
	mark, err := l.write(ctx, gateway)
	if err != nil {
		return 0, err
	}
	consumer, err := st.CreateConsumer(ctx, jetstream.ConsumerConfig{
		FilterSubject: bucketSubjects + gateway + ".*", AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1,
		InactiveThreshold: time.Minute,
	})
	if err != nil {
		return 0, err
	}
	defer func() { _ = st.DeleteConsumer(ctx, consumer.CachedInfo().Name) }()
	for pending := consumer.CachedInfo().NumPending; pending > 0; {
		n, left, err := l.buryNext(ctx, gateway, mark, consumer)
		told += n
		if err != nil {
			return told, err
		}
		pending = left
	}
	if err := l.purge(ctx, gateway+".*", mark); err != nil {
		return told, err
	}
	return told, l.purge(ctx, gateway, mark)
}

// buryNext does the next entries, those that were written before mark, and returns how many are left.
func (l *Log) buryNext(ctx context.Context, gateway string, mark uint64, consumer jetstream.Consumer) (told int, left uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	batch, err := consumer.FetchNoWait(readMost)
	if err != nil {
		return 0, 0, err
	}
	var events []*nats.Msg
	got := 0
	for m := range batch.Messages() {
		got++
		meta, err := m.Metadata()
		if err != nil {
			return 0, 0, err
		}
		left = meta.NumPending
		e, ok := decodeEntry(m.Data())
		if !ok || meta.Sequence.Stream > mark { // not ok is also the mark of one that was removed
			continue
		}
		session := m.Subject()[len(bucketSubjects)+len(gateway)+1:]
		event := disconnect(session, e, e.Life)
		event.Gateway, event.Reason = gateway, GatewayLost
		msg, err := event.message()
		if err != nil {
			return 0, 0, err
		}
		events = append(events, msg)
	}
	if got == 0 {
		return 0, 0, errors.Join(errors.New("the entries did not come"), batch.Error())
	}
	if err := appendBatch(ctx, l.conn.Conn, events); err != nil {
		return 0, 0, err
	}
	l.appended.Add(uint64(len(events)))
	return len(events), left, nil
}
