package streams

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	rebuildPatience = 250 * time.Millisecond // how long a page waits for the index to reach back far enough
	maxMissing      = 1024                   // messages found deleted after which a page ends early
)

// pager is one Page call at work.
type pager struct {
	s     *Stream
	g     *generation
	r     PageRequest
	until uint64
	page  Page

	pattern bool
	crowded bool  // most of a stretch of the log was wanted
	plan    *plan // of a pattern: what the messages being read were found in

	bytes    int    // of the page's bodies
	missing  int    // messages found deleted
	older    uint64 // a message before Since: what lies before it was not asked for
	sought   bool   // Since has been looked up in the log
	lostFrom uint64 // what has left the log from here to lostTo is lost, unless it was not asked for
	lostTo   uint64
}

func (p *pager) run(ctx context.Context) (err error) {
	if p.pattern {
		err = p.ascendPattern(ctx)
		if p.lostTo > 0 {
			p.page.lose(p.lostFrom, min(p.lostTo, p.page.Through))
		}
		return err
	}
	if p.r.Newest {
		err = p.descend(ctx)
		low := p.r.After + 1
		if p.page.More {
			low = p.page.Through
		}
		low = max(low, p.older+1) // what lies before is older than what was asked for
		if err == nil && p.complete(low) {
			p.front(low)
		}
	} else {
		err = p.ascend(ctx)
	}
	if p.lostTo > 0 {
		p.page.lose(max(p.lostFrom, p.older+1), min(p.lostTo, p.until))
	}
	return err
}

// floor returns the sequence from which the index knows everything of the channel, or of the pattern.
func (p *pager) floor() uint64 {
	floor := p.g.index.Floor()
	if floor <= p.g.first.Load() {
		floor = 1
	}
	if p.pattern { // what shaky is about is lost for it: a channel can afford to ask the log
		return floor
	}
	if p.g.shaky.Load() && p.s.policy.Load().MaxPerChannel > 0 {
		head := p.g.head.Load()
		if oldest := p.g.index.After(nil, p.r.Channel, 0, head, 1); len(oldest) > 0 {
			return max(floor, oldest[0])
		}
		return max(floor, head+1)
	}
	return floor
}

// complete reports whether the index knows everything from low on.
func (p *pager) complete(low uint64) bool { return p.floor() <= low }

// reach waits a short time for the index to become complete from low on, or at least to reach further back than it does.
func (p *pager) reach(ctx context.Context, low uint64) error {
	timeout := time.NewTimer(rebuildPatience)
	defer timeout.Stop()
	for {
		moved, coming := p.g.rebuilding()
		if !coming || p.complete(low) {
			return nil
		}
		select {
		case <-moved:
		case <-timeout.C:
			return nil
		case <-ctx.Done():
			return fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
		}
	}
}

// ascend fills a page, oldest first.
func (p *pager) ascend(ctx context.Context) error {
	next := p.r.After + 1 // what lies before is done
	patient := true
	for next <= p.until {
		if !p.complete(next) {
			if patient {
				patient = false
				if err := p.reach(ctx, next); err != nil {
					return err
				}
				continue
			}
			var err error
			if next, err = p.ascendSlow(ctx, next); next == 0 || err != nil {
				return err
			}
			continue
		}
		from := next
		if p.r.Since > 0 {
			from = max(from, p.g.index.SeekTime(p.r.Channel, p.r.Since))
		}
		seqs := p.g.index.After(nil, p.r.Channel, from-1, p.until, p.want())
		if !p.complete(next) {
			continue // the budget has moved the floor meanwhile
		}
		p.front(next)
		if len(seqs) == 0 {
			break
		}
		p.runAhead(ctx, seqs, func(from uint64) []uint64 {
			return p.g.index.After(nil, p.r.Channel, from-1, p.until, runLength)
		})
		if done, err := p.fetch(ctx, seqs); done || err != nil {
			return err
		}
		next = seqs[len(seqs)-1] + 1
	}
	p.page.Through = p.edge()
	return nil
}

// descend fills a page, newest first.
func (p *pager) descend(ctx context.Context) error {
	low, top := p.r.After+1, p.until // what lies above top is done
	for top >= low {
		known, floor := p.complete(low), p.floor()
		seqs := p.g.index.Before(nil, p.r.Channel, low-1, top, p.want())
		floor = max(floor, p.floor()) // the answer is complete from the higher one on: the rebuild lowers it, the budget raises it
		if len(seqs) > 0 {
			if done, err := p.fetch(ctx, seqs); done || err != nil {
				return err
			}
			top = seqs[len(seqs)-1] - 1
			continue
		}
		if known && p.complete(low) {
			break
		}
		top = min(top, floor-1)
		if err := p.reach(ctx, low); err != nil {
			return err
		}
		if p.floor() < floor {
			continue
		}
		if full, err := p.descendSlow(ctx, low, top); full || err != nil {
			return err
		}
		break
	}
	p.page.Through = p.edge()
	return nil
}

// want is how many sequences to plan for: one more than may be returned tells whether there is more.
func (p *pager) want() int { return min(p.r.Limit-len(p.page.Messages)+1, 4*pageReads) }

// fetch reads planned messages and adds them to the page; done reports that the page is finished.
func (p *pager) fetch(ctx context.Context, seqs []uint64) (done bool, err error) {
	rd := p.s.log.rd
	have := make([]*Message, len(seqs))
	rd.hits.Add(uint64(p.g.ring.fill(have, seqs)))
	if !p.r.Newest && p.r.Since == 0 {
		p.fromRuns(ctx, have, seqs)
	}
	requests := make([]*request, len(seqs))
	asked := 0
	for i, seq := range seqs {
		if len(p.page.Messages) >= p.r.Limit {
			p.endBefore(seq)
			return true, nil
		}
		for ; asked < min(len(seqs), i+pageReads, i+p.r.Limit-len(p.page.Messages)); asked++ {
			if have[asked] == nil {
				if requests[asked], err = rd.read(ctx, p.s, p.g, seqs[asked]); err != nil {
					return false, err
				}
			}
		}
		m, err := have[i], error(nil)
		if m == nil {
			m, err = rd.wait(ctx, requests[i])
			if errors.Is(err, errGone) {
				m, err = rd.gone(ctx, p.s, p.g, seq)
			}
		}
		switch {
		case errors.Is(err, errGone):
			p.forget(seq)
			p.page.lose(seq, seq)
			if p.missing++; p.missing >= maxMissing && seq != p.until && seq != p.r.After+1 {
				p.page.More, p.page.Through = true, seq
				return true, nil
			}
		case err != nil:
			return false, err
		case p.add(m):
			return true, nil
		}
	}
	return false, nil
}

// forget tells the index that a message it named is gone.
func (p *pager) forget(seq uint64) {
	if p.pattern {
		p.g.index.RemoveFound(p.plan.found[p.plan.from(seq)])
	} else {
		p.g.index.Remove(p.r.Channel, seq)
	}
}

// endBefore ends the page before a message that exists.
func (p *pager) endBefore(seq uint64) {
	p.page.More, p.page.Through = true, seq-1
	if p.r.Newest {
		p.page.Through = seq + 1
	}
}

// add adds the next message, unless the page ends before it.
func (p *pager) add(m *Message) (done bool) {
	if m.Time < p.r.Since {
		p.older = max(p.older, m.Seq)
		if p.r.Newest { // and so are those before it
			p.page.Through = p.edge()
			return true
		}
		return false
	}
	n := len(p.page.Messages)
	if n > 0 && p.r.MaxBytes > 0 && p.bytes+len(m.Body) > p.r.MaxBytes {
		p.endBefore(m.Seq)
		return true
	}
	// The page knows what lies between its messages, so it can make a mere bound exact.
	switch {
	case n == 0 && p.pattern:
		m = withPrev(m, p.r.After)
	case n > 0 && p.r.Newest:
		p.page.Messages[n-1] = withPrev(p.page.Messages[n-1], m.Seq)
	case n > 0:
		m = withPrev(m, p.page.Messages[n-1].Seq)
	case !p.r.Newest && p.r.Since == 0:
		m = withPrev(m, min(m.Prev, p.r.After))
	}
	p.bytes += len(m.Body)
	p.page.Messages = append(p.page.Messages, m)
	return false
}

// withPrev returns the message with another Prev; others may hold the one given.
func withPrev(m *Message, prev uint64) *Message {
	if m.Prev == prev {
		return m
	}
	c := *m
	c.Prev = prev
	return &c
}

// front finds what has left the log from the sequence from on, where the index is complete.
func (p *pager) front(from uint64) {
	x, ch := p.g.index, p.r.Channel
	first, dropped := p.g.first.Load(), x.Dropped(ch)
	blind := max(p.g.born, p.g.hole.Load())
	var to uint64
	if dropped >= from {
		to = dropped
	}
	exact := dropped > 0 && dropped < from && from > blind // all that ever left this channel lies before from
	if first > from && !exact && !p.beforeSince(p.g.firstTime.Load()) {
		to = max(to, first-1)
	}
	limit := p.s.policy.Load().MaxPerChannel
	oldest := x.After(nil, ch, 0, p.g.head.Load(), 1)
	if limit > 0 && from <= blind && len(oldest) > 0 && oldest[0] > from &&
		int64(len(x.Before(nil, ch, 0, p.g.head.Load(), int(limit)))) >= limit {
		to = max(to, oldest[0]-1)
	}
	if sparse := p.g.sparse.Load(); sparse >= from { // something is missing there, of whatever channel
		to = max(to, min(sparse, p.g.head.Load()))
	}
	if to < from {
		return
	}
	if p.r.Since > 0 && len(oldest) > 0 && to < oldest[0] && x.SeekTime(ch, p.r.Since) > oldest[0] {
		return // what is lost is older than the oldest message, and that is older than what was asked for
	}
	p.losing(from, to)
}

// losing notes what is lost unless it turns out to be older than Since.
func (p *pager) losing(from, to uint64) {
	if p.lostTo == 0 {
		p.lostFrom = from
	}
	p.lostTo = max(p.lostTo, to)
}

// beforeSince reports whether what is older than a message of this time is not asked for.
func (p *pager) beforeSince(t int64) bool { return p.r.Since > 0 && t < p.r.Since }
