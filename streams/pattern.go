package streams

import (
	"context"
	"fmt"
	"strings"
)

// IsPattern reports whether a channel or pattern is a pattern.
func IsPattern(name string) bool { return strings.ContainsAny(name, "*>") }

// spaceOf returns the namespace of a channel, or of a pattern: a channel name in which any token but the first may be *, and the last one >.
func spaceOf(name string) (string, error) {
	if !IsPattern(name) {
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
