package streams

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"github.com/jetwire/jetwire/streams/index"
)

// isPattern reports whether a name that spaceOf accepts is a pattern.
func isPattern(name string) bool { return strings.ContainsAny(name, "*>") }

// spaceOf returns the namespace of a channel, or of a pattern: a channel name in which any token but the first may be *, and the last one >.
func spaceOf(name string) (string, error) {
	if !isPattern(name) {
		return namespaceOf(name)
	}
	// With letters in the wildcards' places it must be a channel.
	plain := []byte(name)
	for i, c := range plain {
		if c != '*' && c != '>' {
			continue
		}
		if i == 0 || name[i-1] != '.' || i+1 < len(name) && (c == '>' || name[i+1] != '.') {
			return "", fmt.Errorf("%w: * must be a token of its own and > the last one, and neither the first", ErrBadChannel)
		}
		plain[i] = 'x'
	}
	ns, err := namespaceOf(string(plain))
	return strings.Clone(ns), err
}

// matches reports whether a valid pattern matches a channel.
func matches[T string | []byte](pattern string, channel T) bool {
	i := 0
	for k := range len(pattern) {
		switch c := pattern[k]; {
		case c == '>':
			return i < len(channel)
		case c == '*':
			if i == len(channel) {
				return false
			}
			for i < len(channel) && channel[i] != '.' {
				i++
			}
		case i == len(channel) || channel[i] != c:
			return false
		default:
			i++
		}
	}
	return i == len(channel)
}

const (
	planSize = 16 << 10 // messages of a plan, at most
	maxPlans = 16       // kept for a stream
)

// plan is what the index says of a pattern in a range, for many pages: those of one cursor after another, and those of others.
// It stays true: what leaves the log afterwards is found missing, and what is added lies behind it.
type plan struct {
	pattern string
	after   uint64
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

// planned returns a plan that holds what comes after a position, made if make is set and there is none.
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
	p = &plan{pattern: pattern, after: after, ready: make(chan struct{})}
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

// ascendPattern fills a page of a pattern.
func (p *pager) ascendPattern(ctx context.Context) error {
	next := p.r.After + 1 // what lies before is done
	patient := true
	for next <= p.until {
		reached, done := p.ascendRing(next)
		if done {
			return nil
		}
		if reached > next {
			next = reached
			continue
		}
		complete := p.complete(next)
		pl, err := p.g.planned(ctx, p.r.Channel, next-1, complete)
		switch {
		case err != nil:
			return err
		case pl != nil:
			if next, done, err = p.ascendPlan(ctx, pl, next); done || err != nil {
				return err
			}
		case complete: // cannot be: a plan would have been made
		case patient:
			patient = false
			if err := p.reach(ctx, next); err != nil {
				return err
			}
		default:
			if next, err = p.ascendSlow(ctx, next); next == 0 || err != nil {
				return err
			}
		}
	}
	p.page.Through = p.edge()
	return nil
}

// ascendPlan reads what a plan says comes next, and returns what is next then.
func (p *pager) ascendPlan(ctx context.Context, pl *plan, next uint64) (uint64, bool, error) {
	if pl.through < next {
		return next, false, nil
	}
	if first := p.g.first.Load(); first > next {
		p.losing(next, first-1)
		if next = first; next > min(p.until, pl.through) {
			return next, false, nil
		}
	}
	if pl.lost >= next {
		p.losing(next, pl.lost)
	}
	rest := pl.found[pl.from(next):]
	seqs := make([]uint64, 0, min(p.want(), len(rest)))
	for i := range cap(seqs) {
		if rest[i].Seq > p.until {
			break
		}
		seqs = append(seqs, rest[i].Seq)
	}
	if len(seqs) == 0 {
		return pl.through + 1, false, nil
	}
	p.plan = pl
	p.runAhead(ctx, seqs, func(from uint64) []uint64 {
		rest := pl.found[pl.from(from):]
		rest = rest[:min(len(rest), runLength)]
		ahead := make([]uint64, len(rest))
		for i := range rest {
			ahead[i] = rest[i].Seq
		}
		return ahead
	})
	if done, err := p.fetch(ctx, seqs); done || err != nil {
		return 0, true, err
	}
	if len(seqs) == len(rest) {
		return pl.through + 1, false, nil
	}
	return seqs[len(seqs)-1] + 1, false, nil
}

// ascendRing takes what comes next from the ring, if it reaches back so far. Where it lacks a sequence, a message that was deleted early may have
// matched.
func (p *pager) ascendRing(next uint64) (reached uint64, done bool) {
	var found []*Message
	for next <= p.until {
		var upto uint64
		var from, to uint64
		found, upto, from, to = p.g.ring.match(found[:0], p.r.Channel, next, p.until)
		if upto == 0 {
			break
		}
		if to > 0 {
			p.losing(from, to)
		}
		p.s.log.rd.hits.Add(uint64(len(found)))
		for _, m := range found {
			if len(p.page.Messages) >= p.r.Limit {
				p.endBefore(m.Seq)
				return 0, true
			}
			if p.add(m) {
				return 0, true
			}
		}
		next = upto + 1
	}
	return next, false
}

// frontPatternSlow finds what may have left the log from the sequence from on and below the floor.
func (p *pager) frontPatternSlow(ctx context.Context, from, floor uint64) error {
	info, err := p.state(ctx)
	if err != nil || info.State.Msgs == info.State.LastSeq {
		return err // nothing has ever left it
	}
	if first := p.g.first.Load(); first > from {
		p.losing(from, first-1)
	}
	if info.State.Msgs < info.State.LastSeq-info.State.FirstSeq+1 {
		p.losing(from, floor-1) // something has, and nobody remembers where
	}
	return nil
}
