package natsd

import (
	"errors"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// ErrStore says that a stream's store has failed to write, as on a full disk. JetStream takes nothing more for that
// stream, and answers nothing, until the server starts again.
var ErrStore = errors.New("the store cannot be written: free space on its disk and start jetwire again")

// faults are the streams whose stores have failed.
type faults struct {
	now  atomic.Pointer[map[string]bool]
	stop chan struct{}
	done chan struct{}
}

// faultEvery is how often the streams' stores are looked at.
const faultEvery = time.Second

// watchStores keeps the faults up to date until Shutdown.
func (s *Server) watchStores() {
	s.faults.stop, s.faults.done = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(s.faults.done)
		t := time.NewTicker(faultEvery)
		defer t.Stop()
		for {
			select {
			case <-s.faults.stop:
				return
			case <-t.C:
				s.note(s.ns.Healthz(&server.HealthzOptions{Details: true}))
			}
		}
	}()
}

// note takes what the server says of its streams.
func (s *Server) note(health *server.HealthStatus) {
	failed := make(map[string]bool)
	for _, e := range health.Errors {
		if e.Type == server.HealthzErrorStream && strings.Contains(e.Error, "write error") {
			failed[e.Stream] = true
		}
	}
	before := s.faults.now.Swap(&failed)
	if before == nil || !maps.Equal(*before, failed) {
		for stream := range failed {
			s.log.Error("publishes are refused", "stream", stream, "error", ErrStore)
		}
	}
}

// Fault returns ErrStore for a stream whose store has failed.
func (s *Server) Fault(stream string) error {
	if now := s.faults.now.Load(); now != nil && (*now)[stream] {
		return ErrStore
	}
	return nil
}
