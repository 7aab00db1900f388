package streams

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// TestGathers: while messages keep coming they are sent together before each sync; once each publisher waits for its answers they are sent at
// once again. All are answered, in order.
func TestGathers(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Default = &Policy{Sync: true}
		o.Sync = func() error { time.Sleep(200 * time.Microsecond); return nil }
	})
	s := r.stream("chat.x")
	y := r.log.syncer
	var wg sync.WaitGroup
	var mu sync.Mutex
	var answered []uint64
	publish := func() {
		wg.Add(1)
		r.log.Publish(Publication{Channel: "chat.x", QoS: 1, Body: fmt.Append(nil, "body")}, func(a Ack, err error) {
			defer wg.Done()
			mu.Lock()
			defer mu.Unlock()
			if answered = append(answered, a.Seq); err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "messages to be gathered", func() bool { // which takes its time between two looks
		publish()
		r.log.pub.mu.Lock()
		defer r.log.pub.mu.Unlock()
		return y.gathers.Load() && len(s.out.queue)-s.out.next > 1 && s.out.held
	})
	wg.Wait()
	mu.Lock()
	for i, seq := range answered {
		if seq != uint64(i+1) {
			t.Fatalf("answer %d is of %d", i+1, seq)
		}
	}
	mu.Unlock()
	eventually(t, "nothing to be gathered", func() bool {
		publish()
		wg.Wait()
		return !y.gathers.Load()
	})
	r.atHead(s, uint64(len(answered)))
}

// TestGatheredLeaves: what is gathered is not left behind, whoever publishes no more.
func TestGatheredLeaves(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Default = &Policy{Sync: true}
		o.Sync = func() error { return nil }
	})
	r.store("chat.a", "x")
	r.store("chat.b", "x")
	for i := range 200 {
		r.log.syncer.gathers.Store(true)
		if a := r.store([]string{"chat.a", "other.b"}[i%2], "x"); a.Seq == 0 {
			t.Fatal(a)
		}
	}
}

// What a full window has kept back leaves when there is room: it was gathered then, with nobody to send it.
func TestFullWindowAndGathering(t *testing.T) {
	r := newRig(t, func(o *Options) {
		o.Default = &Policy{Sync: true}
		o.Sync = func() error { return nil }
	})
	r.store("chat.a", "x")
	p, out := r.log.pub, &r.stream("chat.a").out
	answered := make(chan error, 1)
	p.mu.Lock()
	out.inFlight += publishWindow
	p.mu.Unlock()
	r.log.syncer.gathers.Store(true)
	r.log.Publish(Publication{Channel: "chat.a", QoS: 1}, func(_ Ack, err error) { answered <- err })
	r.log.syncer.release()
	p.mu.Lock()
	out.inFlight -= publishWindow
	p.readyLocked(out)
	p.mu.Unlock()
	if err := <-answered; err != nil {
		t.Fatal(err)
	}
}
