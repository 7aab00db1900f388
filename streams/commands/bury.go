package commands

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/dead"
)

// advisory is what JetStream tells of a command that a consumer has given up.
type advisory struct {
	Type       string    `json:"type"`
	Time       time.Time `json:"timestamp"`
	Stream     string    `json:"stream"`
	Consumer   string    `json:"consumer"`
	Seq        uint64    `json:"stream_seq"`
	Deliveries uint64    `json:"deliveries"`
	Reason     string    `json:"reason"` // a backend's, where it terminated the command
}

const (
	exhausted  = "io.nats.jetstream.advisory.v1.max_deliver"
	terminated = "io.nats.jetstream.advisory.v1.terminated"
)

// The reasons of the letters, where the backend gives none.
const (
	ReasonExhausted  = "max deliveries"
	ReasonTerminated = "terminated"
)

// byLimits are the reasons that JetStream itself gives for the end of a command that has left the queue for another cause.
var byLimits = []string{"Message deleted by stream limits", "Unacknowledged message was deleted"}

// parseAdvisory reads an advisory; what is none of the two, or says nothing that is to be done, gives false.
func parseAdvisory(data []byte) (advisory, bool) {
	var a advisory
	if json.Unmarshal(data, &a) != nil || a.Stream != Stream || a.Seq == 0 || a.Type != exhausted && a.Type != terminated {
		return advisory{}, false
	}
	for _, r := range byLimits {
		if a.Reason == r {
			return advisory{}, false
		}
	}
	return a, true
}

func (a *advisory) reason() string {
	switch {
	case a.Type == exhausted:
		return ReasonExhausted
	case a.Reason == "":
		return ReasonTerminated
	}
	return a.Reason
}

// pause is how long what failed waits for its next try.
const pause = time.Second

// bury makes dead letters of what has been given up, until the queue is closed.
func (q *Queue) bury() {
	for q.ctx.Err() == nil {
		err := q.buryNext()
		if q.ctx.Err() == nil {
			q.opts.Logger.Warn("dead letters of commands have to wait", "error", err)
			q.rest()
			q.lost()
		}
	}
}

// rest waits for a while, or until the queue is closed.
func (q *Queue) rest() {
	t := time.NewTimer(pause)
	defer t.Stop()
	select {
	case <-t.C:
	case <-q.ctx.Done():
	}
}

// buryNext takes one advisory after the other, until that fails.
func (q *Queue) buryNext() error {
	consumer, err := q.js.Consumer(q.ctx, advisories, undertaker)
	if err != nil {
		return err
	}
	told, err := consumer.Messages(jetstream.PullMaxMessages(64))
	if err != nil {
		return err
	}
	defer told.Stop()
	for {
		m, err := told.Next(jetstream.NextContext(q.ctx))
		if err != nil {
			return err
		}
		q.take(m)
	}
}

// take deals with one advisory. One that it could not deal with comes again, here or to another gateway.
func (q *Queue) take(m jetstream.Msg) {
	a, ok := parseAdvisory(m.Data())
	if ok {
		ctx, cancel := context.WithTimeout(q.ctx, buryWithin/2)
		defer cancel()
		if err := q.giveUp(ctx, &a); err != nil {
			q.opts.Logger.Warn("a command cannot be put among the dead letters yet", "consumer", a.Consumer, "seq", a.Seq, "error", err)
			_ = m.NakWithDelay(pause)
			return
		}
	}
	_ = m.Ack() // if it is lost the advisory comes again, and finds everything done
}

// giveUp stores the letter of a command first and takes it from the queue then; either may have been done before.
func (q *Queue) giveUp(ctx context.Context, a *advisory) error {
	st, err := q.js.Stream(ctx, Stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if a.Time.Before(st.CachedInfo().Created) {
		return nil // it tells of a stream that is no more
	}
	l := dead.Letter{Reason: a.reason(), Consumer: a.Consumer, Deliveries: a.Deliveries, Stream: Stream, Seq: a.Seq}
	c, err := st.GetMsg(ctx, a.Seq)
	switch {
	case errors.Is(err, jetstream.ErrMsgNotFound) && a.Type == terminated:
		// JetStream takes a terminated command from the queue before it tells: all that is left of it is why.
		return q.post(ctx, l.Message("terminated."+a.Consumer, nil, nil))
	case errors.Is(err, jetstream.ErrMsgNotFound):
		return nil // a backend has handled it after all, or another gateway was here
	case err != nil:
		return err
	}
	l.Time = c.Time
	if err := q.post(ctx, l.Message("command."+strings.TrimPrefix(c.Subject, SubjectPrefix), c.Header, c.Data)); err != nil {
		return err
	}
	if err := st.DeleteMsg(ctx, a.Seq); err != nil {
		if _, gone := st.GetMsg(ctx, a.Seq); !errors.Is(gone, jetstream.ErrMsgNotFound) {
			return fmt.Errorf("its letter is stored, but it cannot be taken from the queue: %w", err)
		}
	}
	return nil
}

// post stores a letter, unless it is there already.
func (q *Queue) post(ctx context.Context, letter *nats.Msg) error {
	ack, err := dead.Post(ctx, q.js, letter)
	if err != nil {
		return err
	}
	if !ack.Duplicate {
		q.dead.Add(1)
	}
	return q.synced(ctx)
}

// synced waits until what JetStream has acknowledged would survive a power cut.
func (q *Queue) synced(ctx context.Context) error {
	if q.opts.Synced == nil {
		return nil
	}
	done := make(chan error, 1)
	q.opts.Synced(func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
