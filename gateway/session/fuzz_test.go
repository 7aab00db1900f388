package session

import (
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/jetwire/jetwire/gateway/wire"
)

// FuzzReceive feeds frames, one a line, to a session whose Broker answers at once, late, in another order, or never. Whatever they are, nothing
// panics, no id is answered more often than it was given, what is sent can be read, and no subscription outlives the session.
func FuzzReceive(f *testing.F) {
	for _, frames := range []string{
		`{"id":1,"connect":{"token":"alice"}}` + "\n" + `{"id":2,"subscribe":{"channel":"chat.a"}}{"id":3,"unsubscribe":{"channel":"chat.a"}}`,
		`{"connect":{"token":"alice"}}{"id":2,"publish":{"channel":"chat.a","data":{"x":[1,2]},"id":"m"}}{"id":3,"ack":{"channel":"chat.a","seq":1}}`,
		`{"connect":{"token":"alice"}}{"id":2,"command":{"destination":"a.b","data":{"x":[1,2]},"id":"m"}}{"id":3,"call":{"destination":"a.b","data":"/w==","encoding":"base64"}}`,
		`{"connect":{"token":"brief"}}{"id":2,"history":{"channel":"chat.a","last":2}}{"id":2,"ping":{}}`,
		`{"connect":{"token":"alice"}}{"id":9,"subscribe":{"channel":"chat.a","since":3,"epoch":"e0"}}` + "\n" + `{"id":9,"subscribe":{"channel":"chat.a"`,
		`{"id":1,"connect":{"token":"later:alice"}}{"id":2,"subscribe":{"channel":"chat.a"}}` + "\n" + `{"id":3,"renew":{"token":"later:alice in games"}}{"id":4,"subscribe":{"channel":"chat.b"}}`,
		`{"id":1,"connect":{"token":"alice"}}{"id":2,"subscribe":{"channel":"chat.a"}}{"id":3,"renew":{"token":"later:alice"}}{"id":4,"renew":{"token":"later:old"}}` + "\n" + `{"id":5,"ping":{}}`,
		`{"id":1,"connect":{"token":"later:alice","device":"d"}}{"id":3,"renew":{"token":"alice in chat"}}`,
		`{"id":1,"connect":{"token":"alice"}}{"id":2,"presence":{"channel":"chat.a"}}{"presence":{"channel":"closed.a"}}`,
		`{"id":1,"connect":{"token":"later:alice"}}{"id":2,"subscribe":{"channel":"asked.a"}}{"id":3,"publish":{"channel":"asked.a","data":1}}` + "\n" + `{"id":4,"unsubscribe":{"channel":"asked.a"}}{"id":5,"call":{"destination":"asked.no","data":1}}`,
		`{"id":1,"connect":{"token":"old"}}` + "\n" + `{"id":1,"ping":{}}`, `{"id":18446744073709551615,"ping":{}}`, `null`, ``,
	} {
		for seed := range uint64(4) {
			f.Add(seed, frames)
		}
	}
	f.Fuzz(func(t *testing.T, seed uint64, frames string) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		n := newBench(t)
		given := map[uint64]int{}
		for frame := range strings.SplitSeq(frames, "\n") {
			n.b.held = rnd.IntN(2) == 0
			n.b.fails = []error{nil, nil, wire.Unavailable.Err(), wire.Internal.Err()}[rnd.IntN(4)]
			count(frame, given)
			n.receive(frame)
			switch rnd.IntN(6) {
			case 0:
				n.s.Beat()
			case 1:
				n.s.Drained()
			case 2:
				releaseShuffled(n.b, rnd)
			}
		}
		releaseShuffled(n.b, rnd)
		n.s.Closed()
		for _, frame := range n.p.take() {
			err := wire.DecodeServer([]byte(frame), func(in *wire.Incoming) error {
				if in.ID != 0 {
					given[in.ID]--
				}
				return nil
			})
			if err != nil {
				t.Errorf("sent %s: %v", frame, err)
			}
		}
		for id, left := range given {
			if left < 0 || left > 0 && n.p.closed() == 0 {
				t.Errorf("id %d: %d answers too few in\n%s", id, left, frames)
			}
		}
		for _, p := range n.b.places {
			if !p.canceled {
				t.Errorf("%s outlives the session", p.asked.Channel)
			}
		}
		if n.s.inFlight != 0 {
			t.Errorf("%d in flight", n.s.inFlight)
		}
	})
}

// count counts the ids in a frame, as far as it can be read.
func count(frame string, given map[uint64]int) {
	var d wire.Decoder
	var c wire.Command
	d.Reset([]byte(frame))
	for {
		err := d.Next(&c)
		if c.ID != 0 {
			given[c.ID]++
		}
		if _, refused := err.(*wire.Error); err != nil && !refused {
			return
		}
	}
}

func releaseShuffled(b *scripted, rnd *rand.Rand) {
	rnd.Shuffle(len(b.waiting), func(i, j int) { b.waiting[i], b.waiting[j] = b.waiting[j], b.waiting[i] })
	b.release()
}

// Commands, answers from other goroutines, heartbeats and the end, all at once, under the race detector.
func TestConcurrently(t *testing.T) {
	n := connected(t, "alice")
	n.opts.MaxSubscriptions, n.opts.MaxInFlight = 8, 1<<20
	stop := make(chan struct{})
	var others sync.WaitGroup
	for _, f := range []func(){n.s.Drained, n.s.Beat, n.b.release, n.b.release, func() { n.b.mu.Lock(); n.b.held = true; n.b.mu.Unlock() }} {
		others.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					f()
					runtime.Gosched()
				}
			}
		})
	}
	const rounds = 50
	for range rounds {
		n.receive(`{"id":1,"subscribe":{"channel":"chat.a"}}{"id":2,"publish":{"channel":"chat.a","data":1}}{"id":3,"ack":{"channel":"chat.a","seq":0}}`)
		n.receive(`{"id":7,"publish":{"channel":"asked.a","data":1}}{"id":8,"publish":{"channel":"asked.no","data":1}}`)
		n.receive(`{"id":4,"history":{"channel":"chat.a"}}{"id":5,"unsubscribe":{"channel":"chat.a"}}{"id":6,"ping":{}}`)
	}
	close(stop)
	others.Wait()
	n.b.release()
	n.s.Closed()
	answers := map[uint64]int{}
	for _, f := range n.p.take() {
		_ = wire.DecodeServer([]byte(f), func(in *wire.Incoming) error { answers[in.ID]++; return nil })
	}
	for id := uint64(1); id <= 8; id++ {
		if answers[id] != rounds {
			t.Errorf("id %d has %d answers", id, answers[id])
		}
	}
	for _, p := range n.b.places {
		if !p.canceled {
			t.Fatal("a subscription outlives the session")
		}
	}
}
