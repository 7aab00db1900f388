package devices

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/natstest"
)

// flaky makes connections that can be cut.
type flaky struct {
	srv *natstest.Server
	mu  sync.Mutex
	all []*nats.Conn
}

func (f *flaky) connect(name string, extra ...nats.Option) (*nats.Conn, error) {
	nc, err := f.srv.Connect(name, extra...)
	if err == nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.all = append(f.all, nc)
	}
	return nc, err
}

func (f *flaky) cut(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	_ = f.all[n%len(f.all)].ForceReconnect() // an error means that it is reconnecting already
}

// TestStorm lets many sessions take a few devices through two gateways whose connections break all the time. What was answered as
// stored is never lost, and in the end one session at most has each device.
func TestStorm(t *testing.T) {
	const devices, workers, rounds = 4, 8, 15
	f := &flaky{srv: natstest.Run(t)}
	change := func(o *Options) { o.Connect = f.connect }
	stores := []*Store{openOn(t, f.srv, change), openOn(t, f.srv, change)}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	var floor [devices]atomic.Uint64 // what was answered as stored
	var mu sync.Mutex
	var all [devices][]*session
	work := func(w int) {
		rng := rand.New(rand.NewPCG(seed, uint64(w)))
		for range rounds {
			d := rng.IntN(devices)
			user := fmt.Sprint("user", d)
			was := floor[d].Load()
			var h *session
			eventually(t, "a Take with an answer", func() bool {
				var c <-chan error
				h, c = begin(t, stores[rng.IntN(2)], user, "phone")
				err := await(t, c)
				if err != nil && !errors.Is(err, ErrTaken) && !errors.Is(err, ErrUnavailable) {
					t.Error(err)
				}
				return err == nil
			})
			if got := h.first(); got < was {
				t.Errorf("%s was given %d, %d had been stored", user, got, was)
			}
			mu.Lock()
			all[d] = append(all[d], h)
			mu.Unlock()
			for range rng.IntN(6) {
				switch rng.IntN(16) {
				case 0:
					f.cut(rng.IntN(2))
				case 1, 2, 3:
					h.advance()
					h.dev.Changed()
				default:
					seq := h.advance()
					if err := h.store(); err == nil {
						for old := floor[d].Load(); old < seq && !floor[d].CompareAndSwap(old, seq); old = floor[d].Load() {
						}
					} else if !errors.Is(err, ErrTaken) && !errors.Is(err, ErrUnavailable) {
						t.Error(err)
					}
				}
			}
			if rng.IntN(3) == 0 {
				h.released.Store(true)
				h.dev.Release()
			}
		}
	}
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() { work(w) })
	}
	wg.Wait()
	for d := range devices {
		user := fmt.Sprint("user", d)
		var left []*session
		eventually(t, "one holder at most", func() bool {
			left = nil
			for _, h := range all[d] {
				if !h.released.Load() && h.taken.Load() == 0 {
					left = append(left, h)
					h.dev.Changed()
				}
			}
			return len(left) <= 1
		})
		eventually(t, "the record to name it", func() bool {
			r, ok := stored(t, f.srv, user, "phone")
			if ok && r.positions != nil && r.positions[0].Seq < floor[d].Load() {
				t.Fatalf("%s: %d was answered as stored, the record has %d", user, floor[d].Load(), r.positions[0].Seq)
			}
			told := len(left) == 1 && left[0].taken.Load() != 0 // by what it wrote: the announcement was lost with a connection
			return len(left) == 0 || told || ok && r.owner == left[0].owner
		})
	}
	t.Logf("%+v\n%+v", stores[0].Stats(), stores[1].Stats())
}
