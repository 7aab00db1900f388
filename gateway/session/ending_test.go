package session

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// ruled calls a function when the rules of a channel are asked for: that is in the midst of a command.
type ruled struct {
	*scripted
	on func(channel string)
}

func (r ruled) Rules(channel string) (auth.Rules, error) {
	r.on(channel)
	return r.scripted.Rules(channel)
}

// The connection may end while what its device is subscribed to is being restored, or what was held is being done: another goroutine
// does that.
func TestConnectionEndsWhileItIsRestored(t *testing.T) {
	record := []Position{{"chat.a", 1, "e1", 3}, {"chat.b", 1, "e1", 4}, {"user.alice", 1, "e1", 5}}
	for _, at := range []string{"chat.a", "chat.b", "user.alice", "chat.held"} {
		n := newBench(t)
		n.opts.MaxSubscriptions = 9
		n.opts.Broker = ruled{n.b, func(channel string) {
			if channel == at {
				n.s.Closed()
			}
		}}
		n.b.record = Record{Found: true, Positions: record}
		n.b.held = true
		n.receive(connectDevice + `{"id":2,"subscribe":{"channel":"chat.held"}}{"id":3,"subscribe":{"channel":"chat.held","qos":0}}`)
		n.b.release()
		for _, p := range n.b.places {
			if !p.canceled {
				t.Errorf("ended at %s: %s outlives the session", at, p.asked.Channel)
			}
		}
		got := n.s.Positions()
		slices.SortFunc(got, func(a, b Position) int { return strings.Compare(a.Channel, b.Channel) })
		if !reflect.DeepEqual(got, record) {
			t.Errorf("ended at %s: the record becomes %v", at, got)
		}
	}
}

// A subscription at QoS 0 that could not be stored is not there.
func TestLossySubscriptionCannotBeStored(t *testing.T) {
	n := newBench(t)
	n.receive(connectDevice)
	n.p.take()
	n.b.fails = wire.Unavailable.Err()
	n.receive(`{"id":2,"subscribe":{"channel":"chat.a","qos":0}}`)
	n.want(`{"id":2,"error":{"code":"unavailable",…`)
	n.b.fails = nil
	n.receive(`{"id":3,"unsubscribe":{"channel":"chat.a"}}`)
	n.want(`{"id":3,"error":{"code":"not_subscribed",…`)
	n.receive(`{"id":4,"subscribe":{"channel":"chat.a","qos":0}}`)
	n.want(`{"id":4,"subscribe":{"channel":"chat.a",…`, message)
	if n.s.inFlight != 0 {
		t.Errorf("%d in flight", n.s.inFlight)
	}
	// With an unsubscribe that waits for it, both are answered.
	n.receive(`{"unsubscribe":{"channel":"chat.a"}}`)
	n.b.held = true
	n.receive(`{"id":5,"subscribe":{"channel":"chat.a","qos":0}}{"id":6,"unsubscribe":{"channel":"chat.a"}}`)
	n.b.fails = wire.Unavailable.Err()
	first := n.b.waiting[0]
	n.b.waiting = nil
	first()
	n.b.fails = nil
	n.b.release()
	n.want(`{"id":5,"error":{"code":"unavailable",…`, `{"id":6,"unsubscribe":{"channel":"chat.a"}}`)
	if n.s.inFlight != 0 {
		t.Errorf("%d in flight", n.s.inFlight)
	}
}

// What was unsubscribed while it was being restored does not stay in the record because that failed.
func TestUnsubscribedWhileRestoringFails(t *testing.T) {
	n := newBench(t)
	n.b.record = Record{Found: true, Positions: []Position{{"user.alice", 1, "e1", 5}, {"chat.a", 1, "e1", 3}}}
	n.b.held = true
	n.receive(connectDevice + `{"id":2,"unsubscribe":{"channel":"chat.a"}}`)
	taken := n.b.waiting[0]
	n.b.waiting = nil
	taken()
	n.b.fails = wire.Unavailable.Err()
	restoring := n.b.waiting
	n.b.waiting = nil
	for _, f := range restoring {
		f()
	}
	n.b.fails = nil
	n.b.release()
	n.want(durableReply, `{"unsubscribed":{"channel":"user.alice",…`, `{"id":2,"unsubscribe":{"channel":"chat.a"}}`)
	if want := []Position{{"user.alice", 1, "e1", 5}}; !reflect.DeepEqual(n.b.device.record, want) {
		t.Errorf("stored %v", n.b.device.record)
	}
}

// A position that waits in the record for better times survives an attempt to subscribe that fails, too.
func TestFailedSubscribeKeepsThePosition(t *testing.T) {
	for _, c := range []string{`"channel":"chat.a"`, `"channel":"chat.a","qos":0`} {
		n := newBench(t)
		known := []Position{{"user.alice", 1, "e1", 5}, {"chat.a", 1, "e1", 3}}
		n.b.record = Record{Found: true, Positions: known}
		n.b.held = true
		n.receive(connectDevice)
		taken := n.b.waiting[0]
		n.b.waiting = nil
		taken()
		n.b.waiting[0]()
		n.b.fails = wire.Unavailable.Err()
		n.b.waiting[1]()
		n.b.waiting, n.b.held = nil, false
		n.receive(`{"id":2,"subscribe":{` + c + `}}`)
		n.p.take()
		if got := n.s.Positions(); !reflect.DeepEqual(got, known) {
			t.Errorf("%s: the record becomes %v", c, got)
		}
		n.b.fails = nil
		n.receive(`{"id":3,"subscribe":{` + c + `}}{"id":4,"unsubscribe":{"channel":"chat.a"}}`)
		if got := n.s.Positions(); !reflect.DeepEqual(got, known[:1]) {
			t.Errorf("%s: the record becomes %v", c, got)
		}
	}
}

// Nothing more is read while what was held is being done: that happens on the goroutine of all devices.
func TestHeldCommandsDoNotLetMoreCome(t *testing.T) {
	n := newBench(t)
	n.opts.MaxInFlight = 1
	reading := false
	n.opts.Broker = ruled{n.b, func(channel string) {
		if channel == "chat.last" {
			reading = !n.p.isPaused()
		}
	}}
	n.b.held = true
	publish := `{"publish":{"channel":"chat.a","data":1}}`
	n.receive(connectDevice + publish + publish + `{"publish":{"channel":"chat.last","data":1}}`)
	n.b.release() // publishes are answered at once: two are never under way
	if reading {
		t.Error("more is read")
	}
	if n.p.isPaused() {
		t.Error("nothing is read any more")
	}
}
