package devices

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/jetwire/jetwire/streams/natstest"
)

// TestContention lets many sessions take one device at once through two gateways, again and again. Whoever the record names is the only one left.
func TestContention(t *testing.T) {
	srv := natstest.Run(t)
	stores := []*Store{openOn(t, srv, nil), openOn(t, srv, nil)}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for round := range 30 {
		user := fmt.Sprint("user", round)
		n := 2 + rng.IntN(30)
		var wg sync.WaitGroup
		all := make([]*session, n)
		errs := make([]error, n)
		for i := range n {
			h := &session{t: t, owner: fmt.Sprintf("r%d-%02d", round, i)}
			all[i] = h
			s := stores[rng.IntN(2)]
			wg.Add(1)
			go s.Take(user, "phone", h.owner, h, func(d *Device, was Record, err error) {
				defer wg.Done()
				h.set(was.Positions...)
				h.dev, errs[i] = d, err
				if err == nil {
					h.advance()
					d.Changed()
				}
			})
		}
		wg.Wait()
		live := func() (left []*session) {
			for i, h := range all {
				switch {
				case errs[i] == nil && h.taken.Load() == 0:
					left = append(left, h)
				case errs[i] != nil && !errors.Is(errs[i], ErrTaken):
					t.Fatal(errs[i])
				case errs[i] != nil && h.taken.Load() != 0:
					t.Fatal("taken over without having held it")
				}
			}
			return left
		}
		eventually(t, "one to be left", func() bool { return len(live()) == 1 })
		h := live()[0]
		if err := h.store(); err != nil {
			t.Fatal(err)
		}
		if r, _ := stored(t, srv, user, "phone"); r.owner != h.owner {
			t.Fatalf("%s is left, the record names %s", h.owner, r.owner)
		}
		h.dev.Release()
	}
	for _, s := range stores {
		eventually(t, "nobody", func() bool { return len(s.cellsNow()) == 0 })
	}
}

func TestServerRestarts(t *testing.T) {
	srv := natstest.Run(t)
	one, two := openOn(t, srv, nil), openOn(t, srv, nil)
	a, b := hold(t, one, "ann", "phone"), hold(t, two, "bob", "phone")
	for round := range 3 {
		a.advance()
		if err := a.store(); err != nil {
			t.Fatal(err)
		}
		srv.Shutdown()
		eventually(t, "a Store that fails", func() bool { return errors.Is(a.store(), ErrUnavailable) })
		start := time.Now()
		if err := b.store(); !errors.Is(err, ErrUnavailable) || time.Since(start) > timeout+time.Second {
			t.Fatalf("%v after %s", err, time.Since(start))
		}
		eventually(t, "both to know", func() bool {
			_, c := begin(t, two, "carl", "phone")
			return errors.Is(await(t, c), ErrUnavailable)
		})
		start = time.Now()
		if err := b.store(); !errors.Is(err, ErrUnavailable) || time.Since(start) > time.Second {
			t.Fatalf("%v after %s: the connection is known to be down", err, time.Since(start))
		}
		// What changes meanwhile is written when it is back.
		seq := a.advance()
		a.dev.Changed()
		last := b.advance()
		b.dev.Changed()
		b.dev.Release()
		srv.Restart()
		eventually(t, "what changed meanwhile", func() bool {
			r, _ := stored(t, srv, "ann", "phone")
			return len(r.positions) == 1 && r.positions[0].Seq == seq
		})
		eventually(t, "what the released one had", func() bool {
			r, _ := stored(t, srv, "bob", "phone")
			return len(r.positions) == 1 && r.positions[0].Seq == last
		})
		eventually(t, "both to be back", func() bool {
			h, c := begin(t, []*Store{one, two}[round%2], "bob", "phone")
			b = h
			return await(t, c) == nil
		})
		if b.was.Positions[0].Seq != last {
			t.Fatalf("%+v", b.was)
		}
	}
	if a.taken.Load() != 0 {
		t.Error("taken over by nobody")
	}
}

// TestMemoryIsGone restarts a server that keeps nothing: the bucket is made again, and holders write their positions anew.
func TestMemoryIsGone(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, func(o *Options) { o.Memory = true })
	const n = 50
	var all []*session
	for i := range n {
		h := hold(t, s, fmt.Sprint("user", i), "phone")
		h.advance()
		h.dev.Changed()
		all = append(all, h)
	}
	srv.Restart()
	eventually(t, "all to be written again", func() bool {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		u, err := s.Usage(ctx)
		return err == nil && u.Records == n && s.Stats().BucketsLost == 1
	})
	for _, h := range all {
		if h.taken.Load() != 0 {
			t.Fatal("taken over by nobody")
		}
		if err := h.store(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestBucketDeleted is what an operator does.
func TestBucketDeleted(t *testing.T) {
	srv := natstest.Run(t)
	one, two := openOn(t, srv, nil), openOn(t, srv, nil)
	a, b := hold(t, one, "ann", "phone"), hold(t, two, "bob", "phone")
	idle := hold(t, one, "carl", "phone")
	for range 3 {
		if err := jsOf(t, srv.Conn()).DeleteKeyValue(context.Background(), bucketName); err != nil {
			t.Fatal(err)
		}
		for _, h := range []*session{a, b} {
			h.advance()
			// A bucket cannot always be made at once where one is just being deleted.
			eventually(t, "a new bucket", func() bool {
				err := h.store()
				if err != nil && !errors.Is(err, ErrUnavailable) {
					t.Fatal(err)
				}
				return err == nil
			})
		}
		eventually(t, "the idle one to be written anew", func() bool {
			r, ok := stored(t, srv, "carl", "phone")
			return ok && r.owner == idle.owner
		})
		c := hold(t, two, "ann", "phone")
		if c.was.Positions[0].Seq != a.Positions()[0].Seq {
			t.Fatalf("%+v", c.was)
		}
		eventually(t, "the takeover", func() bool { return a.taken.Load() == 1 })
		a = hold(t, one, "ann", "phone")
	}
	// A single record, by nats kv del and by nats kv purge.
	kv := bucketOf(t, srv.Conn())
	for i, remove := range []func(string) error{
		func(key string) error { return kv.Delete(context.Background(), key) },
		func(key string) error { return kv.Purge(context.Background(), key) },
	} {
		if err := remove(encodeToken("bob") + "." + encodeToken("phone")); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			b.advance()
			if err := b.store(); err != nil || b.taken.Load() != 0 {
				t.Fatalf("%v, taken %d", err, b.taken.Load())
			}
			continue
		}
		b.dev.Release()
		eventually(t, "the release", func() bool { return two.Stats().Held == 0 })
		if c := hold(t, one, "bob", "phone"); c.was.Found {
			t.Fatalf("%+v", c.was)
		}
	}
}

// TestUnreadable has records that no gateway wrote.
func TestUnreadable(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, nil)
	kv := bucketOf(t, srv.Conn())
	for i, value := range []string{"", "{}", "nonsense", `{"owner":"x","taken":9e99}`, `{"owner":"x","taken":1,"positions":[["c",1]]}`} {
		user := fmt.Sprint("user", i)
		if _, err := kv.Put(context.Background(), encodeToken(user)+"."+encodeToken("phone"), []byte(value)); err != nil {
			t.Fatal(err)
		}
		h := hold(t, s, user, "phone")
		if h.was.Found {
			t.Errorf("%q: %+v", value, h.was)
		}
		if r, ok := stored(t, srv, user, "phone"); !ok || r.owner != h.owner {
			t.Errorf("%q: %v %+v", value, ok, r)
		}
	}
	if n := s.Stats().Unreadable; n != 5 {
		t.Errorf("%d counted", n)
	}
}

func TestEviction(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, func(o *Options) { o.PerUser = 3 })
	other := hold(t, s, "bob", "d0")
	held := hold(t, s, "ann", "d0") // the oldest, but it is held here
	for i := 1; i < 10; i++ {
		h := hold(t, s, "ann", fmt.Sprint("d", i))
		h.advance()
		if err := h.store(); err != nil {
			t.Fatal(err)
		}
		h.dev.Release()
		eventually(t, "the release", func() bool { return s.Stats().Held == 2 })
	}
	want := "[true false false false false false false false true true]"
	got := func() string {
		var out []bool
		for i := range 10 {
			_, ok := stored(t, srv, "ann", fmt.Sprint("d", i))
			out = append(out, ok)
		}
		return fmt.Sprint(out)
	}
	eventually(t, "three devices to be left", func() bool { return got() == want })
	if n := s.Stats().Evicted; n != 7 {
		t.Errorf("%d evicted", n)
	}
	if _, ok := stored(t, srv, "bob", "d0"); !ok || other.taken.Load()+held.taken.Load() != 0 {
		t.Error("another user's record is gone, or a device was taken")
	}
	// One that another gateway forgot although it is held here is written anew.
	if err := bucketOf(t, srv.Conn()).Purge(context.Background(), encodeToken("ann")+"."+encodeToken("d0")); err != nil {
		t.Fatal(err)
	}
	held.advance()
	if err := held.store(); err != nil {
		t.Fatal(err)
	}
	if r, ok := stored(t, srv, "ann", "d0"); !ok || r.owner != held.owner {
		t.Fatalf("%v %+v", ok, r)
	}
}

// TestExpiry has a device that is held, and quiet, for longer than a record lives.
func TestExpiry(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, func(o *Options) { o.Expiry = 2 * time.Second })
	quiet, gone := hold(t, s, "ann", "phone"), hold(t, s, "bob", "phone")
	quiet.advance()
	if err := quiet.store(); err != nil {
		t.Fatal(err)
	}
	gone.dev.Release()
	eventually(t, "the record of the one that is gone to expire", func() bool {
		_, ok := stored(t, srv, "bob", "phone")
		return !ok
	})
	start := time.Now()
	eventually(t, "more than a life", func() bool {
		if r, ok := stored(t, srv, "ann", "phone"); !ok || r.owner != quiet.owner {
			t.Fatal("the record of a device that is held has expired")
		}
		return time.Since(start) > 3*time.Second
	})
}

func TestTooLarge(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, nil)
	h := hold(t, s, "ann", "phone")
	at := make([]Position, 2000)
	for i := range at {
		at[i] = Position{Channel: fmt.Sprintf("chat.a-room-with-a-long-name-%06d", i), QoS: 1, Epoch: "e", Seq: 1}
	}
	h.set(at...)
	if err := h.store(); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	h.set(at[:1000]...)
	if err := h.store(); err != nil {
		t.Fatal(err)
	}
	h.set(at...)
	b := make(chan error, 1)
	s.Take("ann", "phone", "next", &session{t: t}, func(_ *Device, _ Record, err error) { b <- err })
	if err := await(t, b); !errors.Is(err, ErrTooLarge) {
		t.Fatal(err)
	}
	if c := hold(t, s, "ann", "phone"); len(c.was.Positions) != 1000 {
		t.Fatalf("%d positions", len(c.was.Positions))
	}
	for _, ids := range [][3]string{{"", "d", "o"}, {"u", "", "o"}, {"u", "d", ""}, {"u", string(make([]byte, 65)), "o"}} {
		s.Take(ids[0], ids[1], ids[2], &session{t: t}, func(_ *Device, _ Record, err error) { b <- err })
		if err := await(t, b); !errors.Is(err, ErrInvalid) {
			t.Fatalf("%q: %v", ids, err)
		}
	}
}

// TestSynced answers a Store only when it is synced.
func TestSynced(t *testing.T) {
	var mu sync.Mutex
	var waiting []func(error)
	s := openOn(t, natstest.Run(t), func(o *Options) {
		o.Synced = func(then func(error)) {
			mu.Lock()
			defer mu.Unlock()
			waiting = append(waiting, then)
		}
	})
	h := hold(t, s, "ann", "phone")
	for _, bad := range []error{nil, errors.New("the disk is gone")} {
		c := make(chan error, 1)
		h.dev.Store(func(err error) { c <- err })
		eventually(t, "a sync", func() bool {
			mu.Lock()
			defer mu.Unlock()
			return len(waiting) == 1
		})
		select {
		case <-c:
			t.Fatal("answered before it was synced")
		default:
		}
		waiting[0](bad)
		if err := await(t, c); (err != nil) != (bad != nil) || err != nil && !errors.Is(err, ErrUnavailable) {
			t.Fatal(err)
		}
		waiting = nil
	}
}

func TestClosed(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, nil)
	h := hold(t, s, "ann", "phone")
	h.advance()
	c := make(chan error, 100)
	for range cap(c) {
		h.dev.Store(func(err error) { c <- err })
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range cap(c) {
		if err := await(t, c); err != nil && !errors.Is(err, ErrClosed) {
			t.Fatal(err)
		}
	}
	if err := h.store(); !errors.Is(err, ErrClosed) {
		t.Fatal(err)
	}
	h.dev.Changed()
	h.dev.Release()
	if _, c := begin(t, s, "ann", "phone"); !errors.Is(await(t, c), ErrClosed) {
		t.Fatal("taken from a closed store")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Without a server it does not take long.
	s = openOn(t, srv, nil)
	h = hold(t, s, "ann", "phone")
	srv.Shutdown()
	eventually(t, "a Store that fails at once", func() bool { return errors.Is(h.store(), ErrUnavailable) })
	h.dev.Changed()
	start := time.Now()
	if err := s.Close(); err != nil || time.Since(start) > timeout/2 {
		t.Fatalf("%v after %s", err, time.Since(start))
	}
}

func TestOpen(t *testing.T) {
	srv := natstest.Run(t)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s := openOn(t, srv, func(o *Options) { o.Expiry = time.Hour })
	hold(t, s, "ann", "phone")
	openOn(t, srv, func(o *Options) { o.Expiry = time.Minute }) // as configured now
	status, err := bucketOf(t, srv.Conn()).Status(ctx)
	if err != nil || status.TTL() != time.Minute || status.History() != 1 || status.Values() != 1 {
		t.Fatalf("%v: %+v", err, status)
	}
	if _, err := Open(ctx, Options{Connect: srv.Connect, Memory: true, Logger: quiet()}); !errors.Is(err, ErrRefused) {
		t.Fatal(err)
	}
	if _, err := Open(ctx, Options{}); err == nil {
		t.Fatal("opened without Connect")
	}
	plain := natstest.RunWith(t, func(o *server.Options) { o.JetStream = false })
	if _, err := Open(ctx, Options{Connect: plain.Connect, Logger: quiet()}); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
	srv.Shutdown()
	if _, err := Open(ctx, Options{Connect: srv.Connect, Logger: quiet()}); !errors.Is(err, ErrUnavailable) {
		t.Fatal(err)
	}
}

// TestAuthoritativeRead asks the leader, as with replicas after a conflict.
func TestAuthoritativeRead(t *testing.T) {
	srv := natstest.Run(t)
	s := openOn(t, srv, nil)
	hold(t, s, "ann", "phone")
	o := Options{Connect: srv.Connect, Replicas: 3, Logger: quiet()}
	b, err := dial(&o, events{up: func(bool) {}, taken: func(string, mark) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer b.conn.Close()
	get := func(user string, authoritative bool) (e entry, err error) {
		done := make(chan struct{})
		b.get(encodeToken(user)+"."+encodeToken("phone"), authoritative, func(got entry, failed error) {
			e, err = got, failed
			close(done)
		})
		await(t, done)
		return e, err
	}
	for _, user := range []string{"ann", "nobody"} {
		direct, err1 := get(user, false)
		leader, err2 := get(user, true)
		if err1 != nil || err2 != nil || direct.rev != leader.rev || string(direct.value) != string(leader.value) || (direct.rev == 0) != (user == "nobody") {
			t.Fatalf("%+v %v, %+v %v", direct, err1, leader, err2)
		}
	}
	kv := bucketOf(t, srv.Conn())
	if err := kv.Delete(context.Background(), encodeToken("ann")+"."+encodeToken("phone")); err != nil {
		t.Fatal(err)
	}
	if e, err := get("ann", true); err != nil || e.value != nil || e.rev != 2 {
		t.Fatalf("%+v %v", e, err)
	}
	if err := jsOf(t, srv.Conn()).DeleteKeyValue(context.Background(), bucketName); err != nil {
		t.Fatal(err)
	}
	for _, authoritative := range []bool{false, true} {
		if _, err := get("ann", authoritative); !errors.Is(err, errNoBucket) {
			t.Fatal(err)
		}
	}
}
