package streams

import (
	"context"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"
)

// PageRequest asks for a part of a channel's past.
type PageRequest struct {
	Channel  string // or a pattern: see Stream.Page
	After    uint64 // exclusive
	Until    uint64 // inclusive; 0: the Head at the time of the call, which a later one is cut to as well
	Since    int64  // Unix ns, inclusive: only messages stored then or later; 0: not asked
	Limit    int    // messages; 0: DefaultPageLimit
	MaxBytes int    // of bodies, 0: no limit; at least one message is returned whatever its size
	Newest   bool   // newest first
}

// DefaultPageLimit is the limit of a PageRequest that names none.
const DefaultPageLimit = 100

// Page is the answer to a PageRequest.
//
// Oldest first: Messages ascend and hold every message of the channel in (After, Through]; if More, the next page asks with
// After: Through. A reader's position may move to Through also when Messages is empty.
// The first message's Prev is at most After, every other one's at most the sequence of the message before it, as long as nothing is lost.
//
// Newest first: Messages descend and hold every message of the channel in [Through, Until]; if More, the next page asks with Until: Through-1
// and the same After.
type Page struct {
	Messages []*Message
	Through  uint64
	More     bool // there is, or may be, more in the range asked for
	// LostFrom and LostTo are inclusive, 0 if nothing is lost: the log no longer holds all of this part of the range, and messages
	// of this channel may have been in it. Newest first, it is told with the page that reaches it.
	LostFrom, LostTo uint64
}

// lose widens what is lost by [from, to].
func (p *Page) lose(from, to uint64) {
	if from > to {
		return
	}
	if p.LostTo == 0 || from < p.LostFrom {
		p.LostFrom = from
	}
	p.LostTo = max(p.LostTo, to)
}

// Page reads a part of a channel's past, or of a pattern's: NATS wildcards after the first token, as orders.*.status and orders.>.
//
// A pattern is read as one channel that holds the messages of all that match: oldest first, without Since. Each message then names its own
// channel, and its Prev is the sequence before it that matches the pattern: exact within the page, and at most After for the first one. What
// may have matched and has left the log is lost as with a channel, within (After, Through]; as nobody knows what it was, more may be reported
// as lost than was, and messages that remain may lie in between. What was deleted one by one before this Log saw it may go unreported, as with
// a channel, where the policy limits messages per channel.
//
// Errors: ErrBadChannel, ErrWrongEpoch when After is beyond the stream's end, ErrUnavailable, ErrClosed.
func (s *Stream) Page(ctx context.Context, r PageRequest) (Page, error) {
	if ns, err := spaceOf(r.Channel); err != nil {
		return Page{}, err
	} else if ns != s.namespace {
		return Page{}, fmt.Errorf("%w: it is not of namespace %s", ErrBadChannel, s.namespace)
	}
	p := &pager{s: s, g: s.gen.Load(), r: r, pattern: IsPattern(r.Channel)}
	if p.pattern && (r.Newest || r.Since > 0) {
		return Page{}, fmt.Errorf("%w: a pattern is read oldest first and from a sequence only; name a channel", ErrBadChannel)
	}
	if r.Limit <= 0 {
		p.r.Limit = DefaultPageLimit
	}
	head := p.g.head.Load()
	p.until = head
	if r.Until > 0 {
		p.until = min(r.Until, head)
	}
	switch {
	case r.After > head:
		return p.beyond(ctx)
	case r.After >= p.until:
		return Page{Through: p.edge()}, nil
	}
	err := p.run(ctx)
	if s.gen.Load() != p.g {
		return Page{}, fmt.Errorf("%w: the stream was made anew", ErrWrongEpoch)
	}
	if err != nil {
		return Page{}, err
	}
	if p.crowded && p.page.More {
		p.g.runs.ended(r.Channel, p.page.Through)
	}
	return p.page, nil
}

// edge is the Through of a page that has reached the end of the range.
func (p *pager) edge() uint64 {
	if p.r.Newest {
		return p.r.After + 1
	}
	return max(p.until, p.r.After)
}

// beyond answers for a position that the tail has not reached yet, or that never was.
func (p *pager) beyond(ctx context.Context) (Page, error) {
	info, err := p.state(ctx)
	if err != nil {
		return Page{}, err
	}
	if last := info.State.LastSeq; p.r.After > last {
		return Page{}, fmt.Errorf("%w: %d is beyond the end of the stream at %d", ErrWrongEpoch, p.r.After, last)
	}
	return Page{Through: p.edge()}, nil
}

// state asks the log where it begins and ends, and how many messages of the channel it holds.
func (p *pager) state(ctx context.Context) (*jetstream.StreamInfo, error) {
	l := p.s.log
	if !l.reads.Up() {
		return nil, l.away()
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	subject := p.r.Channel
	if p.pattern {
		subject = "" // there may be very many
	}
	info, err := l.reads.streamInfo(ctx, p.s.name, subject)
	if err != nil {
		return nil, err
	}
	if epochOf(info) != p.g.epoch {
		p.s.suspect(nil)
		return nil, fmt.Errorf("%w: the stream was made anew", ErrWrongEpoch)
	}
	p.g.see(info)
	return info, nil
}
