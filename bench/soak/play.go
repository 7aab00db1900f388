package soak

import (
	"context"
	"sync"
	"time"
)

// play makes the planned faults and waits for the end of the last.
func (r *run) play(ctx context.Context) {
	began := time.Now()
	targets := make(map[string][]Event)
	for _, e := range r.o.Plan {
		targets[key(e)] = append(targets[key(e)], e)
	}
	var wg sync.WaitGroup
	for _, events := range targets {
		wg.Go(func() {
			for _, e := range events {
				if !sleep(ctx, e.At-time.Since(began)) {
					return
				}
				r.o.Progress(e.String())
				r.make(ctx, e)
			}
		})
	}
	wg.Go(func() { sleep(ctx, r.o.Duration) })
	wg.Wait()
}

// key names what an event's fault is made by: events of one key follow each other, those of two may overlap.
func key(e Event) string {
	switch e.Fault {
	case Hold, Vanish, Lapse, Take:
		return string(e.Fault) + " " + e.Target
	}
	return e.Target
}

// make makes one fault, and returns when it is over.
func (r *run) make(ctx context.Context, e Event) {
	r.faults.count(e.Fault)
	if g := r.gadget(e.Target); g != nil && g.suffers(ctx, e) {
		return
	}
	var l *link
	for _, x := range r.links {
		if x.name == e.Target {
			l = x
		}
	}
	switch e.Fault {
	case Kill, Drain:
		how := Server.Kill
		if e.Fault == Drain {
			how = Server.Stop
		}
		for _, g := range r.gadgets {
			g.serverEnds()
		}
		if err := r.server.end(how); err != nil {
			r.failures.add("%s: %v", e.Fault, err)
		}
		sleep(ctx, e.For)
		if err := r.server.start(ctx); err != nil {
			r.server.fail(err)
		}
	case Cut:
		l.cut(20 * time.Millisecond)
	case Mute:
		l.up.close()
		l.down.close()
		sleep(ctx, e.For)
		l.up.reopen()
		l.down.reopen()
	case Choke:
		l.down.close()
		sleep(ctx, e.For)
		l.down.reopen()
	case Hold:
		p := r.party(e.Target)
		p.held.close()
		sleep(ctx, e.For)
		p.held.reopen()
	case Vanish:
		p := r.party(e.Target)
		p.close()
		sleep(ctx, e.For)
		if err := p.open(ctx); err != nil {
			r.failures.add("%s did not come back: %v", p.name, err)
		}
	}
}

// suffers makes a fault that is the gadget's own; false: it is the network's.
func (g *gadget) suffers(ctx context.Context, e Event) bool {
	switch e.Fault {
	case Hold:
		g.held.close()
		sleep(ctx, e.For)
		g.held.reopen()
	case Vanish:
		g.stop()
		sleep(ctx, e.For)
		g.start(ctx)
	case Lapse:
		g.lapse.close()
		sleep(ctx, e.For)
		g.lapse.reopen()
	case Take:
		g.takeOver(ctx)
	default:
		return false
	}
	return true
}

// sleep waits. It returns false if ctx ends meanwhile.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// faultCounts counts faults.
type faultCounts struct {
	mu sync.Mutex
	n  map[Fault]uint64
}

func (c *faultCounts) count(f Fault) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[Fault]uint64)
	}
	c.n[f]++
}

func (c *faultCounts) of(f Fault) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[f]
}
