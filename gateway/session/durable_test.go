package session

import (
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/gateway/wire"
)

const durableReply = `{"id":1,"connect":{"session":…` // to connectDevice

const connectDevice = `{"id":1,"connect":{"token":"alice","device":"d1"}}`

func restoredAs(t *testing.T, frame, want string) {
	t.Helper()
	if _, rest, ok := strings.Cut(frame, `"durable":`); !ok || rest != want+"}}" {
		t.Fatalf("connect was answered with %s\nwant durable: %s", frame, want)
	}
}

const inboxMessage = `{"message":{"channel":"user.alice","seq":8,"prev":7,"data":1}}`

func TestNewDevice(t *testing.T) {
	n := newBench(t)
	n.receive(connectDevice)
	sent := n.p.take()
	if len(sent) != 2 || sent[1] != inboxMessage {
		t.Fatalf("sent %q", sent)
	}
	restoredAs(t, sent[0], `{"device":"d1","resumed":false,"restored":[{"channel":"user.alice","qos":1,"epoch":"e1","since":7}],"ack_wait":30,"max_unacked":256}`)
	d := n.b.device
	if d.user != "alice" || d.id != "d1" || !strings.Contains(sent[0], d.session) {
		t.Errorf("%+v", d)
	}
	if want := []Position{{"user.alice", 1, "e1", 7}}; !reflect.DeepEqual(d.record, want) {
		t.Errorf("the inbox was let go before it was stored: %v", d.record)
	}
	if n.p.isPaused() || !n.p.established {
		t.Error("nothing is read from the connection")
	}
}

func TestKnownDeviceIsRestored(t *testing.T) {
	n := newBench(t)
	n.b.record = Record{Found: true, Positions: []Position{
		{"user.alice", 1, "e1", 3}, {"chat.a", 2, "e0", 5}, {"chat.typing", 0, "", 0}, {"closed.a", 1, "e1", 9}, {"chat.d", 1, "e1", 1},
	}}
	n.receive(connectDevice)
	sent := n.p.take()
	restoredAs(t, sent[0], `{"device":"d1","resumed":true,"restored":[{"channel":"user.alice","qos":1,"epoch":"e1","since":3},`+
		`{"channel":"chat.a","qos":2,"epoch":"e0","since":5},{"channel":"chat.typing","qos":0}],"ack_wait":30,"max_unacked":256}`)
	if len(sent) != 4 {
		t.Errorf("sent %q", sent)
	}
	var asked []Request
	for _, p := range n.b.places {
		asked = append(asked, p.asked)
	}
	if want := []Request{
		{wire.Subscribe{Channel: "user.alice", QoS: 1, Since: 3, Resume: true, Epoch: "e1"}, true, false},
		{wire.Subscribe{Channel: "chat.a", QoS: 2, Since: 5, Resume: true, Epoch: "e0"}, true, false},
		{wire.Subscribe{Channel: "chat.typing"}, false, false},
	}; !reflect.DeepEqual(asked, want) {
		t.Errorf("asked for %v\nwant %v", asked, want)
	}
	// What the token does not allow, and what is over the limit, is not restored, but stays in the record.
	n.receive(`{"id":2,"ack":{"channel":"user.alice","seq":8}}{"id":3,"unsubscribe":{"channel":"chat.a"}}`)
	n.want(`{"id":2,"ack":{"channel":"user.alice","seq":8}}`, `{"id":3,"unsubscribe":{"channel":"chat.a"}}`)
	if want := []Position{{"user.alice", 1, "e1", 8}, {"chat.typing", 0, "", 0}, {"closed.a", 1, "e1", 9}, {"chat.d", 1, "e1", 1}}; !reflect.DeepEqual(n.b.device.record, want) {
		t.Errorf("stored %v", n.b.device.record)
	}
	// Subscribed to anew, a position that was parked is the connection's again.
	n.receive(`{"id":4,"subscribe":{"channel":"chat.d"}}`)
	if n.p.take(); len(n.b.device.record) != 4 || n.b.device.record[2] != (Position{"chat.d", 1, "e1", 7}) {
		t.Errorf("stored %v", n.b.device.record)
	}
	n.s.Closed()
	if !n.b.device.released || len(n.s.Positions()) != 4 {
		t.Error("the record's last state is lost with the connection")
	}
}

func TestCommandsBehindConnectWait(t *testing.T) {
	n := newBench(t)
	n.b.held = true
	n.receive(connectDevice + `{"id":2,"ping":{}}`)
	n.receive(`{"id":3,"publish":{"channel":"chat.a","data":1}}{"id":4,"connect":{"token":"alice"}}`)
	n.want()
	if !n.p.isPaused() {
		t.Error("more is read while the device is being taken")
	}
	n.b.release()
	n.want(durableReply, inboxMessage, `{"id":2,"ping":{}}`, `{"id":3,"publish":…`, `{"id":4,"error":{"code":"already_connected",…`)
	if n.p.isPaused() {
		t.Error("nothing is read any more")
	}
}

func TestDeviceCannotBeTaken(t *testing.T) {
	n := newBench(t)
	n.b.fails = wire.Unavailable.Err()
	n.receive(connectDevice + `{"id":2,"ping":{}}`)
	n.want(`{"id":1,"error":{"code":"unavailable",…`)
	n.wantClosed(wire.Unavailable)
	n.s.Closed()

	n = newBench(t)
	n.b.held = true
	n.b.record = Record{Found: true, Positions: []Position{{"chat.a", 1, "e1", 3}}}
	n.receive(connectDevice)
	n.s.Closed()
	n.b.release()
	if n.want(); !n.b.device.released || !reflect.DeepEqual(n.s.Positions(), n.b.record.Positions) {
		t.Errorf("a device is held for a connection that has ended, or its record lost: %v", n.s.Positions())
	}
}

func TestDurableSubscribeIsStoredBeforeItIsAnswered(t *testing.T) {
	n := newBench(t)
	n.receive(connectDevice)
	n.p.take()
	for _, qos := range []string{`"qos":1`, `"qos":0`} {
		n.b.held = true
		n.receive(`{"id":5,"subscribe":{"channel":"chat.a",` + qos + `}}`)
		stored := n.b.device.stored
		for len(n.b.waiting) > 0 && n.b.device.stored == stored {
			n.want()
			next := n.b.waiting[0]
			n.b.waiting = n.b.waiting[1:]
			next()
			n.s.Drained() // must not let messages come before the answer
		}
		n.b.release()
		n.want(`{"id":5,"subscribe":{"channel":"chat.a","epoch":"e1","seq":7,`+qos+`}}`, message)
		n.receive(`{"id":6,"unsubscribe":{"channel":"chat.a"}}`)
		n.want(`{"id":6,"unsubscribe":{"channel":"chat.a"}}`)
		if len(n.b.device.record) != 1 {
			t.Errorf("stored %v", n.b.device.record)
		}
	}
	n.b.fails = wire.Unavailable.Err()
	n.receive(`{"id":7,"subscribe":{"channel":"chat.a"}}`)
	n.want(`{"id":7,"error":{"code":"unavailable",…`)
	n.b.fails = nil
	n.receive(`{"id":8,"subscribe":{"channel":"chat.a"}}`)
	n.want(`{"id":8,"subscribe":{"channel":"chat.a",…`, message)
}

func TestDurableAcks(t *testing.T) {
	n := newBench(t)
	n.receive(connectDevice + `{"subscribe":{"channel":"chat.a","qos":2}}{"subscribe":{"channel":"chat.b"}}`)
	n.p.take()
	d := n.b.device
	stored := d.stored
	n.receive(`{"id":2,"ack":{"channel":"chat.b","seq":8}}`)
	n.want(`{"id":2,"ack":{"channel":"chat.b","seq":8}}`)
	if d.changed != 1 || d.stored != stored {
		t.Errorf("at QoS 1: %+v", d)
	}
	n.b.held = true
	n.receive(`{"id":3,"ack":{"channel":"chat.a","seq":8}}`)
	n.want()
	n.b.release()
	n.want(`{"id":3,"ack":{"channel":"chat.a","seq":8}}`)
	if want := []Position{{"user.alice", 1, "e1", 7}, {"chat.a", 2, "e1", 8}, {"chat.b", 1, "e1", 8}}; !reflect.DeepEqual(d.record, want) {
		t.Errorf("stored %v", d.record)
	}
	n.b.fails = wire.Timeout.Err()
	n.receive(`{"id":4,"ack":{"channel":"chat.a","seq":9}}{"id":5,"ack":{"channel":"chat.a","seq":100}}`)
	n.want(`{"id":4,"error":{"code":"timeout",…`, `{"id":5,"error":{"code":"ack_ahead",…`)
}

func TestTakenOver(t *testing.T) {
	n := newBench(t)
	n.receive(connectDevice)
	n.p.take()
	n.b.device.holder.TakenOver()
	n.wantClosed(wire.TakenOver)
	n.receive(`{"id":2,"ping":{}}`)
	n.want()
}

func TestRestoreFails(t *testing.T) {
	for code, stays := range map[wire.Code]bool{wire.Unavailable: true, wire.UnknownNamespace: false} {
		n := newBench(t)
		n.b.record = Record{Found: true, Positions: []Position{{"user.alice", 1, "e1", 3}}}
		n.b.held = true
		n.receive(connectDevice)
		taken := n.b.waiting[0]
		n.b.waiting = nil
		taken() // and the subscription is asked for
		n.b.fails = code.Err()
		n.b.release()
		n.want(durableReply, fmt.Sprintf(`{"unsubscribed":{"channel":"user.alice","code":%q,…`, code))
		if got := len(n.s.Positions()) == 1; got != stays {
			t.Errorf("%v: in the record afterwards: %v", code, got)
		}
		n.wantClosed(0)
	}
}

func TestNoInboxForOddNames(t *testing.T) {
	n := newBench(t)
	n.receive(`{"id":1,"connect":{"token":"narrow","device":"d"}}`)
	sent := n.p.take()
	if len(sent) != 1 || len(n.b.places) != 0 {
		t.Fatalf("a token without the inbox got it: %q", sent)
	}
	restoredAs(t, sent[0], `{"device":"d","resumed":false,"restored":[],"ack_wait":30,"max_unacked":256}`)
}
