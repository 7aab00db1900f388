package streams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/index"
)

const (
	windowMessages = 64 << 10 // messages that a window of the rebuild holds, about
	scanBatch      = 4096     // messages asked for at once
	scanPatience   = 10 * time.Second
)

// rebuild fills the generation's index with what the log held before it began, newest first, until it is complete, the budget is reached, or
// ctx ends.
func (s *Stream) rebuild(ctx context.Context, g *generation, to uint64) {
	defer g.joined(true)
	if hold := s.log.opts.holdRebuild; hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
		}
	}
	total := to - min(to, g.first.Load())
	span := uint64(windowMessages)
	for pause := retryLeast; ctx.Err() == nil; {
		first := g.first.Load()
		if to <= first {
			return
		}
		from := max(first, to-min(span, to-1))
		w := index.NewWindow(from, to)
		n, err := s.scan(ctx, w, from, to)
		if err != nil {
			s.log.opts.Logger.Debug("the index's rebuild waits", "stream", s.name, "error", err)
			select {
			case <-time.After(pause/2 + rand.N(pause)):
			case <-ctx.Done():
			}
			pause = min(2*pause, retryMost)
			continue
		}
		pause = retryLeast
		if n < to-from && s.policy.Load().MaxPerChannel <= 0 {
			raise(&g.sparse, to-1)
		}
		g.index.Prepend(w)
		if g.index.Floor() != from {
			s.log.opts.Logger.Info("the index holds as much as it may", "stream", s.name, "from", g.index.Floor())
			return
		}
		g.joined(false)
		if f := s.log.opts.Progress; f != nil {
			f(s.namespace, total-min(total, from-first), total)
		}
		to = from
		// Sparse ranges get longer windows, so that each brings about as much.
		span = min(span*windowMessages/max(n, windowMessages/16), 1<<32)
	}
}

// joined tells those who wait that the index reaches further back, or that it will not.
func (g *generation) joined(done bool) {
	g.rebuild.mu.Lock()
	defer g.rebuild.mu.Unlock()
	close(g.rebuild.moved)
	g.rebuild.moved = make(chan struct{})
	g.rebuild.done = g.rebuild.done || done
}

// rebuilding returns a channel that is closed when the index reaches further back, and whether that is still to come.
func (g *generation) rebuilding() (moved <-chan struct{}, coming bool) {
	g.rebuild.mu.Lock()
	defer g.rebuild.mu.Unlock()
	return g.rebuild.moved, !g.rebuild.done
}

// scan reads the headers of the messages in [from, to) into the window.
func (s *Stream) scan(ctx context.Context, w *index.Window, from, to uint64) (n uint64, err error) {
	c := s.log.reads
	api, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	consumer, err := c.js.CreateConsumer(api, s.name, jetstream.ConsumerConfig{
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       from,
		AckPolicy:         jetstream.AckNonePolicy,
		ReplayPolicy:      jetstream.ReplayInstantPolicy,
		HeadersOnly:       true,
		InactiveThreshold: idleConsumer,
		MemoryStorage:     true,
		Replicas:          1,
		Description:       "Jetwire index",
	})
	if err != nil {
		return 0, err
	}
	name := consumer.CachedInfo().Name
	defer func() {
		api, cancel := context.WithTimeout(ctx, requestTimeout)
		defer cancel()
		_ = c.js.DeleteConsumer(api, s.name, name)
	}()
	inbox := c.nc.NewInbox()
	msgs := make(chan *nats.Msg, 2*scanBatch) // more than one batch is never asked for
	sub, err := c.nc.ChanSubscribe(inbox, msgs)
	if err != nil {
		return 0, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	next := "$JS.API.CONSUMER.MSG.NEXT." + s.name + "." + name
	patience := time.NewTimer(scanPatience)
	defer patience.Stop()
	for asked := 0; ; asked-- {
		if asked == 0 {
			asked = int(min(scanBatch, to-from))
			request := `{"batch":` + strconv.Itoa(asked) + `,"no_wait":true}`
			if err := c.nc.PublishRequest(next, inbox, []byte(request)); err != nil {
				return n, err
			}
			patience.Reset(scanPatience)
		}
		var m *nats.Msg
		select {
		case m = <-msgs:
		case <-patience.C:
			return n, fmt.Errorf("no answer in %s", scanPatience)
		case <-ctx.Done():
			return n, ctx.Err()
		}
		at, ok := parseAckSubject(m.Reply)
		switch {
		case !ok && (m.Header.Get("Status") == "404" || m.Header.Get("Status") == "408"):
			return n, nil // nothing is left
		case !ok:
			return n, fmt.Errorf("status %s %s", m.Header.Get("Status"), m.Header.Get("Description"))
		case at.sseq >= to:
			return n, nil
		}
		w.Add(m.Subject, at.sseq, at.time)
		n++
		if at.sseq == to-1 || at.pending == 0 {
			return n, nil
		}
	}
}
