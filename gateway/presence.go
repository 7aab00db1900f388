package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/jetwire/jetwire/gateway/wire"
)

const (
	presenceKept    = time.Second // for so long an answer is good enough for the next client
	presenceViews   = 256         // answers that are kept
	presenceAsked   = 4096        // channels that are asked about, or wait for that; more are refused for now
	presenceAtOnce  = 16          // questions to the cluster under way
	presenceWaiters = 64 << 10    // clients that wait for answers; more are refused for now
	presenceUsers   = 1000        // in an answer
)

// gallery answers clients that want to know who is there. The cluster is asked once for all who wait, and its answer kept for a moment, so
// that clients cannot make it work.
type gallery struct {
	ask    func(ctx context.Context, channel string) (wire.PresenceReply, error)
	run    func(func()) // on a goroutine that somebody waits for
	ctx    context.Context
	atOnce chan struct{}

	mu      sync.Mutex
	asked   map[string][]func(wire.PresenceReply, error) // channels and who waits for the answer
	waiters int
	kept    map[string]view
}

// view is an answer that is kept.
type view struct {
	reply wire.PresenceReply
	until time.Time
}

func newGallery(ctx context.Context, run func(func()), ask func(context.Context, string) (wire.PresenceReply, error)) *gallery {
	return &gallery{
		ask: ask, run: run, ctx: ctx, atOnce: make(chan struct{}, presenceAtOnce),
		asked: map[string][]func(wire.PresenceReply, error){}, kept: map[string]view{},
	}
}

// presence is session.Options.Presence.
func (a *gallery) presence(channel string, done func(wire.PresenceReply, error)) {
	now := time.Now()
	a.mu.Lock()
	v, known := a.kept[channel]
	waiting, under := a.asked[channel]
	switch {
	case known && now.Before(v.until):
		a.mu.Unlock()
		done(v.reply, nil)
		return
	case a.waiters >= presenceWaiters, !under && len(a.asked) >= presenceAsked:
		a.mu.Unlock()
		done(wire.PresenceReply{}, wire.RateLimited.With("too many clients ask who is there; ask later").After(presenceKept.Seconds()))
		return
	}
	a.waiters++
	a.asked[channel] = append(waiting, done)
	a.mu.Unlock()
	if !under {
		a.run(func() { a.find(channel) })
	}
}

// find asks the cluster, and answers all who wait.
func (a *gallery) find(channel string) {
	var r wire.PresenceReply
	var err error
	select {
	case a.atOnce <- struct{}{}:
		r, err = a.ask(a.ctx, channel)
		<-a.atOnce
	case <-a.ctx.Done():
		err = context.Cause(a.ctx)
	}
	if err != nil {
		err = wireError(err)
	}
	a.mu.Lock()
	waiting := a.asked[channel]
	delete(a.asked, channel)
	a.waiters -= len(waiting)
	if err == nil {
		a.keepLocked(channel, r)
	}
	a.mu.Unlock()
	for _, done := range waiting {
		done(r, err)
	}
}

// keepLocked keeps an answer, and forgets those that have ended or are too many.
func (a *gallery) keepLocked(channel string, r wire.PresenceReply) {
	now := time.Now()
	for other, v := range a.kept {
		if !now.Before(v.until) || len(a.kept) >= presenceViews {
			delete(a.kept, other)
		}
	}
	a.kept[channel] = view{r, now.Add(presenceKept)}
}
