package streams

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// scanning says what a scan reads.
type scanning struct {
	from, to uint64 // [from, to)
	batch    int    // messages asked for at once
	headers  bool   // without bodies
	purpose  string // for those who look at the stream's consumers
}

// scan reads a range of the log in order, by a consumer of its own, until each returns false. That costs a third of what reading the messages
// one by one does, and as much as some forty of those to begin with.
func (s *Stream) scan(ctx context.Context, q scanning, each func(m *nats.Msg, at place) bool) error {
	c := s.log.reads
	api, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	consumer, err := c.js.CreateConsumer(api, s.name, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       q.from,
		AckPolicy:         jetstream.AckNonePolicy,
		ReplayPolicy:      jetstream.ReplayInstantPolicy,
		HeadersOnly:       q.headers,
		InactiveThreshold: idleConsumer,
		MemoryStorage:     true,
		Replicas:          1,
		Description:       q.purpose,
	})
	if err != nil {
		return err
	}
	name := consumer.CachedInfo().Name
	defer func() {
		api, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		_ = c.js.DeleteConsumer(api, s.name, name)
	}()
	inbox := c.NewInbox()
	msgs := make(chan *nats.Msg, 2*q.batch) // more than one batch is never asked for
	sub, err := c.ChanSubscribe(inbox, msgs)
	if err != nil {
		return err
	}
	defer func() { _ = sub.Unsubscribe() }()
	next := "$JS.API.CONSUMER.MSG.NEXT." + s.name + "." + name
	patience := time.NewTimer(scanPatience)
	defer patience.Stop()
	for asked := 0; ; asked-- {
		if asked == 0 {
			asked = int(min(uint64(q.batch), q.to-q.from))
			request := `{"batch":` + strconv.Itoa(asked) + `,"no_wait":true}`
			if err := c.PublishRequest(next, inbox, []byte(request)); err != nil {
				return err
			}
			patience.Reset(scanPatience)
		}
		var m *nats.Msg
		select {
		case m = <-msgs:
		case <-patience.C:
			return fmt.Errorf("no answer in %s", scanPatience)
		case <-ctx.Done():
			return ctx.Err()
		}
		at, ok := parseAckSubject(m.Reply)
		switch {
		case !ok && (m.Header.Get("Status") == "404" || m.Header.Get("Status") == "408"):
			return nil // nothing is left
		case !ok:
			return fmt.Errorf("status %s %s", m.Header.Get("Status"), m.Header.Get("Description"))
		case at.sseq >= q.to:
			return nil
		}
		if !each(m, at) || at.sseq == q.to-1 || at.pending == 0 {
			return nil
		}
	}
}
