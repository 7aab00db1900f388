package session

import (
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func withLogger(o *Options) *Options {
	o.Logger = slog.New(slog.DiscardHandler)
	return o
}

func TestAck(t *testing.T) {
	type step struct{ ack, answer string }
	ok := func(seq int) string { return fmt.Sprintf(`{"id":1,"ack":{"channel":"chat.a","seq":%d}}`, seq) }
	refused := func(code wire.Code) string { return fmt.Sprintf(`{"id":1,"error":{"code":%q,…`, code) }
	n := connected(t, "alice")
	n.receive(`{"id":9,"subscribe":{"channel":"chat.a"}}`)
	n.p.take()
	for _, s := range []step{
		{`"seq":8`, ok(8)}, {`"seq":9,"epoch":"e1"`, ok(9)}, {`"seq":100`, refused(wire.AckAhead)}, {`"seq":9,"epoch":"e0"`, refused(wire.WrongEpoch)},
	} {
		n.receive(`{"id":1,"ack":{"channel":"chat.a",` + s.ack + `}}`)
		n.want(s.answer)
	}
	n = connected(t, "alice")
	n.receive(`{"id":1,"ack":{"channel":"chat.a","seq":1}}`)
	n.want(refused(wire.NotSubscribed))
	n.b.held = true
	n.receive(`{"id":1,"subscribe":{"channel":"chat.a"}}{"id":1,"ack":{"channel":"chat.a","seq":1}}`)
	n.want(refused(wire.NotSubscribed))
	n.b.release()
}

func TestTokenExpiresInMidLife(t *testing.T) {
	n := connected(t, "brief")
	n.receive(`{"subscribe":{"channel":"chat.a"}}`)
	n.p.take()
	n.s.Beat()
	n.want()
	n.now = began.Add(time.Hour)
	for _, c := range []string{`"subscribe":{"channel":"chat.b"}`, `"publish":{"channel":"chat.a","data":1}`, `"history":{"channel":"chat.a"}`} {
		n.receive(`{"id":1,` + c + `}`)
		n.want(`{"id":1,"error":{"code":"expired_token",…`)
	}
	// What needs no permission goes on, and so does the subscription.
	n.receive(`{"id":1,"ack":{"channel":"chat.a","seq":7}}{"id":2,"ping":{}}`)
	n.want(`{"id":1,"ack":{"channel":"chat.a","seq":7}}`, `{"id":2,"ping":{}}`)
	n.wantClosed(0)
	n.s.Beat()
	n.want(`{"expired":{"grace":25}}`)
	n.wantClosed(0)
	n.s.Beat()
	n.want()
	n.wantClosed(wire.ExpiredToken)
}

func TestBeatBeforeConnect(t *testing.T) {
	n := newBench(t)
	n.s.Beat()
	n.want()
	n.wantClosed(0)
}

func TestDrain(t *testing.T) {
	n := connected(t, "alice")
	n.s.Drain(1500 * time.Millisecond)
	n.want(`{"reconnect":{"after":1.5,"reason":"draining"}}`)
	n.wantClosed(wire.Draining)
}

func TestDrainedAndClosedReachSubscriptions(t *testing.T) {
	n := connected(t, "alice")
	n.receive(`{"subscribe":{"channel":"chat.a"}}{"subscribe":{"channel":"chat.b"}}`)
	n.b.held = true
	n.receive(`{"subscribe":{"channel":"chat.c"}}`) // not in place yet
	n.s.Drained()
	a := n.b.places[0]
	if a.drained != 2 { // once when it came: the connection may have drained before
		t.Errorf("told %d times", a.drained)
	}
	n.s.Closed()
	n.b.release()
	for _, p := range n.b.places {
		if !p.canceled {
			t.Errorf("%s goes on after the end", p.asked.Channel)
		}
	}
	if len(n.b.places) != 3 {
		t.Error(len(n.b.places))
	}
	n.s.Closed()
	n.s.Drained()
}

func TestCommandsBehindTheEnd(t *testing.T) {
	n := connected(t, "alice")
	n.s.Closed()
	n.receive(`{"id":1,"subscribe":{"channel":"chat.a"}}{"id":2,"subscribe":{"channel":"chat.b"}}`)
	for _, p := range n.b.places {
		if !p.canceled {
			t.Errorf("%s goes on after the end", p.asked.Channel)
		}
	}
}

// What broke: a frame that began with a command before connect was refused and closed, and yet what followed in it was
// carried out.
func TestNothingIsDoneBehindAClose(t *testing.T) {
	n := newBench(t)
	n.receive(`{"id":1,"ping":{}}{"id":2,"connect":{"token":"alice"}}{"id":3,"publish":{"channel":"chat.a","data":1}}`)
	if n.p.closed() != wire.Unauthenticated || len(n.b.seen) != 0 {
		t.Errorf("closed with %v, published %v", n.p.closed(), n.b.seen)
	}
}

// What is unsubscribed while it is being put in place is answered behind it, and nothing comes behind that answer.
func TestUnsubscribeBeforeInPlace(t *testing.T) {
	n := connected(t, "alice")
	n.b.held = true
	n.receive(`{"id":1,"subscribe":{"channel":"chat.a"}}{"id":2,"unsubscribe":{"channel":"chat.a"}}{"id":3,"unsubscribe":{"channel":"chat.a"}}{"id":4,"subscribe":{"channel":"chat.a"}}`)
	n.want(`{"id":3,"error":{"code":"not_subscribed",…`)
	n.b.release()
	n.want(`{"id":1,"subscribe":{…`, message, `{"id":2,"unsubscribe":{"channel":"chat.a"}}`, `{"id":4,"subscribe":{…`, message)
	if first, second := n.b.places[0], n.b.places[1]; !first.canceled || second.canceled {
		t.Errorf("canceled: %v and %v", first.canceled, second.canceled)
	}
	n.b.held, n.b.fails = true, wire.Timeout.Err()
	n.receive(`{"unsubscribe":{"channel":"chat.a"}}{"id":5,"subscribe":{"channel":"chat.a"}}{"id":6,"unsubscribe":{"channel":"chat.a"}}`)
	n.b.release()
	n.want(`{"id":5,"error":{"code":"timeout",…`, `{"id":6,"unsubscribe":{"channel":"chat.a"}}`)
	if n.s.inFlight != 0 || n.p.isPaused() {
		t.Errorf("%d in flight, paused %v", n.s.inFlight, n.p.isPaused())
	}
}

func TestInFlightLimitPausesReading(t *testing.T) {
	n := connected(t, "alice")
	n.b.held = true
	publish := func(id int) string { return fmt.Sprintf(`{"id":%d,"publish":{"channel":"chat.a","data":1}}`, id) }
	for id := 1; id < 4; id++ {
		n.receive(publish(id))
	}
	if n.p.isPaused() {
		t.Fatal("paused too early")
	}
	n.receive(publish(4) + publish(5)) // what was read already is still done
	if !n.p.isPaused() {
		t.Fatal("not paused")
	}
	n.b.waiting[0]()
	if !n.p.isPaused() {
		t.Fatal("not paused with as many as may wait")
	}
	n.b.waiting[1]()
	if n.p.isPaused() {
		t.Fatal("still paused")
	}
	n.b.waiting = n.b.waiting[2:]
	n.b.release()
	if sent := n.p.take(); len(sent) != 5 {
		t.Errorf("%q", sent)
	}
}

// An answer that came while reading was being paused once resumed it before it was paused: it stopped for ever, with
// nothing in flight.
func TestAnswerWhileReadingIsPaused(t *testing.T) {
	n := connected(t, "alice")
	n.b.held = true
	answered := make(chan struct{})
	n.p.pausing = func() {
		waiting := n.b.waiting // three: the fourth pauses
		go func() {
			defer close(answered)
			for _, answer := range waiting {
				answer()
			}
		}()
		select { // it may have to wait until the pause is done
		case <-answered:
		case <-time.After(50 * time.Millisecond):
		}
	}
	n.receive(strings.Repeat(`{"publish":{"channel":"chat.a","data":1}}`, 4))
	<-answered
	n.b.held = false
	for _, answer := range n.b.waiting[3:] { // the fourth came to wait after the pause
		answer()
	}
	if n.p.isPaused() || n.s.inFlight != 0 {
		t.Fatalf("paused %v with %d in flight", n.p.isPaused(), n.s.inFlight)
	}
}

func TestCloseReasonFits(t *testing.T) {
	if got := clip(strings.Repeat("é", 100)); len(got) != 122 || !strings.HasSuffix(got, "é") {
		t.Errorf("%d bytes, %q", len(got), got)
	}
	n := connected(t, "alice")
	n.receive(strings.Repeat("x", 500))
	n.wantClosed(wire.BadRequest)
	if len(n.p.reason) > 123 {
		t.Errorf("%d bytes", len(n.p.reason))
	}
}
