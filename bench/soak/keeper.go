package soak

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// keeper keeps a server running, but when the plan says otherwise.
type keeper struct {
	r    *run
	fail context.CancelCauseFunc // ends the run
	wg   sync.WaitGroup

	mu      sync.Mutex
	server  Server // nil: none runs
	meant   bool   // that it ends
	last    Counters
	sum     Counters      // of the servers before
	slowest time.Duration // start
	polling context.CancelFunc
}

func newKeeper(r *run, fail context.CancelCauseFunc) *keeper { return &keeper{r: r, fail: fail} }

const pollEvery = 250 * time.Millisecond

// start starts the server, and watches it.
func (k *keeper) start(ctx context.Context) error {
	began := time.Now()
	s, err := k.r.o.Start(ctx)
	if err != nil {
		return fmt.Errorf("soak: start the server: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	k.mu.Lock()
	k.server, k.meant, k.polling = s, false, cancel
	k.slowest = max(k.slowest, time.Since(began))
	k.mu.Unlock()
	k.r.backend.set(s.Addr())
	k.wg.Go(func() { k.watch(ctx, s) })
	return nil
}

// watch polls the server's counters, and ends the run if the server ends without having been told to.
func (k *keeper) watch(ctx context.Context, s Server) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.Ended():
			k.mu.Lock()
			meant := k.meant
			k.mu.Unlock()
			if !meant {
				k.fail(fmt.Errorf("%w; the last it said:\n%s", ErrServerEnded, s.Tail()))
			}
			return
		case <-tick.C:
			k.poll(ctx, s)
		}
	}
}

func (k *keeper) poll(ctx context.Context, s Server) {
	if k.r.o.Stats == nil {
		return
	}
	c := k.r.o.Stats(ctx, s)
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.server == s {
		k.last.most(c)
	}
}

// end ends the server by how.
func (k *keeper) end(how func(Server) error) error {
	k.mu.Lock()
	s := k.server
	k.mu.Unlock()
	if s == nil {
		return nil
	}
	k.poll(context.Background(), s)
	k.mu.Lock()
	k.meant = true
	k.mu.Unlock()
	err := how(s)
	k.r.backend.set("")
	k.mu.Lock()
	k.polling()
	k.server = nil
	k.sum.add(k.last)
	k.last = Counters{}
	k.mu.Unlock()
	return err
}

func (k *keeper) counters() Counters {
	k.mu.Lock()
	defer k.mu.Unlock()
	c := k.sum
	c.add(k.last)
	return c
}

func (k *keeper) close() error {
	err := k.end(Server.Stop)
	k.wg.Wait()
	if err != nil {
		return errors.Join(errors.New("soak: stop the server"), err)
	}
	return nil
}
