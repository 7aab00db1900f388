package streams

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/natstest"
)

// disk stands for a disk with a cache: what a power cut leaves is what the last sync that had ended copied away.
type disk struct {
	store, kept string
	told        []*told // who may not be told of what is lost
	cuts        chan cut

	n    int    // syncs; they are serial
	last string // the copy that a power cut would leave
}

// cut is a power cut: what it leaves, and what had been told until then.
type cut struct {
	left string
	told []map[uint64]string
}

func (d *disk) sync() error {
	// Until now nothing but the last sync's copy would be left: whoever was told of more was told too early.
	used := false
	if d.last != "" && d.n%3 == 0 {
		c := cut{left: d.last}
		for _, t := range d.told {
			c.told = append(c.told, t.all())
		}
		select {
		case d.cuts <- c:
			used = true
		default:
		}
	}
	d.n++
	to := filepath.Join(d.kept, fmt.Sprint(d.n))
	if err := os.CopyFS(to, os.DirFS(d.store)); err != nil {
		return err
	}
	before := d.last
	if d.last = to; used {
		return nil
	}
	return os.RemoveAll(before)
}

// told is what somebody was told of, by sequence.
type told struct {
	mu   sync.Mutex
	body map[uint64]string
}

func (t *told) add(seq uint64, body string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.body == nil {
		t.body = make(map[uint64]string)
	}
	t.body[seq] = body
}

func (t *told) all() map[uint64]string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.body)
}

// A power cut at any moment takes nothing that a publisher was answered or a subscriber was shown.
func TestPowerCutTakesNothingAnsweredOrDelivered(t *testing.T) {
	const cuts = 8
	var answered, delivered told
	d := &disk{store: t.TempDir(), kept: t.TempDir(), told: []*told{&answered, &delivered}, cuts: make(chan cut, cuts)}
	srv := natstest.RunWith(t, func(o *server.Options) { o.StoreDir = d.store })
	l, err := Open(context.Background(), Options{
		Connect: srv.Connect,
		Default: &Policy{Sync: true},
		Sync:    d.sync,
		Deliver: func(batch []*Message) {
			for _, m := range batch {
				delivered.add(m.Seq, string(m.Body))
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	stop := make(chan struct{})
	var publishers sync.WaitGroup
	for p := range 8 {
		publishers.Go(func() {
			for i := 0; ; i++ {
				body, done := fmt.Sprintf("%d-%d", p, i), make(chan error, 1)
				l.Publish(Publication{Channel: "chat.x", QoS: 1, Body: []byte(body)}, func(a Ack, err error) {
					if err == nil && a.Durability != DurabilityFileSync {
						err = fmt.Errorf("durability %q", a.Durability)
					}
					if err == nil {
						answered.add(a.Seq, body)
					}
					done <- err
				})
				if err := <-done; err != nil {
					t.Error(err)
					return
				}
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	var all []cut
	for range cuts {
		all = append(all, <-d.cuts)
	}
	close(stop)
	publishers.Wait()
	last := all[cuts-1].told
	if len(last[0]) < 50 || len(last[1]) < 50 {
		t.Fatalf("%d answered, %d delivered: the test shows nothing", len(last[0]), len(last[1]))
	}
	for _, c := range all {
		c.check(t)
	}
}

// check fails the test if what somebody was told of is not there after the power cut.
func (c *cut) check(t *testing.T) {
	t.Helper()
	srv := natstest.RunWith(t, func(o *server.Options) { o.StoreDir = c.left })
	defer srv.Shutdown()
	nc := srv.Conn()
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	s, err := js.Stream(context.Background(), "JW_chat")
	if err != nil {
		t.Fatal(err)
	}
	for _, told := range c.told {
		for seq, body := range told {
			if m, err := s.GetMsg(context.Background(), seq); err != nil || string(m.Data) != body {
				t.Fatalf("sequence %d: %v; somebody was told %q", seq, err, body)
			}
		}
	}
}

// While the disk fails, nothing is acknowledged or delivered; when it works again, everything goes on.
func TestFailingSync(t *testing.T) {
	srv := natstest.Run(t)
	var mu sync.Mutex
	failing := false
	delivered := make(chan uint64, 10)
	l, err := Open(context.Background(), Options{
		Connect: srv.Connect,
		Default: &Policy{Sync: true},
		Sync: func() error {
			mu.Lock()
			defer mu.Unlock()
			if failing {
				return errors.New("input/output error")
			}
			return nil
		},
		Deliver: func(batch []*Message) {
			for _, m := range batch {
				delivered <- m.Seq
			}
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	publish := func() (Ack, error) {
		type result struct {
			a   Ack
			err error
		}
		done := make(chan result, 1)
		l.Publish(Publication{Channel: "chat.x", QoS: 1, Body: []byte("b")}, func(a Ack, err error) { done <- result{a, err} })
		r := <-done
		return r.a, r.err
	}
	fail := func(on bool) {
		mu.Lock()
		defer mu.Unlock()
		failing = on
	}
	if a, err := publish(); err != nil || a.Seq != 1 || <-delivered != 1 {
		t.Fatalf("%+v, %v", a, err)
	}
	fail(true)
	if _, err := publish(); !errors.Is(err, ErrTimeout) {
		t.Fatalf("a message that could not be synced was answered with %v", err)
	}
	select {
	case seq := <-delivered:
		t.Fatalf("sequence %d was delivered before it was synced", seq)
	case <-time.After(2 * retrySync):
	}
	var opened error
	l.With("other.x", func(_ *Stream, err error) { opened = err; delivered <- 0 })
	if <-delivered; !errors.Is(opened, ErrUnavailable) {
		t.Fatalf("a stream whose store cannot be synced was opened with %v", opened)
	}
	fail(false)
	if a, err := publish(); err != nil || a.Seq != 3 {
		t.Fatalf("%+v, %v", a, err)
	}
	for want := uint64(2); want <= 3; want++ {
		if seq := <-delivered; seq != want {
			t.Fatalf("sequence %d came in place of %d", seq, want)
		}
	}
}

// Those who wait together are served by one sync; streams that need none wait for none.
func TestOneSyncServesAllWhoWait(t *testing.T) {
	srv := natstest.Run(t)
	hold := make(chan struct{})
	var opened atomic.Bool
	l, err := Open(context.Background(), Options{
		Connect:  srv.Connect,
		Policies: []Policy{{Namespace: "fast"}, {Namespace: "mem", Storage: Memory, Sync: true}},
		Default:  &Policy{Sync: true},
		Sync: func() error {
			if opened.Load() {
				<-hold
			}
			return nil
		},
		Deliver: func([]*Message) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	done := make(chan error, 1)
	l.With("chat.x", func(_ *Stream, err error) { done <- err })
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	opened.Store(true)
	const n = 500
	answers := make(chan error, n)
	for range n {
		l.Publish(Publication{Channel: "chat.x", QoS: 1}, func(_ Ack, err error) { answers <- err })
	}
	for channel, want := range map[string]string{"fast.x": DurabilityFile, "mem.x": DurabilityMemory} {
		done := make(chan string, 1)
		l.Publish(Publication{Channel: channel, QoS: 1}, func(a Ack, err error) { done <- a.Durability })
		if got := <-done; got != want {
			t.Fatalf("%s: durability %q, want %q", channel, got, want)
		}
	}
	select {
	case <-answers:
		t.Fatal("answered before the sync had ended")
	default:
	}
	close(hold)
	for range n {
		if err := <-answers; err != nil {
			t.Fatal(err)
		}
	}
	if syncs := l.Stats().Syncs; syncs > n/10 {
		t.Fatalf("%d syncs for %d messages", syncs, n)
	}
}

// Synced waits for a sync that begins after the call: one that is under way may have missed what was stored meanwhile.
func TestSynced(t *testing.T) {
	srv := natstest.Run(t)
	began, end := make(chan struct{}), make(chan error)
	l, err := Open(context.Background(), Options{
		Connect: srv.Connect,
		Default: &Policy{Sync: true},
		Sync:    func() error { began <- struct{}{}; return <-end },
		Deliver: func([]*Message) {},
	})
	if err != nil {
		t.Fatal(err)
	}
	call := func() chan error {
		done := make(chan error, 1)
		l.Synced(func(err error) { done <- err })
		return done
	}
	first := call()
	<-began
	second := call()
	end <- nil
	if err := <-first; err != nil {
		t.Fatal(err)
	}
	<-began
	select {
	case err := <-second:
		t.Fatalf("a sync that had begun before the call was taken for one that covers it: %v", err)
	default:
	}
	end <- errors.New("input/output error")
	if err := <-second; !errors.Is(err, ErrTimeout) {
		t.Fatalf("the sync failed, and it says %v", err)
	}
	third := call()
	<-began
	fourth := call()
	closed := make(chan error, 1)
	go func() { closed <- l.Close() }()
	<-l.ctx.Done()
	end <- nil
	if err := <-third; err != nil {
		t.Fatal(err)
	}
	if err := <-fourth; !errors.Is(err, ErrClosed) {
		t.Fatalf("the Log closes, and it says %v", err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
	if err := <-call(); !errors.Is(err, ErrClosed) {
		t.Fatalf("the Log is closed, and it says %v", err)
	}
}

// Where nothing is synced, Synced waits for nothing.
func TestSyncedWithoutSync(t *testing.T) {
	for name, o := range map[string]Options{
		"no sync":   {Default: &Policy{}},
		"no policy": {Default: &Policy{}, Policies: []Policy{{Namespace: "mem", Storage: Memory, Sync: true}}, Sync: func() error { return errors.New("called") }},
	} {
		t.Run(name, func(t *testing.T) {
			o.Connect, o.Deliver = natstest.Run(t).Connect, func([]*Message) {}
			l, err := Open(context.Background(), o)
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			called := false
			l.Synced(func(err error) {
				if called = true; err != nil {
					t.Error(err)
				}
			})
			if !called {
				t.Fatal("it waits")
			}
		})
	}
}

// What a killed process had stored, but not synced, is synced before it counts as seen.
func TestOpenSyncsWhatIsThere(t *testing.T) {
	srv := natstest.Run(t)
	var synced atomic.Int32
	open := func() *Log {
		l, err := Open(context.Background(), Options{
			Connect:  srv.Connect,
			Policies: []Policy{{Namespace: "chat", Sync: true}},
			Sync:     func() error { synced.Add(1); return nil },
			Deliver:  func([]*Message) {},
		})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	if err := open().Close(); err != nil {
		t.Fatal(err)
	}
	js, err := jetstream.New(srv.Conn())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.Publish(context.Background(), "chat.x", nil); err != nil {
		t.Fatal(err)
	}
	before := synced.Load()
	l := open()
	defer l.Close()
	if synced.Load() == before {
		t.Fatal("nothing was synced")
	}
}

// Of what the tail has gathered, the part that is synced already does not wait for the rest.
func TestTailDeliversWhatIsSynced(t *testing.T) {
	srv := natstest.Run(t)
	var opened atomic.Bool
	began, end, delivered := make(chan struct{}), make(chan struct{}), make(chan int, 2)
	l, err := Open(context.Background(), Options{
		Connect:  srv.Connect,
		Policies: []Policy{{Namespace: "chat", Sync: true}},
		Sync: func() error {
			if opened.Load() {
				began <- struct{}{}
				<-end
			}
			return nil
		},
		Deliver: func(batch []*Message) { delivered <- len(batch) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	opened.Store(true)
	s := l.space("chat").opened.Load()
	s.gen.Load().synced.Store(2)
	flushed := make(chan struct{})
	go func() {
		defer close(flushed)
		s.tail.mu.Lock()
		defer s.tail.mu.Unlock()
		for seq := range uint64(5) {
			s.tail.feed.batch = append(s.tail.feed.batch, &Message{Channel: "chat.x", Seq: seq + 1})
		}
		s.tail.feed.flushLocked()
	}()
	<-began
	if n := <-delivered; n != 2 {
		t.Fatalf("%d messages were delivered, 2 are synced", n)
	}
	close(end)
	if n := <-delivered; n != 3 {
		t.Fatalf("%d messages were delivered, 3 were left", n)
	}
	<-flushed
}

func TestDurabilityClasses(t *testing.T) {
	for _, c := range []struct {
		p    Policy
		want string
	}{
		{Policy{}, DurabilityFile},
		{Policy{Sync: true}, DurabilityFileSync},
		{Policy{ServerSyncs: true}, DurabilityFileSync},
		{Policy{Storage: Memory, Sync: true, ServerSyncs: true, Replicas: 3}, DurabilityMemory},
		{Policy{Replicas: 3, Sync: true}, DurabilityReplicated},
		{Policy{Replicas: 3, ServerSyncs: true}, DurabilityReplicatedSync},
	} {
		if got := c.p.Durability(); got != c.want {
			t.Errorf("%+v: %s, want %s", c.p, got, c.want)
		}
	}
}
