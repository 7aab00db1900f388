package limit

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// cluster is gateways that tell each other what users have used.
type cluster struct {
	gateways []*Users
	told     func() int
}

// newCluster makes one in a synctest bubble; it ends with the test.
func newCluster(t *testing.T, n int, r Rate) cluster {
	var mu sync.Mutex
	told := 0
	c := cluster{told: func() int { mu.Lock(); defer mu.Unlock(); return told }}
	for range n {
		c.gateways = append(c.gateways, NewUsers(r))
	}
	ctx, stop := context.WithCancel(context.Background())
	var sharing sync.WaitGroup
	for i, u := range c.gateways {
		sharing.Go(func() {
			u.Share(ctx, name(i), func() int { return n }, func(body []byte) {
				mu.Lock()
				told++
				mu.Unlock()
				for j, other := range c.gateways {
					if err := other.Shared(name(j), body, time.Now()); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
	t.Cleanup(func() { stop(); sharing.Wait() })
	return c
}

func name(i int) string { return fmt.Sprintf("gateway-%d", i) }

// TestUsersTogether: whatever a user does with several gateways, what gets through keeps within the bound that Users names.
func TestUsersTogether(t *testing.T) {
	const seconds = 60
	r := Rate{PerSecond: 20, Burst: 40}
	for gateways := 1; gateways <= 4; gateways++ {
		t.Run(fmt.Sprint(gateways), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, gateways, r)
				through := 0
				for range seconds * 100 {
					for _, u := range c.gateways {
						through += allowed(2, func() time.Duration { return u.Take("alice", time.Now()) })
					}
					time.Sleep(10 * time.Millisecond)
				}
				limit := 40 + seconds*20
				most := limit + (gateways-1)*(40+20) + seconds*20/8
				if through < limit*9/10 || through > most {
					t.Errorf("%d got through, of a limit of %d; at most %d", through, limit, most)
				}
				if gateways == 1 && through > limit {
					t.Errorf("%d got through one gateway, of a limit of %d", through, limit)
				}
			})
		})
	}
}

// TestUsersElsewhere: what was used up at one gateway is used up at the other, but for other users.
func TestUsersElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 2, Rate{PerSecond: 10, Burst: 30})
		take := func(i int, user string) func() time.Duration {
			return func() time.Duration { return c.gateways[i].Take(user, time.Now()) }
		}
		if n := allowed(100, take(0, "alice")); n != 30 {
			t.Fatalf("%d", n)
		}
		time.Sleep(Interval)
		synctest.Wait()
		if n := allowed(100, take(1, "alice")); n != 0 {
			t.Errorf("%d more at the other gateway", n)
		}
		if n := allowed(100, take(1, "bob")); n != 30 {
			t.Errorf("another user: %d", n)
		}
	})
}

// TestUsersUntold: nothing is told of those who use little, and nothing at all where there is one gateway.
func TestUsersUntold(t *testing.T) {
	for _, gateways := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			c := newCluster(t, gateways, Rate{PerSecond: 80})
			for range 5 {
				for range 9 {
					c.gateways[0].Take("alice", time.Now())
				}
				time.Sleep(Interval)
				synctest.Wait()
			}
			if n := c.told(); n != 0 {
				t.Errorf("%d gateways: told %d times", gateways, n)
			}
			for range 10 {
				c.gateways[0].Take("alice", time.Now())
			}
			time.Sleep(Interval)
			synctest.Wait()
			if n := c.told(); n != gateways-1 {
				t.Errorf("%d gateways: told %d times of an eighth", gateways, n)
			}
		})
	}
}

// TestUsersMany: a message between gateways has a bound.
func TestUsersMany(t *testing.T) {
	u, other := NewUsers(Rate{PerSecond: 1, Burst: 3}), NewUsers(Rate{PerSecond: 1, Burst: 3})
	now := time.Now()
	for i := range 1000 {
		u.Take(fmt.Sprint(i), now)
		u.Take(fmt.Sprint(i), now)
	}
	bodies := 0
	u.share("a", 2, func(body []byte) {
		bodies++
		if err := other.Shared("b", body, now); err != nil {
			t.Fatal(err)
		}
	})
	if bodies != 4 {
		t.Errorf("%d messages", bodies)
	}
	for i := range 1000 {
		if n := allowed(3, func() time.Duration { return other.Take(fmt.Sprint(i), now) }); n != 1 {
			t.Fatalf("user %d: %d left", i, n)
		}
	}
	if used := u.usedHere(0); len(used) != 0 {
		t.Errorf("told twice: %v", maps.Keys(used))
	}
}

func TestSharedRefuses(t *testing.T) {
	u := NewUsers(Rate{PerSecond: 1, Burst: 3})
	now := time.Now()
	for _, body := range []string{``, `[]`, `{}`, `{"used":{"alice":3}}`, `{"from":"b","used":{"alice":"3"}}`, `{"from":"b","used":{"alice":1.5}}`} {
		if err := u.Shared("a", []byte(body), now); !errors.Is(err, ErrUsage) {
			t.Errorf("%s: %v", body, err)
		}
	}
	for _, body := range []string{`{"from":"b","used":{"alice":-3,"":3}}`, `{"from":"a","used":{"alice":3}}`} {
		if err := u.Shared("a", []byte(body), now); err != nil {
			t.Error(err)
		}
	}
	if n := allowed(5, func() time.Duration { return u.Take("alice", now) }); n != 3 {
		t.Errorf("%d", n)
	}
	if err := u.Shared("a", []byte(`{"from":"b","used":{"alice":9000000000000000000}}`), now); err != nil {
		t.Fatal(err)
	}
	if wait := u.Take("alice", now); wait > 10*time.Second {
		t.Errorf("one message shuts a user out for %v", wait)
	}
}

func FuzzShared(f *testing.F) {
	f.Add([]byte(`{"from":"b","used":{"alice":3,"bob":1}}`))
	f.Add([]byte(`{"from":"b","used":null}`))
	u := NewUsers(Rate{PerSecond: 10})
	f.Fuzz(func(t *testing.T, body []byte) { _ = u.Shared("a", body, time.Now()) })
}
