package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/jetwire/jetwire/gateway/transport"
)

// sweeper ends the connections whose tokens were revoked.
type sweeper struct {
	ctx  context.Context
	stop context.CancelFunc
	wake chan struct{} // one token: there are new revocations
	work sync.WaitGroup
}

func newSweeper() *sweeper {
	s := &sweeper{wake: make(chan struct{}, 1)}
	s.ctx, s.stop = context.WithCancel(context.Background())
	return s
}

// ring says that there are new revocations.
func (s *sweeper) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *sweeper) start(each func(func(*transport.Conn))) { s.work.Go(func() { s.run(each) }) }

// run looks at every connection for each new revocation, or for many at once: it rests three times as long as that took, so that
// however many there are they take a quarter of a core.
func (s *sweeper) run(each func(func(*transport.Conn))) {
	for {
		select {
		case <-s.wake:
		case <-s.ctx.Done():
			return
		}
		began := time.Now()
		each(func(c *transport.Conn) {
			if r, ok := c.Receiver().(interface{ checkRevoked() }); ok {
				r.checkRevoked()
			}
		})
		rest := time.NewTimer(3 * time.Since(began))
		select {
		case <-rest.C:
		case <-s.ctx.Done():
			rest.Stop()
		}
	}
}

func (s *sweeper) close() {
	s.stop()
	s.work.Wait()
}
