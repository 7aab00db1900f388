package commands

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	defaultSweep = time.Minute
	maxStranded  = 1000 // commands found in one look
)

// stranded is a command that its consumer has given up, and that is still in the queue.
type stranded struct {
	consumer string
	seq      uint64
}

// sweep finds the commands that were given up and of which no advisory came: JetStream sends those once, and nobody may have been there
// to keep them. What is found in two looks, one behind the other, is no command that is just being taken from the queue.
func (q *Queue) sweep() {
	t := time.NewTicker(q.opts.sweep)
	defer t.Stop()
	before := q.look(nil)
	for {
		select {
		case <-t.C:
		case <-q.ctx.Done():
			return
		}
		before = q.look(before)
	}
}

// look gives up what it finds and was found before, and returns what it finds.
func (q *Queue) look(before map[stranded]uint64) map[stranded]uint64 {
	ctx, cancel := context.WithTimeout(q.ctx, defaultSweep)
	defer cancel()
	found, err := q.stranded(ctx)
	for s, deliveries := range found {
		if _, again := before[s]; again && err == nil {
			err = q.giveUp(ctx, &advisory{Type: exhausted, Time: time.Now(), Stream: Stream, Consumer: s.consumer, Seq: s.seq, Deliveries: deliveries})
		}
	}
	if err != nil && q.ctx.Err() == nil {
		q.opts.Logger.Warn("the queue of commands cannot be looked through", "error", err)
	}
	return found
}

// stranded looks for commands that a consumer has behind it, and that are there all the same, with how often it has had them.
func (q *Queue) stranded(ctx context.Context) (map[stranded]uint64, error) {
	found := map[stranded]uint64{}
	st, err := q.js.Stream(ctx, Stream)
	if err != nil {
		return found, err
	}
	q.waiting.Store(int64(st.CachedInfo().State.Msgs))
	if st.CachedInfo().State.Msgs == 0 {
		return found, nil
	}
	consumers := st.ListConsumers(ctx)
	for c := range consumers.Info() {
		end := behind(c)
		for _, filter := range filters(&c.Config) {
			for seq := st.CachedInfo().State.FirstSeq; seq <= end && len(found) < maxStranded; {
				m, err := st.GetMsg(ctx, seq, jetstream.WithGetMsgSubject(filter)) // the next one that matches
				if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && m.Sequence > end {
					break
				}
				if err != nil {
					return found, err
				}
				found[stranded{c.Name, m.Sequence}] = uint64(c.Config.MaxDeliver)
				seq = m.Sequence + 1
			}
		}
	}
	return found, consumers.Err()
}

// behind is the sequence up to which a consumer has handled, or given up, whatever is for it; 0 if it never gives up, or has not.
func behind(c *jetstream.ConsumerInfo) uint64 {
	switch {
	case c.Config.MaxDeliver <= 0, c.Config.MaxDeliver > 1 && c.NumRedelivered == 0: // of one delivery, JetStream does not tell
		return 0
	case c.NumAckPending == 0:
		return c.Delivered.Stream
	}
	return c.AckFloor.Stream
}

func filters(c *jetstream.ConsumerConfig) []string {
	switch {
	case len(c.FilterSubjects) > 0:
		return c.FilterSubjects
	case c.FilterSubject != "":
		return []string{c.FilterSubject}
	}
	return []string{SubjectPrefix + ">"}
}
