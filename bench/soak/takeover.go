package soak

import (
	"context"
	"errors"

	"github.com/jetwire/jetwire/gateway/wire"
)

// takeOver connects a second time. The older connection must be closed, unless it has been lost meanwhile.
func (g *gadget) takeOver(ctx context.Context) {
	old := g.second(ctx)
	if old == nil || !old.outlasts(ctx) {
		return
	}
	g.mu.Lock()
	newer := g.at != old
	g.mu.Unlock()
	if newer {
		g.fail("a newer connection was accepted, and the older one was not closed within %v", takeoverTime)
	}
	old.close()
}

// takeOverInPeace connects a second time when nothing else happens: the older connection must be closed with its own code.
func (g *gadget) takeOverInPeace(ctx context.Context) {
	old := g.second(ctx)
	if old == nil {
		g.fail("it has no connection in the end")
		return
	}
	if old.outlasts(ctx) {
		g.fail("it connected a second time in the end, and the older connection was not closed within %v", takeoverTime)
		return
	}
	if ctx.Err() != nil {
		return
	}
	var c closed
	if !errors.As(old.why, &c) || c.code != wire.TakenOver {
		g.fail("it connected a second time in the end, and the older connection ended with: %v", old.why)
	}
}

// second begins a second connection, and returns the first; nil: there is none that lives.
func (g *gadget) second(ctx context.Context) *station {
	g.coming.Lock()
	defer g.coming.Unlock()
	g.mu.Lock()
	old := g.at
	g.mu.Unlock()
	if g.end == nil || old == nil {
		return nil
	}
	select {
	case <-old.quit:
		return nil
	default:
	}
	g.begun(old.life)
	return old
}
