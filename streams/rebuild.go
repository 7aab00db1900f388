package streams

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/jetwire/jetwire/streams/index"
	"github.com/jetwire/jetwire/streams/tap"
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
		var n, missing uint64
		next := from
		err := s.scan(ctx, scanning{from: from, to: to, batch: scanBatch, headers: true, purpose: "Jetwire index", each: func(m *tap.Message, at place) bool {
			w.Add(string(m.Subject), at.sseq, at.time)
			if at.sseq > next {
				missing = at.sseq - 1
			}
			next = at.sseq + 1
			n++
			return true
		}})
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
		if next < to {
			missing = to - 1
		}
		if missing > 0 && s.policy.Load().MaxPerChannel <= 0 {
			raise(&g.sparse, missing)
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
