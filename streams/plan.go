package streams

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/jetwire/jetwire/streams/index"
)

const (
	planSize = 16 << 10 // messages of a plan, at most
	maxPlans = 16       // kept for a stream
	planAge  = 10 * time.Second
)

// plan is what the index says of a pattern in a range, for many pages: those of one cursor after another, and those of others.
// It stays true: what leaves the log afterwards is found missing, and what is added lies behind it.
type plan struct {
	pattern string
	after   uint64
	made    time.Time
	ready   chan struct{} // closed when all below is set

	found   []index.Found
	through uint64 // found holds all in (after, through]; after: nothing is known
	lost    uint64 // what lies up to here may have left the log before the plan was made
}

// plans keeps the plans of one stream that were used last.
type plans struct {
	mu   sync.Mutex
	list []*plan // the one used last at the end
}

// planned returns a plan that holds what comes after a position, made if create is set and there is none.
func (g *generation) planned(ctx context.Context, pattern string, after uint64, create bool) (*plan, error) {
	for {
		p, mine := g.plans.get(pattern, after, create)
		switch {
		case p == nil:
			return nil, nil
		case mine:
			g.fillPlan(p)
			if p.through == after {
				g.plans.drop(p)
			}
			return p, nil
		}
		select {
		case <-p.ready:
		case <-ctx.Done():
			return nil, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
		if p.through > after {
			return p, nil
		}
		// It was still being made, and ends before this position or has failed.
	}
}

// get returns a plan that holds, or if it is still being made may hold, what comes after a position; mine tells that the caller must fill it.
func (x *plans) get(pattern string, after uint64, create bool) (p *plan, mine bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, p := range x.list {
		if p.pattern != pattern || p.after > after {
			continue
		}
		select {
		case <-p.ready:
			if p.through <= after {
				continue
			}
		default:
		}
		x.list = append(slices.Delete(x.list, i, i+1), p)
		return p, false
	}
	if !create {
		return nil, false
	}
	if len(x.list) >= maxPlans {
		x.list = slices.Delete(x.list, 0, 1)
	}
	p = &plan{pattern: pattern, after: after, made: time.Now(), ready: make(chan struct{})}
	x.list = append(x.list, p)
	return p, true
}

func (x *plans) drop(p *plan) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if i := slices.Index(x.list, p); i >= 0 {
		x.list = slices.Delete(x.list, i, i+1)
	}
}

// expire drops what is old: it would stay true, but costs memory.
func (x *plans) expire() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.list = slices.DeleteFunc(x.list, func(p *plan) bool { return time.Since(p.made) > planAge })
}

// fillPlan asks the index.
func (g *generation) fillPlan(p *plan) {
	defer close(p.ready)
	p.through = p.after
	head, hole := g.head.Load(), g.hole.Load()
	match := func(name []byte) bool { return matches(p.pattern, name) }
	m, ok := g.index.Match(match, p.after, head, planSize)
	if !ok {
		return
	}
	p.found, p.through = slices.Clip(m.Found), m.Through
	for _, to := range []uint64{
		m.Dropped,
		hole,                // the tail was not shown all of it
		min(m.Full, g.born), // what full channels dropped before this began
		g.sparse.Load(),
	} {
		if to > p.after {
			p.lost = max(p.lost, to)
		}
	}
}

// from returns the place of the first message at or after a sequence.
func (p *plan) from(seq uint64) int {
	return sort.Search(len(p.found), func(i int) bool { return p.found[i].Seq >= seq })
}
