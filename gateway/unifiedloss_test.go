package gateway_test

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestUnifiedOfflineReceiver(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g, other := start(t, ns, unifiedOn(t, change)), start(t, ns, unifiedOn(t, change))
		// What is sent between the token and the socket waits, also for one who has never been there.
		g.post(`{"toUniqueId":"alice","content":"before the token"}`)
		u := g.socketURL("alice", "app", "")
		g.post(`{"toUniqueId":"alice","content":1}`)
		alice := g.speakerAt(u)
		first := alice.hear()
		if string(first.Content) == `"before the token"` { // the tail was behind
			first = alice.hear()
		}
		if string(first.Content) != "1" {
			t.Fatalf("%+v", first)
		}
		alice.quiet()
		alice.quiet()
		_ = alice.conn.Close()
		for i := range 5 {
			g.post(fmt.Sprintf(`{"toUniqueId":"alice","content":%d}`, i+2))
			g.post(fmt.Sprintf(`{"toClientType":"h5","content":"not for app %d"}`, i))
			g.post(fmt.Sprintf(`{"toClientType":"app","content":"all %d"}`, i))
		}
		alice = other.speaker("alice", "app", "")
		var inbox, cast []string
		for len(inbox)+len(cast) < 10 {
			m := alice.hear()
			if m.MessageID == first.MessageID {
				continue // what the other gateway knows may not have been stored yet
			}
			if m.ToUniqueID == "alice" {
				inbox = append(inbox, string(m.Content))
			} else {
				cast = append(cast, string(m.Content))
			}
		}
		if fmt.Sprint(inbox) != "[2 3 4 5 6]" || fmt.Sprint(cast) != `["all 0" "all 1" "all 2" "all 3" "all 4"]` {
			t.Errorf("%v %v", inbox, cast)
		}
		alice.quiet()
	})
}

func TestUnifiedPongIsLost(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) {
		o.Limits.PingInterval, o.Limits.AckWait = 300*time.Millisecond, 50*time.Millisecond
	}))
	alice := g.speaker("alice", "app", "")
	alice.quiet()
	g.post(`{"toUniqueId":"alice","content":1}`)
	var texts, pings int
	for pings < 2 {
		f, err := ws.ReadFrame(alice.both)
		if err != nil {
			t.Fatal(err)
		}
		pong := ws.NewPongFrame(nil) // of no ping that asks for an ack
		switch {
		case f.Header.OpCode == ws.OpText:
			texts++
		case f.Header.OpCode == ws.OpPing && len(f.Payload) == 8:
			if pings++; pings == 2 {
				pong = ws.NewPongFrame(f.Payload)
			}
		}
		if err := ws.WriteFrame(alice.conn, ws.MaskFrame(pong)); err != nil {
			t.Fatal(err)
		}
	}
	if texts != 1 || g.metric("jetwire_redeliveries_total") == 0 {
		t.Errorf("the message came %d times; %v redeliveries", texts, g.metric("jetwire_redeliveries_total"))
	}
	alice.quiet()
	alice = g.speaker("alice", "app", "")
	alice.quiet()
}

func (g *running) silence() (addr string, begin func()) {
	g.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		g.t.Fatal(err)
	}
	silent, done := make(chan struct{}), make(chan struct{})
	pass := func(to, from net.Conn) {
		buf := make([]byte, 4<<10)
		for {
			n, err := from.Read(buf)
			select {
			case <-silent:
				<-done
				return
			default:
			}
			if _, werr := to.Write(buf[:n]); err != nil || werr != nil {
				return
			}
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		near, err := l.Accept()
		if err != nil {
			return
		}
		far, err := net.Dial("tcp", g.addr)
		if err != nil {
			return
		}
		back := make(chan struct{})
		go func() { defer close(back); pass(near, far) }()
		pass(far, near)
		<-done
		_, _ = near.Close(), far.Close()
		<-back
	}()
	g.t.Cleanup(func() { close(done); _ = l.Close(); <-ended })
	return l.Addr().String(), func() { close(silent) }
}

func TestUnifiedSilentDeath(t *testing.T) {
	onBothUnified(t, func(t *testing.T, g *running) {
		addr, die := g.silence()
		u := g.socketURL("alice", "app", "")
		alice := g.speakerAt(strings.Replace(u, g.addr, addr, 1))
		alice.quiet()
		g.post(`{"toUniqueId":"alice","content":1}`)
		alice.hears(" 1")
		alice.quiet() // it has read the ping that came behind,
		alice.quiet() // and the server its pong
		die()
		before := g.metric("jetwire_deliveries_total")
		for i := range 20 {
			g.post(fmt.Sprintf(`{"toUniqueId":"alice","content":%d}`, i+2))
		}
		eventually(t, "the socket to have taken it all", func() bool { return g.metric("jetwire_deliveries_total") == before+20 })
		alice = g.speaker("alice", "app", "")
		for i := range 20 {
			alice.hears(fmt.Sprintf(" %d", i+2))
		}
		alice.quiet()
	})
}

func TestUnifiedDrain(t *testing.T) {
	g := start(t, natstest.Run(t), unifiedOn(t, nil))
	alice := g.speaker("alice", "app", "")
	alice.quiet()
	drained := make(chan error, 1)
	go func() { drained <- g.Drain(t.Context()) }()
	alice.told("RECONNECT", "", `"reason":"draining"`)
	if code := alice.ends(); code != wire.Draining {
		t.Errorf("closed with %v", code)
	}
	_ = alice.conn.Close()
	if err := <-drained; err != nil {
		t.Error(err)
	}
}

func TestUnifiedManyMessagesForOthers(t *testing.T) {
	for _, unacked := range []int{0, 1, 10} {
		t.Run(fmt.Sprintf("unacked=%d", unacked), func(t *testing.T) {
			g := start(t, natstest.Run(t), unifiedOn(t, func(o *gateway.Options) { o.Limits.Unacked = unacked }))
			alice := g.speaker("alice", "app", "&tags=vip")
			alice.quiet()
			bob := g.speaker("bob", "h5", "")
			bob.quiet()
			for i := range 300 {
				g.post(fmt.Sprintf(`{"tags":["gold"],"content":%d}`, i))
			}
			g.post(`{"tags":["vip"],"content":"at last"}`)
			alice.hears(` "at last"`)
			bob.quiet()
		})
	}
}
