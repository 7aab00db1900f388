package streams

import (
	"context"
	"time"
)

// slowBatch is how many messages are asked for at once where the index does not help.
const slowBatch = 16

// ascendSlow reads a few messages that the index does not know, and returns what is next, 0 when the page is finished.
func (p *pager) ascendSlow(ctx context.Context, next uint64) (uint64, error) {
	floor := p.floor()
	b := batchRequest{Seq: next, Next: p.r.Channel, Batch: min(p.want(), slowBatch)}
	if p.r.Since > 0 && !p.sought {
		p.sought = true
		at := time.Unix(0, p.r.Since).UTC()
		b.Seq, b.StartTime = 0, &at
	}
	got, err := p.s.log.rd.batch(ctx, p.s, b)
	if err != nil {
		return 0, err
	}
	// What has left by now was not read.
	if p.pattern {
		err = p.frontPatternSlow(ctx, next, floor)
	} else {
		err = p.frontSlow(ctx, next)
	}
	if err != nil {
		return 0, err
	}
	for _, m := range got {
		switch {
		case m.Seq < next:
			continue
		case m.Seq >= floor: // from here on the index also knows what is missing
			return max(next, floor), nil
		case m.Seq > p.until:
			p.page.Through = p.edge()
			return 0, nil
		case len(p.page.Messages) >= p.r.Limit:
			p.endBefore(m.Seq)
			return 0, nil
		}
		m.Prev = m.Seq - 1
		if p.add(m) {
			return 0, nil
		}
		next = m.Seq + 1
	}
	if len(got) < b.Batch { // the log holds no more below the floor
		next = max(next, floor)
	} else {
		next = max(next, got[len(got)-1].Seq+1)
	}
	if next > p.until {
		p.page.Through = p.edge()
		return 0, nil
	}
	return next, nil
}

// descendSlow reads what the index does not know, one by one, from top down to low.
func (p *pager) descendSlow(ctx context.Context, low, top uint64) (full bool, err error) {
	if err := p.frontSlow(ctx, low); err != nil {
		return false, err
	}
	for top >= low {
		got, err := p.s.log.rd.batch(ctx, p.s, batchRequest{MultiLast: []string{p.r.Channel}, UpTo: top})
		if err != nil {
			return false, err
		}
		if len(got) == 0 || got[0].Seq < low {
			break
		}
		m := got[0]
		if len(p.page.Messages) >= p.r.Limit {
			p.endBefore(m.Seq)
			return true, nil
		}
		m.Prev = m.Seq - 1
		if p.add(m) {
			return true, nil
		}
		top = m.Seq - 1
	}
	if n := len(p.page.Messages); n > 0 {
		m := p.page.Messages[n-1]
		p.page.Messages[n-1] = withPrev(m, min(m.Prev, p.r.After))
	}
	return false, nil
}

// frontSlow finds what has left the log from the sequence from on, by asking the log.
func (p *pager) frontSlow(ctx context.Context, from uint64) error {
	info, err := p.state(ctx)
	if err != nil || info.State.Msgs == info.State.LastSeq {
		return err // nothing has ever left it
	}
	if dropped := p.g.index.Dropped(p.r.Channel); dropped >= from {
		p.losing(from, dropped)
	}
	if first := p.g.first.Load(); first > from && !p.beforeSince(p.g.firstTime.Load()) {
		p.losing(from, first-1)
	}
	limit := p.s.policy.Load().MaxPerChannel
	if limit <= 0 || info.State.Subjects[p.r.Channel] < uint64(limit) {
		return nil
	}
	oldest, err := p.s.log.rd.batch(ctx, p.s, batchRequest{Seq: 1, Next: p.r.Channel, Batch: 1})
	if err != nil {
		return err
	}
	if len(oldest) > 0 && oldest[0].Seq > from {
		p.losing(from, oldest[0].Seq-1)
	}
	return nil
}
