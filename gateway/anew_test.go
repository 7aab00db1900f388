package gateway_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/natstest"
)

func TestPositionOfAnotherEpoch(t *testing.T) {
	g := start(t, natstest.Run(t), nil)
	alice, bob := g.signIn("alice"), g.signIn("bob")
	for range 3 {
		alice.hold("chat.a", alice.publish("chat.a", `1`))
	}
	sub := bob.must("subscribe", `"channel":"chat.a","since":2,"epoch":"other"`).Subscribe
	if in := bob.next(); in.Kind != wire.KindGap || in.Gap != (wire.Gap{Channel: "chat.a", Epoch: sub.Epoch, Reason: wire.GapEpoch}) {
		t.Fatalf("%+v", in)
	}
	for seq := range uint64(3) {
		if m := bob.message(); m.Seq != seq+1 || m.Prev != seq {
			t.Errorf("%+v", m)
		}
	}
	bob.refused(wire.WrongEpoch, "ack", `"channel":"chat.a","seq":1,"epoch":"other"`)
	bob.must("ack", `"channel":"chat.a","seq":1,"epoch":"`+sub.Epoch+`"`)
	bob.refused(wire.WrongEpoch, "history", `"channel":"chat.a","since":2,"epoch":"other"`)
	page := bob.must("history", `"channel":"chat.a","limit":1`).History
	if page.Next == "" {
		t.Fatalf("%+v", page)
	}
	bob.refused(wire.BadRequest, "history", `"channel":"chat.a","cursor":"rubbish"`)
	bob.refused(wire.WrongEpoch, "history", `"channel":"chat.a","cursor":"x`+page.Next+`"`)
}

func TestStreamMadeAnew(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, change)
		alice, bob := g.signIn("alice"), g.signIn("bob")
		for range 3 {
			alice.publish("chat.a", `"old"`)
		}
		old := bob.must("subscribe", `"channel":"chat.a","since":0`).Subscribe
		for range 3 {
			bob.message()
		}
		bob.must("ack", `"channel":"chat.a","seq":3`)
		page := bob.must("history", `"channel":"chat.a","limit":1`).History
		js, err := jetstream.New(ns.Conn())
		if err != nil {
			t.Fatal(err)
		}
		if err := js.DeleteStream(t.Context(), "JW_chat"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the stream to be there again", func() bool { return g.metric("jetwire_stream_resets_total") > 0 })
		seq := alice.publish("chat.a", `"new"`)
		in := bob.next()
		if in.Kind != wire.KindGap || in.Gap.Reason != wire.GapEpoch || in.Gap.Epoch == old.Epoch || in.Gap.To != 0 {
			t.Fatalf("%+v", in)
		}
		if m := bob.message(); m.Seq != seq || m.Seq != 1 || m.Prev != 0 {
			t.Errorf("%+v", m)
		}
		bob.refused(wire.WrongEpoch, "ack", `"channel":"chat.a","seq":1,"epoch":"`+old.Epoch+`"`)
		bob.must("ack", `"channel":"chat.a","seq":1`)
		bob.refused(wire.WrongEpoch, "history", `"channel":"chat.a","cursor":"`+page.Next+`"`)
	})
}

// While NATS is away publishes are refused at once, or answered by their deadline; sockets stay; then everything goes on.
func TestNATSRestarts(t *testing.T) {
	onBoth(t, func(t *testing.T, ns *natstest.Server, change func(*gateway.Options)) {
		g := start(t, ns, func(o *gateway.Options) {
			change(o)
			o.Streams.Default = &streams.Policy{}
			o.Streams.PublishTimeout = time.Second
		})
		alice, late := g.signIn("alice"), g.signIn("late")
		box, zero := &inbox{}, uint64(0)
		bob := g.dial("bob")
		o := box.options()
		o.Since = &zero
		if _, err := bob.Subscribe(t.Context(), "chat.a", o); err != nil {
			t.Fatal(err)
		}
		told := &published{told: map[uint64]string{}}
		n, unknown := 0, 0
		publish := func() (code wire.Code) {
			t.Helper()
			n++
			body := fmt.Sprint(n)
			began := time.Now()
			in := alice.ask("publish", `"channel":"chat.a","data":`+body+`,"id":"m`+body+`"`)
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("a publish took %v", took)
			}
			if in.Kind == wire.KindError {
				return in.Error.Code
			}
			if err := told.add(in.Publish.Seq, body); err != nil {
				t.Error(err)
			}
			return 0
		}
		for round := range 2 {
			for range 50 {
				if code := publish(); code != 0 {
					t.Fatal(code)
				}
			}
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				ns.Shutdown()
			}()
			for code := publish(); code != wire.Unavailable; code = publish() { // at some time it says so, and then at once
				if code == wire.Timeout {
					unknown++
				} else if code != 0 {
					t.Fatal(code)
				}
			}
			<-stopped
			for inARow := 0; inARow < 20; inARow++ { // until the gateway has noticed, the outcome of some is unknown
				switch code := publish(); code {
				case wire.Unavailable:
				case wire.Timeout:
					unknown, inARow = unknown+1, 0
				default:
					t.Fatalf("NATS is away: %v", code)
				}
			}
			if status, _ := g.get("/readyz"); status != 503 {
				t.Errorf("ready without NATS: %d", status)
			}
			if status, _ := g.get("/healthz"); status != 200 {
				t.Errorf("not healthy without NATS: %d", status)
			}
			alice.must("ping", ``)
			if round == 0 { // it reads the log as soon as that is there
				late.must("subscribe", `"channel":"chat.a","since":0`)
			}
			ns.Restart()
			eventually(t, "the gateway to be ready", func() bool { status, _ := g.get("/readyz"); return status == 200 })
			eventually(t, "a publish to succeed", func() bool { return publish() == 0 })
		}
		for range 50 {
			if code := publish(); code != 0 {
				t.Fatal(code)
			}
		}
		last := alice.publish("chat.a", `"the last"`)
		if err := told.add(last, `"the last"`); err != nil {
			t.Error(err)
		}
		eventually(t, "the last message", func() bool {
			box.mu.Lock()
			defer box.mu.Unlock()
			return len(box.got) > 0 && box.got[len(box.got)-1].Seq == last
		})
		// Those whose outcome stayed unknown may be there or not.
		box.mu.Lock()
		got := box.got
		box.mu.Unlock()
		if extra := len(got) - len(told.told); extra < 0 || extra > unknown {
			var missing []uint64
			for seq := range told.told {
				if !slices.ContainsFunc(got, func(m client.Message) bool { return m.Seq == seq }) {
					missing = append(missing, seq)
				}
			}
			slices.Sort(missing)
			t.Fatalf("got %d messages, %d were acknowledged and %d are unknown; missing are %v, gaps %+v", len(got), len(told.told), unknown, missing, box.gaps)
		}
		for i, m := range got {
			if i > 0 && m.Seq <= got[i-1].Seq {
				t.Fatalf("%d after %d", m.Seq, got[i-1].Seq)
			}
			if want, ok := told.told[m.Seq]; ok && want != string(m.Body) {
				t.Fatalf("%s at %d, want %s", m.Body, m.Seq, want)
			}
			if l := late.message(); l.Seq != m.Seq {
				t.Fatalf("late got %d, want %d", l.Seq, m.Seq)
			}
		}
		if st := bob.Stats(); st.Connects != 1 || st.Gaps != 0 || errors.Is(bob.LastError(), client.ErrNotConnected) {
			t.Errorf("%+v", st)
		}
	})
}
