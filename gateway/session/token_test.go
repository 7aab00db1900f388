package session

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// later is connected with a token that takes its time; what stands behind connect is held.
const connectLater = `{"id":1,"connect":{"token":"later:alice"}}`

const connectReply = `{"id":1,"connect":{"session":…`

func TestTokenThatTakesTime(t *testing.T) {
	n := newBench(t)
	n.b.held = true
	n.receive(connectLater + `{"id":2,"ping":{}}`)
	n.receive(`{"id":3,"ping":{}}{"id":4,"connect":{"token":"alice"}}`)
	n.want()
	if !n.p.isPaused() {
		t.Error("more is read meanwhile")
	}
	n.b.release()
	n.want(connectReply, `{"id":2,"ping":{}}`, `{"id":3,"ping":{}}`, `{"id":4,"error":{"code":"already_connected",…`)
	if n.p.isPaused() || n.s.aside != nil {
		t.Error("nothing is read any more, or something is left")
	}
	n.receive(`{"id":5,"ping":{}}`)
	n.want(`{"id":5,"ping":{}}`)
}

func TestTokenThatTakesTimeIsRefused(t *testing.T) {
	for token, code := range map[string]wire.Code{"later:old": wire.ExpiredToken, "later:forged": wire.BadToken} {
		n := newBench(t)
		n.b.held = true
		n.receive(`{"id":1,"connect":{"token":"` + token + `"}}{"id":2,"ping":{}}`)
		n.b.release()
		n.want(`{"id":1,"error":{"code":"` + code.String() + `",…`)
		n.wantClosed(code)
	}
	n := newBench(t)
	n.b.fails = wire.Unavailable.Err()
	n.receive(connectLater)
	n.want(`{"id":1,"error":{"code":"unavailable",…`)
	n.wantClosed(wire.Unavailable)
}

// The connection may end before its token is checked; then nobody is signed in.
func TestConnectionEndsWhileItsTokenIsChecked(t *testing.T) {
	n := newBench(t)
	n.b.held = true
	n.receive(connectLater + `{"id":2,"ping":{}}`)
	n.s.Closed()
	n.b.release()
	n.want()
	if n.s.grant != nil || n.p.established {
		t.Error("signed in after the end")
	}
}

// A token that takes time, and then a device that does.
func TestTokenAndDevice(t *testing.T) {
	n := newBench(t)
	n.b.held = true
	n.receive(`{"id":1,"connect":{"token":"later:alice","device":"d"}}{"id":2,"ping":{}}`)
	for range 10 {
		n.receive(`{"id":3,"ping":{}}`)
		waiting := n.b.waiting
		n.b.waiting = nil
		for _, f := range waiting {
			f()
		}
	}
	got := n.p.take()
	if len(got) < 12 || !strings.HasPrefix(got[0], `{"id":1,"connect":{"session":`) {
		t.Fatalf("%q", got)
	}
	if n.p.isPaused() || n.s.holdsLocked() || n.b.device == nil {
		t.Error("it does not go on")
	}
}

func TestAnonymous(t *testing.T) {
	n := newBench(t)
	n.opts.Anonymous = true
	n.b.rules["open"] = auth.Rules{auth.Subscribe: auth.Anyone}
	n.receive(`{"id":1,"connect":{}}`)
	sent := n.p.take()
	if len(sent) != 1 || !strings.Contains(sent[0], `"user":"~`) || !n.p.established {
		t.Fatalf("%q", sent)
	}
	if g := n.s.grant; !g.Anonymous || g.Issued != began.UnixMilli() || auth.CheckUser(g.User) == nil {
		t.Errorf("%+v", g)
	}
	n.receive(`{"id":2,"subscribe":{"channel":"open.a"}}`)
	n.want(`{"id":2,"subscribe":{"channel":"open.a",…`, `{"message":…`)
	for _, c := range []string{`"publish":{"channel":"open.a","data":1}`, `"subscribe":{"channel":"chat.a"}`, `"history":{"channel":"open.a"}`, `"subscribe":{"channel":"user.` + n.s.grant.User + `"}`} {
		n.receive(`{"id":3,` + c + `}`)
		n.want(`{"id":3,"error":{"code":"permission_denied",…`)
	}
	n.receive(`{"id":4,"renew":{"token":"alice"}}`)
	n.want(`{"id":4,"error":{"code":"permission_denied",…`)
	other := newBench(t)
	other.opts.Anonymous = true
	other.receive(`{"id":1,"connect":{"device":"d"}}`)
	other.want(`{"id":1,"error":{"code":"unauthenticated",…`)
	other.wantClosed(wire.Unauthenticated)
}

func TestRenew(t *testing.T) {
	for name, later := range map[string]string{"at once": "", "later": "later:"} {
		t.Run(name, func(t *testing.T) {
			n := connected(t, "alice, an hour")
			n.receive(`{"subscribe":{"channel":"chat.a"}}{"subscribe":{"channel":"game.a"}}`)
			n.p.take()
			n.now = began.Add(time.Hour)
			n.s.Beat()
			n.want(`{"expired":{"grace":25}}`)
			n.receive(`{"id":2,"subscribe":{"channel":"chat.b"}}`)
			n.want(`{"id":2,"error":{"code":"expired_token",…`)
			n.b.held = later != ""
			n.receive(`{"id":3,"renew":{"token":"` + later + `alice in chat"}}{"id":4,"subscribe":{"channel":"chat.b"}}`)
			n.receive(`{"id":5,"ping":{}}`)
			n.b.release()
			n.want(`{"id":3,"renew":{}}`, `{"unsubscribed":{"channel":"game.a","code":"permission_denied",…`,
				`{"id":4,"subscribe":{"channel":"chat.b",…`, `{"message":…`, `{"id":5,"ping":{}}`)
			if !n.b.places[1].canceled || n.b.places[0].canceled {
				t.Error("the wrong subscription has ended")
			}
			n.s.Beat()
			n.s.Beat()
			n.want()
			n.wantClosed(0)
		})
	}
}

// A token that is refused leaves the old one in force.
func TestRenewRefused(t *testing.T) {
	for token, code := range map[string]wire.Code{
		"old": wire.ExpiredToken, "forged": wire.BadToken, "brief": wire.PermissionDenied, "later:old": wire.ExpiredToken, "later:brief": wire.PermissionDenied,
	} {
		n := connected(t, "alice")
		n.receive(`{"subscribe":{"channel":"chat.a"}}`)
		n.p.take()
		n.receive(`{"id":2,"renew":{"token":"` + token + `"}}{"id":3,"publish":{"channel":"chat.a","data":1}}`)
		n.want(`{"id":2,"error":{"code":"`+code.String()+`",…`, `{"id":3,"publish":{…`)
		n.wantClosed(0)
		if n.s.grant.User != "alice" || n.b.places[0].canceled {
			t.Errorf("%s changed something", token)
		}
	}
	n := newBench(t)
	n.receive(`{"id":2,"renew":{"token":"alice"}}`)
	n.want(`{"id":2,"error":{"code":"unauthenticated",…`)
	n.wantClosed(wire.Unauthenticated)
}

// A renewal that was held, and takes its time, holds what is behind it in turn.
func TestRenewBehindConnect(t *testing.T) {
	n := newBench(t)
	n.b.held = true
	n.receive(connectLater + `{"id":2,"renew":{"token":"later:alice"}}{"id":3,"renew":{"token":"later:alice, an hour"}}{"id":4,"ping":{}}`)
	n.receive(`{"id":5,"ping":{}}`)
	step := func() {
		waiting := n.b.waiting
		n.b.waiting = nil
		for _, f := range waiting {
			f()
		}
	}
	step()
	n.want(connectReply)
	n.receive(`{"id":6,"ping":{}}`)
	step()
	n.want(`{"id":2,"renew":{}}`)
	if !n.p.isPaused() {
		t.Error("more is read meanwhile")
	}
	n.b.release()
	n.want(`{"id":3,"renew":{"expires":1700003600000}}`, `{"id":4,"ping":{}}`, `{"id":5,"ping":{}}`, `{"id":6,"ping":{}}`)
	if n.p.isPaused() || n.s.aside != nil {
		t.Error("it does not go on")
	}
}

// A subscription that a new token does not allow ends, also while it is being put in place; in a durable session its position stays.
func TestRenewOfADurableSession(t *testing.T) {
	n := newBench(t)
	n.b.record = Record{Found: true, Positions: []Position{{"user.alice", 1, "e1", 5}, {"chat.a", 1, "e1", 3}, {"chat.b", 0, "", 0}}}
	n.opts.MaxSubscriptions = 4
	n.receive(connectDevice)
	n.p.take()
	n.b.held = true
	n.receive(`{"id":2,"subscribe":{"channel":"chat.c","since":1,"epoch":"e1"}}{"id":3,"renew":{"token":"alice in games"}}`)
	n.want(`{"id":3,"renew":{}}`, `{"unsubscribed":{"channel":"chat.a","code":"permission_denied",…`, `{"unsubscribed":{"channel":"chat.b",…`)
	n.b.release()
	got := n.p.take()
	if len(got) == 0 || !strings.HasPrefix(got[len(got)-1], `{"unsubscribed":{"channel":"chat.c","code":"permission_denied"`) {
		t.Errorf("%q", got)
	}
	want := []Position{{"user.alice", 1, "e1", 5}, {"chat.a", 1, "e1", 3}, {"chat.b", 0, "", 0}, {"chat.c", 1, "e1", 1}}
	if got := n.s.Positions(); !reflect.DeepEqual(got, want) {
		t.Errorf("the record becomes %v", got)
	}
	if n.b.device.changed == 0 || n.s.inFlight != 0 {
		t.Errorf("changed %d times, %d in flight", n.b.device.changed, n.s.inFlight)
	}
	// However often that is done, no more is kept than there may be subscriptions.
	for range 3 {
		n.receive(`{"renew":{"token":"alice"}}{"subscribe":{"channel":"a.a"}}{"subscribe":{"channel":"b.a"}}{"subscribe":{"channel":"c.a"}}{"renew":{"token":"alice in games"}}`)
	}
	if got := len(n.s.Positions()); got > 5 {
		t.Errorf("%d positions", got)
	}
}

func TestRevoked(t *testing.T) {
	for _, connect := range []string{`{"id":1,"connect":{"token":"alice"}}`, connectLater, `{"id":1,"connect":{"token":"alice","device":"d"}}`} {
		n := newBench(t)
		n.revoked = "alice"
		n.receive(connect + `{"id":2,"ping":{}}`)
		n.want(`{"id":1,"error":{"code":"revoked",…`)
		n.wantClosed(wire.Revoked)
	}
	n := connected(t, "alice")
	n.s.CheckRevoked()
	n.wantClosed(0)
	n.revoked = "alice"
	n.s.CheckRevoked()
	n.wantClosed(wire.Revoked)
	n.receive(`{"id":2,"ping":{}}`)
	n.want()
	before := newBench(t)
	before.revoked = "alice"
	before.s.CheckRevoked()
	before.wantClosed(0)
}
