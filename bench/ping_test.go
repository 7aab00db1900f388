package bench

import (
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
)

func TestPing(t *testing.T) {
	s := newMiniServer(t)
	o := Ping{Load: load(t, s), Conns: 5, Interval: 20 * time.Millisecond, QoS: 1}
	if _, err := o.Run(t.Context()); !errors.Is(err, ErrNoPings) {
		t.Fatalf("of a server that does not ping: %v", err)
	}
	var pinger sync.WaitGroup
	defer pinger.Wait()
	tick, stop := time.NewTicker(o.Interval), make(chan struct{})
	defer close(stop)
	defer tick.Stop()
	pinger.Go(func() {
		for {
			select {
			case <-stop:
				return
			case <-tick.C:
				s.set(func() {
					for c := range s.conns {
						_ = c.writeRaw(ws.MustCompileFrame(ws.NewPingFrame(nil)))
					}
				})
			}
		}
	})
	r, err := o.Run(t.Context())
	wantClean(t, r, err)
	// The most that 5 sockets can be pinged in 300 ms; a tick may be late, and the next early.
	if x := r.Ping; !(x.Rate > 0 && x.Rate <= 5*17/0.3) || x.CPU != 0 || x.Rest != 0 || r.Connections != 5 {
		t.Errorf("%+v", x)
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil || !strings.Contains(b.String(), "per ping and pong") {
		t.Errorf("%s, %v", b.String(), err)
	}
}
