package streams

import (
	"context"
	"fmt"
	"time"
)

// How often Await looks whether the tail has got there.
const (
	awaitLeast = time.Millisecond
	awaitMost  = 20 * time.Millisecond
)

// Await returns the head, once the tail has brought what the log held at the time of the call, up to until. Whoever was told that a message is stored at a
// sequence, and then asks for what is stored up to there, must not get less because the tail is a moment behind. It costs nothing where the
// head is that far, and otherwise a question to the log. Errors: as Page's; ErrUnavailable if the tail does not get there in time.
func (s *Stream) Await(ctx context.Context, channel string, until uint64) (uint64, error) {
	p := &pager{s: s, g: s.gen.Load(), r: PageRequest{Channel: channel}}
	head := p.g.head.Load()
	if until <= head {
		return head, nil
	}
	info, err := p.state(ctx)
	if err != nil {
		return 0, err
	}
	until = min(until, info.State.LastSeq)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	for wait := awaitLeast; ; wait = min(2*wait, awaitMost) {
		if head = p.g.head.Load(); head >= until {
			return head, nil
		}
		if s.gen.Load() != p.g {
			return 0, fmt.Errorf("%w: the stream was made anew", ErrWrongEpoch)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: the tail is at %d of %d: %w", ErrUnavailable, head, until, ctx.Err())
		}
	}
}
