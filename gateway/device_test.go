package gateway_test

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

// device connects a device and returns what its session has.
func (g *running) device(user, device string) (*raw, *wire.Durable) {
	g.t.Helper()
	r := g.open()
	r.send(`{"id":1,"connect":{"token":"` + sign(g.t, auth.Grant{User: user, Patterns: &auth.Patterns{auth.Publish: []string{">"}}}) + `","device":"` + device + `"}}`)
	in := r.next()
	if in.Kind != wire.KindConnect || in.Connect.Durable == nil || in.Connect.Durable.Device != device {
		g.t.Fatalf("connect: %+v", in)
	}
	r.nextID = 1
	return r, in.Connect.Durable
}

func channelsOf(d *wire.Durable) (names []string) {
	for _, r := range d.Restored {
		names = append(names, r.Channel)
	}
	slices.Sort(names)
	return names
}

// messages reads n messages, whatever their order over the channels, and returns "channel data" of each, sorted by channel.
func (r *raw) messages(n int) (got []string) {
	r.t.Helper()
	for range n {
		m := r.message()
		got = append(got, m.Channel+" "+string(m.Body))
	}
	slices.SortStableFunc(got, func(a, b string) int {
		x, _, _ := strings.Cut(a, " ")
		y, _, _ := strings.Cut(b, " ")
		return strings.Compare(x, y)
	})
	return got
}

// quiet checks that nothing more has come: not before the answer to a ping.
func (r *raw) quiet() {
	r.t.Helper()
	r.must("ping", ``)
	if len(r.queued) > 0 {
		r.t.Fatalf("more came: %+v", r.queued[0])
	}
}

func (r *raw) ack(channel string, seq uint64) {
	r.t.Helper()
	r.must("ack", fmt.Sprintf(`"channel":%q,"seq":%d`, channel, seq))
}

func TestDeviceGetsWhatItMissed(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, change)
		bob, _ := g.device("bob", "desk")
		alice, d := g.device("alice", "phone")
		if d.Resumed || !slices.Equal(channelsOf(d), []string{"user.alice"}) {
			t.Fatalf("a new device: %+v", d)
		}
		alice.must("subscribe", `"channel":"chat.a","qos":2`)
		alice.must("subscribe", `"channel":"chat.b","qos":1`)
		alice.must("subscribe", `"channel":"chat.left"`)
		alice.must("unsubscribe", `"channel":"chat.left"`)
		first := bob.publish("chat.a", `1`)
		bob.publish("chat.b", `2`)
		if got := alice.messages(2); !slices.Equal(got, []string{"chat.a 1", "chat.b 2"}) {
			t.Fatalf("%q", got)
		}
		alice.ack("chat.a", first)
		_ = alice.conn.Close()
		for _, m := range []string{"chat.a 3", "user.alice 4", "chat.b 5", "chat.left 6", "chat.a 7"} {
			channel, data, _ := strings.Cut(m, " ")
			bob.publish(channel, data)
		}
		alice, d = g.device("alice", "phone")
		if !d.Resumed || !slices.Equal(channelsOf(d), []string{"chat.a", "chat.b", "user.alice"}) {
			t.Fatalf("the device is back: %+v", d)
		}
		// What was acknowledged does not come again, the rest does.
		if got := alice.messages(5); !slices.Equal(got, []string{"chat.a 3", "chat.a 7", "chat.b 2", "chat.b 5", "user.alice 4"}) {
			t.Fatalf("%q", got)
		}
		alice.refused(wire.AlreadySubscribed, "subscribe", `"channel":"chat.a"`)
		bob.publish("chat.a", `8`)
		if got := alice.messages(1); got[0] != "chat.a 8" {
			t.Fatalf("%q", got)
		}
		// Another device has positions of its own.
		tablet, d := g.device("alice", "tablet")
		if d.Resumed || len(d.Restored) != 1 {
			t.Fatalf("%+v", d)
		}
		tablet.quiet()
		alice.quiet()
	})
}

func TestDeviceOutlivesGatewaysAndServers(t *testing.T) {
	ns := natstest.Run(t)
	one, two := start(t, ns, nil), start(t, ns, nil)
	bob, _ := two.device("bob", "desk")
	alice, _ := one.device("alice", "phone")
	alice.must("subscribe", `"channel":"chat.a","qos":2`)
	seq := bob.publish("chat.a", `1`)
	alice.messages(1)
	alice.ack("chat.a", seq)
	if err := one.Close(); err != nil {
		t.Fatal(err)
	}
	bob.publish("chat.a", `2`)
	alice, d := two.device("alice", "phone")
	if got := alice.messages(1); !d.Resumed || got[0] != "chat.a 2" {
		t.Fatalf("%+v %q", d, got)
	}
	alice.quiet()
}

func TestDeviceIsTakenOver(t *testing.T) {
	ns := natstest.Run(t)
	one, two := start(t, ns, nil), start(t, ns, nil)
	bob, _ := one.device("bob", "desk")
	old, _ := one.device("alice", "phone")
	old.must("subscribe", `"channel":"chat.a","qos":1`)
	for i, g := range []*running{one, two, one} {
		seq := bob.publish("chat.a", fmt.Sprint(i))
		if got := old.messages(1); got[0] != fmt.Sprintf("chat.a %d", i) {
			t.Fatalf("%q", got)
		}
		old.must("ping", ``)
		next, d := g.device("alice", "phone")
		if !d.Resumed || !slices.Equal(channelsOf(d), []string{"chat.a", "user.alice"}) {
			t.Fatalf("taken over: %+v", d)
		}
		if code := old.closes(); code != wire.TakenOver {
			t.Fatalf("closed with %v", code)
		}
		if got := next.messages(1); got[0] != fmt.Sprintf("chat.a %d", i) {
			t.Fatalf("not acknowledged, and not sent again: %q", got)
		}
		next.ack("chat.a", seq)
		// Written behind; the next one must not be sent it again.
		next.must("subscribe", fmt.Sprintf(`"channel":"chat.x%d"`, i))
		next.must("unsubscribe", fmt.Sprintf(`"channel":"chat.x%d"`, i))
		old = next
	}
	if one.metric("jetwire_device_takeovers_total")+two.metric("jetwire_device_takeovers_total") != 3 {
		t.Error("takeovers are not counted")
	}
}

func TestUnacknowledgedIsSentAgain(t *testing.T) {
	g := start(t, natstest.Run(t), func(o *gateway.Options) { o.Limits.AckWait, o.Limits.Unacked = 200*time.Millisecond, 3 })
	bob, _ := g.device("bob", "desk")
	alice, d := g.device("alice", "phone")
	if d.AckWait != 0.2 || d.MaxUnacked != 3 {
		t.Fatalf("%+v", d)
	}
	alice.must("subscribe", `"channel":"chat.a"`)
	var last uint64
	for i := range 5 {
		last = bob.publish("chat.a", fmt.Sprint(i))
	}
	want := []string{"chat.a 0", "chat.a 1", "chat.a 2"}
	for range 2 { // as they come, and once more after the wait
		if got := alice.messages(3); !slices.Equal(got, want) {
			t.Fatalf("%q", got)
		}
	}
	alice.ack("chat.a", last-2)
	if got := alice.messages(2); !slices.Equal(got, []string{"chat.a 3", "chat.a 4"}) {
		t.Fatalf("%q", got)
	}
	alice.refused(wire.AckBehind, "ack", fmt.Sprintf(`"channel":"chat.a","seq":%d`, last-3))
	alice.refused(wire.AckAhead, "ack", fmt.Sprintf(`"channel":"chat.a","seq":%d`, last+1))
	alice.refused(wire.WrongEpoch, "ack", fmt.Sprintf(`"channel":"chat.a","epoch":"x","seq":%d`, last))
	alice.refused(wire.NotSubscribed, "ack", `"channel":"chat.b","seq":1`)
	alice.ack("chat.a", last)
	if n := g.metric("jetwire_redeliveries_total"); n < 1 {
		t.Errorf("%v redeliveries", n)
	}
}

func TestPatternSubscription(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, change)
		bob := g.signIn("bob")
		before := bob.publish("orders.1.status", `"before"`)
		bob.hold("orders.1.status", before)
		alice := g.signIn("alice")
		at := alice.must("subscribe", `"channel":"orders.*.status"`).Subscribe
		if at.Seq != before {
			t.Fatalf("%+v", at)
		}
		alice.must("subscribe", `"channel":"orders.2.status"`)
		prev := at.Seq
		for _, c := range []string{"orders.1.status", "orders.1.price", "orders.2.status", "orders.2.status.x", "orders.3.status"} {
			seq := bob.publish(c, `1`)
			switch {
			case !wire.Match("orders.*.status", c):
				continue
			case c == "orders.2.status":
				if m := alice.message(); m.Pattern != "" || m.Channel != c || m.Seq != seq {
					t.Fatalf("%+v", m)
				}
			}
			if m := alice.message(); m.Pattern != "orders.*.status" || m.Channel != c || m.Seq != seq || m.Prev != prev {
				t.Fatalf("%+v, want %d after %d", m, seq, prev)
			}
			prev = seq
		}
		alice.must("ack", fmt.Sprintf(`"channel":"orders.*.status","seq":%d`, prev))
		alice.must("unsubscribe", `"channel":"orders.*.status"`)
		bob.publish("orders.1.status", `2`)
		alice.quiet()
		// From a position: everything that matches, joined to what is published meanwhile.
		alice.must("subscribe", fmt.Sprintf(`"channel":"orders.>","since":%d,"epoch":%q`, before, at.Epoch))
		bob.publish("orders.9", `3`)
		prev = before
		for i := range 7 {
			m := alice.message()
			if m.Pattern != "orders.>" || m.Seq != before+1+uint64(i) || m.Prev != prev {
				t.Fatalf("%d: %+v", i, m)
			}
			prev = m.Seq
		}
	})
}

func TestPatternNeedsPermission(t *testing.T) {
	g := start(t, natstest.Run(t), nil)
	r := g.open()
	r.send(`{"id":1,"connect":{"token":"` + sign(t, auth.Grant{User: "alice", Patterns: &auth.Patterns{auth.Subscribe: []string{"chat.*", "user.alice"}}}) + `"}}`)
	r.next()
	r.nextID = 1
	r.must("subscribe", `"channel":"chat.*"`)
	for _, c := range []string{"chat.>", "chat.*.x", "user.*", "orders.*"} {
		r.refused(wire.PermissionDenied, "subscribe", `"channel":"`+c+`"`)
	}
	r.refused(wire.BadChannel, "subscribe", `"channel":"*.a"`)
	r.refused(wire.BadChannel, "publish", `"channel":"chat.*","data":1`)
	r.refused(wire.BadChannel, "history", `"channel":"chat.*"`)
}

// A socket that takes no more is closed where its namespace asks for that, and nowhere else.
func TestSlowSocketsByNamespace(t *testing.T) {
	g := start(t, natstest.Run(t), func(o *gateway.Options) {
		o.CloseSlow, o.Limits.QueueBytes = map[string]bool{"strict": true}, 16<<10
	})
	const closes = `jetwire_closes_total{code="slow_consumer"}`
	bob := g.signIn("bob")
	body := `"` + strings.Repeat("x", 32<<10) + `"`
	for _, ns := range []string{"chat", "strict"} {
		alice := g.signIn("alice")
		_ = alice.conn.(*net.TCPConn).SetReadBuffer(64 << 10)
		alice.must("subscribe", `"channel":"`+ns+`.a"`)
		behind := g.metric("jetwire_slow_sockets_total")
		eventually(t, "the socket to be full", func() bool {
			for range 20 {
				bob.publish(ns+".a", body)
			}
			return g.metric("jetwire_slow_sockets_total") > behind
		})
		if ns == "strict" {
			eventually(t, "the socket to be closed", func() bool { return g.metric(closes) == 1 })
			continue
		}
		for range 3 {
			bob.publish(ns+".a", body)
		}
		prev := uint64(0)
		for last := bob.publish(ns+".a", `"last"`); prev < last; {
			m := alice.message()
			if m.Prev != prev {
				t.Fatalf("%d follows %d", m.Seq, prev)
			}
			prev = m.Seq
		}
		if g.metric(closes) != 0 {
			t.Error("a slow socket was closed")
		}
		_ = alice.conn.Close()
	}
}
