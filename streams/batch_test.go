package streams

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/natstest"
)

// answers is what publishers were told.
type answers struct {
	wg  sync.WaitGroup
	mu  sync.Mutex
	all map[string]Ack
	err map[string]error
}

func (a *answers) publish(l *Log, p Publication) {
	key := string(p.Body)
	a.wg.Add(1)
	l.Publish(p, func(ack Ack, err error) {
		a.mu.Lock()
		defer a.mu.Unlock()
		defer a.wg.Done()
		if err != nil {
			a.err[key] = err
		} else {
			a.all[key] = ack
		}
	})
}

func newAnswers() *answers { return &answers{all: map[string]Ack{}, err: map[string]error{}} }

// syncing opens a Log on a server that syncs before it acknowledges.
func syncing(t *testing.T, timeout time.Duration) (*natstest.Server, *Log, jetstream.Stream) {
	t.Helper()
	srv := natstest.RunWith(t, func(o *server.Options) { o.SyncAlways = true })
	l, err := Open(context.Background(), Options{
		Connect: srv.Connect, Policies: []Policy{{Namespace: "chat", ServerSyncs: true}}, Deliver: func([]*Message) {}, PublishTimeout: timeout,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	js, err := jetstream.New(srv.Conn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "JW_chat")
	if err != nil {
		t.Fatal(err)
	}
	return srv, l, s
}

// stored returns the bodies by sequence, and how many messages came in batches.
func stored(t *testing.T, s jetstream.Stream) (bodies map[uint64]string, batched int) {
	t.Helper()
	info, err := s.Info(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	bodies = map[uint64]string{}
	for seq := uint64(1); seq <= info.State.LastSeq; seq++ {
		m, err := s.GetMsg(t.Context(), seq)
		if err != nil {
			t.Fatalf("sequence %d: %v", seq, err)
		}
		bodies[seq] = string(m.Data)
		if m.Header.Get(headerBatch) != "" {
			batched++
		}
	}
	return bodies, batched
}

// Messages that wait together leave in batches, and each gets its own answer, also where some are duplicates.
func TestBatches(t *testing.T) {
	_, l, s := syncing(t, 0)
	first := newAnswers()
	for i := range 300 {
		first.publish(l, Publication{Channel: "chat.x", QoS: 2, ID: fmt.Sprint(i), From: "alice", Body: []byte(fmt.Sprint(i))})
	}
	first.wg.Wait()
	again := newAnswers() // every third one is new
	for i := range 300 {
		id := i
		if i%3 == 0 {
			id += 1000
		}
		again.publish(l, Publication{Channel: "chat.x", QoS: 2, ID: fmt.Sprint(id), From: "alice", Body: []byte(fmt.Sprint(id))})
	}
	again.wg.Wait()
	bodies, batched := stored(t, s)
	if len(bodies) != 400 || batched < 200 {
		t.Fatalf("%d messages are stored, %d of them in batches", len(bodies), batched)
	}
	for _, a := range []*answers{first, again} {
		if len(a.all) != 300 {
			t.Fatalf("%d answers, and %v", len(a.all), a.err)
		}
		for body, ack := range a.all {
			if bodies[ack.Seq] != body || ack.Durability != DurabilityFileSync {
				t.Fatalf("%s was answered with %+v, where %q is", body, ack, bodies[ack.Seq])
			}
			if want := a == again && len(body) < 4; ack.Duplicate != want {
				t.Fatalf("%s: %+v, duplicate should be %v", body, ack, want)
			}
		}
	}
	// What one publisher sends keeps its order, also where batches are refused.
	for i := 1003; i < 1300; i += 3 {
		if again.all[fmt.Sprint(i)].Seq <= again.all[fmt.Sprint(i-3)].Seq {
			t.Fatalf("%d came before %d", i, i-3)
		}
	}
	for i := 1; i < 300; i++ {
		if first.all[fmt.Sprint(i)].Seq <= first.all[fmt.Sprint(i-1)].Seq {
			t.Fatalf("%d came before %d", i, i-1)
		}
	}
}

// A message that is refused takes no other one with it; and where batches are refused altogether, messages go singly.
func TestBatchesRefused(t *testing.T) {
	_, l, s := syncing(t, 0)
	c := s.CachedInfo().Config
	if !c.AllowAtomicPublish {
		t.Fatal("the stream takes no batches")
	}
	c.MaxMsgSize = 2000
	js, err := jetstream.New(l.feed.Conn.Conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a := newAnswers()
	for i := range 200 {
		a.publish(l, Publication{Channel: "chat.x", QoS: 1, Body: []byte(fmt.Sprint(i, strings.Repeat("x", i%2*4000)))})
	}
	a.wg.Wait()
	for body, err := range a.err {
		if len(body) < 4000 || !errors.Is(err, ErrTooLarge) {
			t.Fatalf("%d bytes: %v", len(body), err)
		}
	}
	if len(a.all) != 100 || len(a.err) != 100 {
		t.Fatalf("%d stored, %d refused", len(a.all), len(a.err))
	}
	c.AllowAtomicPublish, c.MaxMsgSize = false, -1
	if _, err := js.UpdateStream(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	a = newAnswers()
	for i := range 200 {
		a.publish(l, Publication{Channel: "chat.x", QoS: 1, Body: []byte(fmt.Sprint("single ", i))})
	}
	a.wg.Wait()
	bodies, _ := stored(t, s)
	if len(a.all) != 200 || len(bodies) != 300 {
		t.Fatalf("%d answers, %d stored, %v", len(a.all), len(bodies), a.err)
	}
}

// A server that goes away in the middle of batches leaves no message twice, and none that was answered behind.
func TestBatchesOnAServerThatGoes(t *testing.T) {
	srv, l, _ := syncing(t, 2*time.Second)
	var publishers sync.WaitGroup
	a := newAnswers()
	for p := range 40 {
		publishers.Go(func() {
			for i := range 20 {
				id := fmt.Sprintf("%d-%d", p, i)
				for told := false; !told; {
					done := make(chan error, 1)
					l.Publish(Publication{Channel: "chat.x", QoS: 2, ID: id, From: "alice", Body: []byte(id)}, func(ack Ack, err error) {
						if err == nil {
							a.mu.Lock()
							a.all[id] = ack
							a.mu.Unlock()
						}
						done <- err
					})
					err := <-done
					if told = err == nil; !told {
						time.Sleep(10 * time.Millisecond) // as a client backs off
					}
				}
			}
		})
	}
	finished := make(chan struct{})
	go func() { publishers.Wait(); close(finished) }()
	answered := func() int { a.mu.Lock(); defer a.mu.Unlock(); return len(a.all) }
	for cut := range 3 {
		eventually(t, "answers", func() bool { return answered() >= 150*(cut+1) })
		srv.Restart()
	}
	<-finished
	js, err := jetstream.New(srv.Conn())
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(t.Context(), "JW_chat")
	if err != nil {
		t.Fatal(err)
	}
	bodies, batched := stored(t, s)
	if len(bodies) != 800 || batched == 0 {
		t.Fatalf("%d messages are stored, %d of them in batches", len(bodies), batched)
	}
	for id, ack := range a.all {
		if bodies[ack.Seq] != id {
			t.Fatalf("%s was answered with %d, where %q is", id, ack.Seq, bodies[ack.Seq])
		}
	}
}
