package session

import (
	"reflect"
	"testing"

	"github.com/jetwire/jetwire/gateway/wire"
)

const expelled = `{"unsubscribed":{"channel":"chat.a","code":"disconnected",…`

func TestIDOfASession(t *testing.T) {
	n := newBench(t)
	n.opts.Gateway = "g1"
	if id := n.s.ID(); id != "g1-z" {
		t.Errorf("the id of connection 35 is %s", id)
	}
	for id, ok := range map[string]bool{"g1-z": true, "g1-": false, "g1": false, "g2-z": false, "g1--1": false, "": false} {
		if serial, ours := n.opts.Serial(id); ours != ok || ok && serial != 35 {
			t.Errorf("%s: %d %v", id, serial, ours)
		}
	}
}

func TestWhatASessionTells(t *testing.T) {
	n := newBench(t)
	if n.s.User() != "" {
		t.Error("somebody has connected")
	}
	n.receive(connectDevice)
	n.receive(`{"subscribe":{"channel":"chat.a","qos":0}}`)
	list, device := n.s.Subscriptions()
	if want := []Subscribed{{"user.alice", wire.AtLeastOnce}, {"chat.a", wire.AtMostOnce}}; n.s.User() != "alice" || device != "d1" || !reflect.DeepEqual(list, want) {
		t.Errorf("%s, %s, %v", n.s.User(), device, list)
	}
}

func TestDisconnect(t *testing.T) {
	n := connected(t, "alice")
	n.s.Disconnect(false)
	n.want()
	n.wantClosed(wire.Disconnected)
	n = connected(t, "alice")
	n.s.Disconnect(true)
	n.want(`{"reconnect":{"after":0,"reason":"draining"}}`)
	n.wantClosed(wire.Draining)
}

func TestExpel(t *testing.T) {
	n := connected(t, "alice")
	if n.s.Expel("chat.a") {
		t.Error("expelled from where nobody is")
	}
	n.want()
	n.receive(`{"subscribe":{"channel":"chat.a"}}`)
	n.p.take()
	if !n.s.Expel("chat.a") || n.s.Expel("chat.a") || !n.b.places[0].canceled {
		t.Error("it is still subscribed")
	}
	n.want(expelled)
	n.receive(`{"id":1,"unsubscribe":{"channel":"chat.a"}}`)
	n.want(`{"id":1,"error":{"code":"not_subscribed",…`)
}

// The client is told once nothing more can come.
func TestExpelWhileItIsBeingPutInPlace(t *testing.T) {
	n := connected(t, "alice")
	n.b.held = true
	n.receive(`{"id":1,"subscribe":{"channel":"chat.a"}}`)
	if !n.s.Expel("chat.a") {
		t.Error("it was not found")
	}
	n.want()
	n.b.release()
	if !n.b.places[0].canceled {
		t.Error("it is still subscribed")
	}
	sent := n.p.take()
	if len(sent) == 0 || sent[len(sent)-1][:len(`{"unsubscribed"`)] != `{"unsubscribed"` || n.s.inFlight != 0 {
		t.Errorf("sent %q, %d in flight", sent, n.s.inFlight)
	}
}

// What the token does not allow now stays in a device's record, until a backend ends that, too.
func TestExpelFromTheRecord(t *testing.T) {
	n := newBench(t)
	n.b.record = Record{Found: true, Positions: []Position{{"closed.a", 1, "e1", 9}}}
	n.receive(connectDevice)
	n.p.take()
	if !n.s.Expel("closed.a") || n.s.Expel("closed.a") {
		t.Error("it is not in the record, or stays there")
	}
	if ps := n.s.Positions(); len(ps) != 1 || ps[0].Channel != "user.alice" {
		t.Errorf("%v", ps)
	}
	n.want()
}

// A durable subscription is answered when the record has it. Who has lost it meanwhile hears that behind the answer: before, it would
// take itself for subscribed.
func TestExpelWhileItIsBeingStored(t *testing.T) {
	for name, expel := range map[string]func(n *bench){
		"by a backend":   func(n *bench) { n.s.Expel("chat.a") },
		"by a new token": func(n *bench) { n.receive(`{"renew":{"token":"alice in games"}}`) },
	} {
		t.Run(name, func(t *testing.T) {
			n := newBench(t)
			n.receive(connectDevice)
			n.p.take()
			n.b.held = true
			n.receive(`{"id":2,"subscribe":{"channel":"chat.a","qos":1}}`)
			waiting := n.b.waiting
			n.b.waiting = nil
			for _, f := range waiting { // it is in place, and waits for the record
				f()
			}
			expel(n)
			n.want()
			n.b.release()
			n.want(`{"id":2,"subscribe":{"channel":"chat.a",…`, `{"unsubscribed":{"channel":"chat.a",…`)
			if places := n.b.places; !places[len(places)-1].canceled || n.s.inFlight != 0 {
				t.Errorf("it goes on, or %d are in flight", n.s.inFlight)
			}
		})
	}
}
