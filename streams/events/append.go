package events

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	batchMost      = 500 // of the 1,000 that JetStream takes at once
	requestTimeout = 5 * time.Second
	minPause       = 50 * time.Millisecond
	maxPause       = 2 * time.Second
)

// run stores what is queued, batch by batch, each until it is stored.
func (l *Log) run() {
	for {
		batch, more := l.take()
		if len(batch) > 0 && !l.storeForSure(batch) {
			l.mu.Lock()
			l.intact = false
			l.loseLocked(len(batch) + len(l.queue))
			l.queue = nil
			l.mu.Unlock()
			return
		}
		if !more {
			return
		}
	}
}

// take waits for events and returns some. more: there may come others.
func (l *Log) take() (batch []item, more bool) {
	for {
		l.mu.Lock()
		if len(l.queue) > 0 {
			break
		}
		closed := l.closed
		l.mu.Unlock()
		if closed {
			return nil, false
		}
		select {
		case <-l.wake:
		case <-l.stop:
		}
	}
	defer l.mu.Unlock()
	n := min(len(l.queue), batchMost)
	batch = append(make([]item, 0, n+1), l.queue[:n]...)
	if l.queue = l.queue[n:]; len(l.queue) == 0 {
		l.queue = nil
	}
	if l.untold > 0 { // it stands where the queue was full: behind these, or later
		batch = append(batch, item{Event: Event{ID: l.nextIDLocked(), Kind: Lost, Time: time.Now().UnixMilli(), Gateway: l.opts.Gateway, Count: l.untold}})
		l.untold = 0
	}
	signal(l.room)
	return batch, true
}

// storeForSure reports false only when there is no more time.
func (l *Log) storeForSure(batch []item) bool {
	for pause := minPause; ; pause = min(2*pause, maxPause) {
		err := l.store(batch)
		if err == nil {
			return true
		}
		l.opts.Logger.Debug("events of connections cannot be stored; trying again", "error", err)
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
			return false
		}
		if l.conn.Up() {
			if err := l.ensure(l.ctx); err != nil {
				l.opts.Logger.Debug("the log of events is out of reach", "error", err)
			}
		}
	}
}

// store writes entries, then events, then removes entries: who dies in between leaves an entry too many rather than one too few.
func (l *Log) store(batch []item) error {
	ctx, cancel := context.WithTimeout(l.ctx, requestTimeout)
	defer cancel()
	var written, removed []*nats.Msg
	var events []*nats.Msg
	for i := range batch {
		it := &batch[i]
		if it.entry != nil {
			value, err := json.Marshal(it.entry)
			if err != nil {
				return err
			}
			written = append(written, &nats.Msg{Subject: l.entrySubject(it.Session), Data: value})
		}
		if it.Kind != "" {
			m, err := it.message()
			if err != nil {
				return err
			}
			events = append(events, m)
		}
		if it.remove {
			removed = append(removed, removal(l.entrySubject(it.Session)))
		}
	}
	if err := l.putAll(ctx, written); err != nil {
		return err
	}
	if err := appendBatch(ctx, l.conn.Conn, events); err != nil {
		return err
	}
	l.appended.Add(uint64(len(events)))
	return l.putAll(ctx, removed)
}

func (e *Event) message() (*nats.Msg, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: e.subject(), Data: body, Header: nats.Header{}}, nil
}

// putAll stores messages without an order among them, and waits until all are stored.
func (l *Log) putAll(ctx context.Context, msgs []*nats.Msg) error {
	acks := make([]jetstream.PubAckFuture, 0, len(msgs))
	for _, m := range msgs {
		ack, err := l.js.PublishMsgAsync(m, jetstream.WithStallWait(requestTimeout))
		if err != nil {
			return err
		}
		acks = append(acks, ack)
	}
	for _, ack := range acks {
		select {
		case <-ack.Ok():
		case err := <-ack.Err():
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// appendBatch stores messages in their order, all or none, as an atomic batch of JetStream's.
func appendBatch(ctx context.Context, nc *nats.Conn, msgs []*nats.Msg) error {
	if len(msgs) == 0 {
		return nil
	}
	last := msgs[len(msgs)-1]
	if len(msgs) > 1 {
		name := nuid.Next()
		for i, m := range msgs {
			m.Header["Nats-Batch-Id"] = []string{name}
			m.Header["Nats-Batch-Sequence"] = []string{strconv.Itoa(i + 1)}
		}
		last.Header["Nats-Batch-Commit"] = []string{"1"}
		for _, m := range msgs[:len(msgs)-1] {
			if err := nc.PublishMsg(m); err != nil {
				return err
			}
		}
	}
	answer, err := nc.RequestMsgWithContext(ctx, last)
	if err != nil {
		return err
	}
	var ack struct {
		Error *jetstream.APIError `json:"error"`
		Seq   uint64              `json:"seq"`
		Count int                 `json:"count"`
	}
	switch err := json.Unmarshal(answer.Data, &ack); {
	case err != nil:
		return fmt.Errorf("unreadable acknowledgement: %w", err)
	case ack.Error != nil:
		return ack.Error
	case ack.Seq == 0 || len(msgs) > 1 && ack.Count != len(msgs):
		return fmt.Errorf("an acknowledgement of %d for %d events", ack.Count, len(msgs))
	}
	return nil
}
