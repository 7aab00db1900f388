package gateway

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

// asked is a gallery whose cluster counts questions, and answers after a tenth of a second with how many there were.
func asked(ctx context.Context, work *sync.WaitGroup) (*gallery, *atomic.Int64) {
	n := new(atomic.Int64)
	return newGallery(ctx, work.Go, func(ctx context.Context, channel string) (wire.PresenceReply, error) {
		r := wire.PresenceReply{Channel: channel, Connections: int(n.Add(1))}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return r, context.Cause(ctx)
		}
		if channel == "chat.bad" {
			return r, errors.New("no")
		}
		return r, nil
	}), n
}

func TestPresenceIsAskedOnceForAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var work sync.WaitGroup
		a, n := asked(t.Context(), &work)
		for round := range 3 {
			answers := 0
			for range 1000 {
				a.presence("chat.a", func(r wire.PresenceReply, err error) {
					if answers++; err != nil || r.Channel != "chat.a" || r.Connections != round+1 {
						t.Errorf("round %d: %+v %v", round, r, err)
					}
				})
			}
			work.Wait()
			a.presence("chat.a", func(wire.PresenceReply, error) { answers++ }) // as good as new
			if n.Load() != int64(round+1) || answers != 1001 {
				t.Errorf("round %d: asked %d times for %d", round, n.Load(), answers)
			}
			time.Sleep(presenceKept)
		}
		if len(a.asked) != 0 || a.waiters != 0 {
			t.Errorf("%d questions and %d who wait stay", len(a.asked), a.waiters)
		}
	})
}

// What clients can ask for is bounded, however many channels they name.
func TestPresenceOfManyChannels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		var work sync.WaitGroup
		a, n := asked(ctx, &work)
		var mu sync.Mutex
		answers, refused := 0, 0
		ask := func(channel string) {
			a.presence(channel, func(_ wire.PresenceReply, err error) {
				mu.Lock()
				defer mu.Unlock()
				var e *wire.Error
				if answers++; errors.As(err, &e) && e.Code == wire.RateLimited && e.RetryAfter > 0 {
					refused++
				}
			})
		}
		for i := range presenceAsked + 10 {
			ask(fmt.Sprintf("chat.%d", i))
		}
		synctest.Wait()
		mu.Lock()
		if n.Load() != presenceAtOnce || refused != 10 {
			t.Errorf("%d questions at once, %d refused", n.Load(), refused)
		}
		mu.Unlock()
		time.Sleep(presenceKept / 2)
		a.mu.Lock()
		if len(a.kept) == 0 || len(a.kept) > presenceViews {
			t.Errorf("%d answers are kept", len(a.kept))
		}
		a.mu.Unlock()
		cancel()
		work.Wait()
		if answers != presenceAsked+10 || len(a.asked) != 0 {
			t.Errorf("%d answers, %d questions stay", answers, len(a.asked))
		}
	})
}

// A failure is not kept.
func TestPresenceThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var work sync.WaitGroup
		a, n := asked(t.Context(), &work)
		for range 2 {
			a.presence("chat.bad", func(_ wire.PresenceReply, err error) {
				var e *wire.Error
				if !errors.As(err, &e) || e.Code != wire.Internal {
					t.Error(err)
				}
			})
			work.Wait()
		}
		if n.Load() != 2 {
			t.Errorf("asked %d times", n.Load())
		}
	})
}
