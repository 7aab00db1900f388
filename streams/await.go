package streams

import (
	"context"
	"fmt"
)

// Await returns the head, once the tail has brought what the reader may know to be stored: everything that this Log had
// acknowledged when it was called; with until, what the log held then up to there. Whoever was told of a message and then asks
// for what is stored must not get less because the tail is a moment behind. It costs nothing where the head is that
// far; a later until costs a question to the log. Errors: as Page's; ErrUnavailable if the tail does not get there in
// time.
func (s *Stream) Await(ctx context.Context, channel string, until uint64) (uint64, error) {
	p := &pager{s: s, g: s.gen.Load(), r: PageRequest{Channel: channel}}
	g, target := p.g, p.g.acked.Load()
	switch {
	case until == 0:
	case until <= max(target, g.head.Load()):
		target = min(target, until)
	default:
		info, err := p.state(ctx)
		if err != nil {
			return 0, err
		}
		target = max(target, min(until, info.State.LastSeq))
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for {
		moves := g.moves()
		head := g.head.Load()
		switch {
		case head >= target:
			return head, nil
		case s.gen.Load() != g:
			return 0, fmt.Errorf("%w: the stream was made anew", ErrWrongEpoch)
		}
		select {
		case <-moves:
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: the tail is at %d of %d: %w", ErrUnavailable, head, target, ctx.Err())
		}
	}
}

// moves returns a channel that is closed when the head moves.
func (g *generation) moves() <-chan struct{} {
	a := &g.arrivals
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next == nil {
		a.next = make(chan struct{})
	}
	return a.next
}

// moved tells those who wait that the head has moved, or will not any more.
func (g *generation) moved() {
	a := &g.arrivals
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.next != nil {
		close(a.next)
		a.next = nil
	}
}
