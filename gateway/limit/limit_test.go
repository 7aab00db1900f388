package limit

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// allowed counts how many of n are taken now.
func allowed(n int, take func() time.Duration) (taken int) {
	for range n {
		if take() == 0 {
			taken++
		}
	}
	return taken
}

func TestCommands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCommands(Rate{PerSecond: 4, Burst: 6})
		take := func() time.Duration {
			wait, over := c.Take(time.Now())
			if over {
				t.Fatal("over")
			}
			return wait
		}
		if n := allowed(10, take); n != 6 {
			t.Errorf("a burst of %d", n)
		}
		if c.Idle(time.Now()) {
			t.Error("idle within its burst")
		}
		wait := take()
		if wait != 250*time.Millisecond {
			t.Errorf("wait %v", wait)
		}
		time.Sleep(wait)
		if n := allowed(2, take); n != 1 {
			t.Errorf("%d after the wait that was told", n)
		}
		time.Sleep(10 * time.Second)
		if !c.Idle(time.Now()) {
			t.Error("not idle")
		}
		if n := allowed(8, take); n != 6 {
			t.Errorf("a burst of %d after a rest", n)
		}
	})
}

// TestPatience: who sends a little too much is refused for ever, and who sends eleven times as much and more is given up.
func TestPatience(t *testing.T) {
	run := func(perSecond int) (over bool) {
		synctest.Test(t, func(t *testing.T) {
			c := NewCommands(Rate{PerSecond: 10})
			for range 60 * perSecond {
				_, now := c.Take(time.Now())
				over = over || now
				time.Sleep(time.Second / time.Duration(perSecond))
			}
		})
		return over
	}
	if run(100) {
		t.Error("ten times as much is over")
	}
	if !run(200) {
		t.Error("twenty times as much is not over")
	}
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		rate  Rate
		burst int
	}{{Rate{PerSecond: 0.1}, 1}, {Rate{PerSecond: 1.5}, 2}, {Rate{PerSecond: 100}, 100}, {Rate{PerSecond: 100, Burst: 7}, 7}, {Rate{PerSecond: 1e300}, 1<<31 - 1}} {
		if n := c.rate.burst(); n != c.burst || !c.rate.On() {
			t.Errorf("%+v: %d", c.rate, n)
		}
	}
	if (Rate{Burst: 5}).On() {
		t.Error("no rate is a limit")
	}
	slow := Rate{PerSecond: 1e-9}.limiter()
	if take(slow, time.Now()) != 0 || take(slow, time.Now()) != longest {
		t.Error("a wait without bound")
	}
}

func TestAddresses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAddresses(Rate{PerSecond: 1, Burst: 3})
		from := func(addr string) func() time.Duration {
			return func() time.Duration { return a.Take(netip.MustParseAddr(addr), time.Now()) }
		}
		for _, c := range []struct {
			addr string
			want int
		}{
			{"192.0.2.1", 3}, {"192.0.2.2", 3}, {"::ffff:192.0.2.1", 0},
			{"2001:db8:0:1::1", 3}, {"2001:db8:0:1:ffff::2", 0}, {"2001:db8:0:2::1", 3}, {"fe80::1%eth0", 3}, {"fe80::2%eth1", 0},
		} {
			if n := allowed(5, from(c.addr)); n != c.want {
				t.Errorf("%s: %d of 5", c.addr, n)
			}
		}
		if n := allowed(5, func() time.Duration { return a.Take(netip.Addr{}, time.Now()) }); n != 5 {
			t.Errorf("an unknown address: %d of 5", n)
		}
		time.Sleep(time.Minute)
		if n := allowed(1, from("192.0.2.1")); n != 1 {
			t.Errorf("after a rest: %d", n)
		}
		a.Distrust(netip.MustParseAddr("192.0.2.1"), time.Now()) // 2 left, 4 more
		if wait := from("192.0.2.1")(); wait != 3*time.Second {
			t.Errorf("after a bad token: %v", wait)
		}
	})
}

func TestTableForgets(t *testing.T) {
	made := 0
	table := newTable(2, func(k string) (string, int) { made++; return k, made })
	for _, c := range []struct {
		key  string
		want int
	}{{"a", 1}, {"b", 2}, {"a", 1}, {"c", 3}, {"a", 1}, {"b", 4}} {
		if v := table.get(c.key); v != c.want {
			t.Errorf("%s: %d, want %d", c.key, v, c.want)
		}
	}
}

func TestAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	now := time.Now()
	fast := Rate{PerSecond: 1e9}
	c, a, u := NewCommands(fast), NewAddresses(fast), NewUsers(fast)
	addr := netip.MustParseAddr("2001:db8::1")
	a.Take(addr, now)
	u.Take("alice", now)
	if n := testing.AllocsPerRun(100, func() {
		c.Take(now)
		a.Take(addr, now)
		u.Take("alice", now)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCommands(b *testing.B) {
	c := NewCommands(Rate{PerSecond: 1e9})
	for b.Loop() {
		c.Take(time.Now())
	}
}

func BenchmarkUsers(b *testing.B) {
	u := NewUsers(Rate{PerSecond: 1e9})
	for b.Loop() {
		u.Take("alice", time.Now())
	}
}
