package session

import (
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

// gate is an Authorizer that is asked about the namespace `asked`, and answers when the broker does: yes, but to asked.no… and asked.later….
type gate struct {
	b *scripted

	mu    sync.Mutex
	asked []Question
	known map[string]bool // by channel
}

var _ Authorizer = (*gate)(nil)

func (g *gate) Known(_ string, _ auth.Op, channel string) (bool, *wire.Error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	allowed, known := g.known[channel]
	switch {
	case known && !allowed:
		return true, wire.PermissionDenied.With("as before")
	case known:
		return true, nil
	}
	return wire.Namespace(channel) != "asked", nil
}

func (g *gate) Ask(q Question, done func(*wire.Error)) {
	q.Data = slices.Clone(q.Data)
	g.mu.Lock()
	g.asked = append(g.asked, q)
	g.mu.Unlock()
	g.b.answer(func() {
		switch {
		case strings.HasPrefix(q.Channel, "asked.no"):
			done(wire.PermissionDenied.With("no"))
		case strings.HasPrefix(q.Channel, "asked.later"):
			done(wire.Unavailable.With("later"))
		default:
			done(nil)
		}
	})
}

// TestAsked: what is asked about each command, and what becomes of it.
func TestAsked(t *testing.T) {
	n := connected(t, "alice")
	session := n.s.ID()
	for _, c := range []struct {
		command, answer string
		asked           Question
	}{
		{`"publish":{"channel":"asked.a","data":{"n":1}}`, `{"id":1,"publish":{…`, Question{Op: auth.Publish, Channel: "asked.a", Data: []byte(`{"n":1}`)}},
		{`"publish":{"channel":"asked.a","data":"/w==","encoding":"base64"}`, `{"id":1,"publish":{…`, Question{Op: auth.Publish, Channel: "asked.a", Data: []byte(`"/w=="`), Encoding: wire.Base64}},
		{`"subscribe":{"channel":"asked.*"}`, `{"id":1,"subscribe":{…`, Question{Op: auth.Subscribe, Channel: "asked.*"}},
		{`"history":{"channel":"asked.a"}`, `{"id":1,"history":{…`, Question{Op: auth.History, Channel: "asked.a"}},
		{`"presence":{"channel":"asked.no"}`, `{"id":1,"error":{"code":"permission_denied","message":"no"}}`, Question{Op: auth.Presence, Channel: "asked.no"}},
		{`"command":{"destination":"asked.a","data":1}`, `{"id":1,"command":{…`, Question{Op: auth.Command, Channel: "asked.a", Data: []byte(`1`)}},
		{`"call":{"destination":"asked.a","data":"hi","encoding":"text"}`, `{"id":1,"call":{…`, Question{Op: auth.Call, Channel: "asked.a", Data: []byte(`"hi"`), Encoding: wire.Text}},
		{`"publish":{"channel":"asked.no","data":1}`, `{"id":1,"error":{"code":"permission_denied","message":"no"}}`, Question{Op: auth.Publish, Channel: "asked.no", Data: []byte(`1`)}},
		{`"call":{"destination":"asked.later","data":1}`, `{"id":1,"error":{"code":"unavailable","message":"later"}}`, Question{Op: auth.Call, Channel: "asked.later", Data: []byte(`1`)}},
		{`"publish":{"channel":"chat.a","data":1}`, `{"id":1,"publish":{…`, Question{}},
		{`"unsubscribe":{"channel":"asked.*"}`, `{"id":1,"unsubscribe":{…`, Question{}},
	} {
		n.gate.asked = nil
		n.receive(`{"id":1,` + c.command + `}`)
		if sent := n.p.take(); len(sent) == 0 || !strings.HasPrefix(sent[0], strings.TrimSuffix(c.answer, "…")) {
			t.Errorf("%s is answered with %q", c.command, sent)
		}
		var want []Question
		if c.asked.Op != 0 {
			c.asked.User, c.asked.Session = "alice", session
			want = append(want, c.asked)
		}
		if !reflect.DeepEqual(n.gate.asked, want) {
			t.Errorf("%s: asked %+v", c.command, n.gate.asked)
		}
	}
	if n.s.aside != nil {
		t.Error("something is kept of the questions")
	}
}

// TestOrderBehindAQuestion: what comes behind a command that is asked about waits for it, whatever it is; in the same message, and in
// others.
func TestOrderBehindAQuestion(t *testing.T) {
	n := connected(t, "alice")
	n.b.held = true
	n.receive(`{"id":1,"publish":{"channel":"asked.a","data":1}}{"id":2,"publish":{"channel":"asked.a","data":2}}{"id":3,"ping":{}}`)
	n.receive(`{"id":4,"publish":{"channel":"asked.no","data":3}}{"id":5,"publish":{"channel":"chat.a","data":4}}`)
	n.receive(`{"id":6,"ping":{}}`)
	n.want()
	if !n.p.isPaused() || len(n.gate.asked) != 1 || len(n.b.seen) != 0 {
		t.Errorf("paused %v, asked %v, published %v", n.p.isPaused(), n.gate.asked, n.b.seen)
	}
	n.b.release()
	n.want(`{"id":1,"publish":…`, `{"id":2,"publish":…`, `{"id":3,"ping":{}}`, `{"id":4,"error":{"code":"permission_denied",…`, `{"id":5,"publish":…`, `{"id":6,"ping":{}}`)
	var bodies []string
	for _, p := range n.b.seen {
		bodies = append(bodies, string(p.Body))
	}
	if !slices.Equal(bodies, []string{"1", "2", "4"}) || n.p.isPaused() {
		t.Errorf("published %v, paused %v", bodies, n.p.isPaused())
	}
}

// TestBodyOutlivesItsFrame: the memory of a frame is used for the next one while a question is under way.
func TestBodyOutlivesItsFrame(t *testing.T) {
	n := connected(t, "alice")
	n.b.held = true
	frame := []byte(`{"id":1,"publish":{"channel":"asked.a","data":"first"}}{"id":2,"publish":{"channel":"chat.a","data":"second"}}`)
	n.s.Receive(true, frame)
	for i := range frame {
		frame[i] = 'x'
	}
	n.b.release()
	n.want(`{"id":1,"publish":…`, `{"id":2,"publish":…`)
	if string(n.b.seen[0].Body) != `"first"` || n.b.seen[0].Channel != "asked.a" || string(n.b.seen[1].Body) != `"second"` {
		t.Errorf("published %q", n.b.seen)
	}
}

// TestRulesComeFirst: nobody is asked about what token or rules do not allow, and they are heeded once more when the answer comes.
func TestRulesComeFirst(t *testing.T) {
	n := connected(t, "brief")
	n.b.rules["asked"] = auth.Rules{auth.Publish: auth.Server}
	n.receive(`{"id":1,"publish":{"channel":"asked.a","data":1}}`)
	n.want(`{"id":1,"error":{"code":"permission_denied","message":"the token or the…`)
	n.gate.known = map[string]bool{"asked.yes": true, "asked.never": false}
	n.b.rules["asked"] = auth.Rules{}
	n.receive(`{"id":2,"publish":{"channel":"asked.yes","data":1}}{"id":3,"publish":{"channel":"asked.never","data":1}}`)
	n.want(`{"id":2,"publish":…`, `{"id":3,"error":{"code":"permission_denied","message":"as before"}}`)
	if len(n.gate.asked) != 0 {
		t.Errorf("asked %+v", n.gate.asked)
	}
	n.b.held = true
	n.receive(`{"id":4,"publish":{"channel":"asked.a","data":1}}`)
	n.now = began.Add(time.Hour)
	n.b.release()
	n.want(`{"id":4,"error":{"code":"expired_token",…`)
}

// TestClosedWhileAsked: nothing is done for a connection that has ended.
func TestClosedWhileAsked(t *testing.T) {
	n := connected(t, "alice")
	n.b.held = true
	n.receive(`{"id":1,"subscribe":{"channel":"asked.a"}}{"id":2,"publish":{"channel":"chat.a","data":1}}`)
	n.s.Closed()
	n.b.release()
	n.want()
	if len(n.b.places) != 0 || len(n.b.seen) != 0 {
		t.Errorf("subscribed %v, published %v", n.b.places, n.b.seen)
	}
}

// TestDeviceIsAskedAbout: so is what a device has subscribed to, and the inbox.
func TestDeviceIsAskedAbout(t *testing.T) {
	n := newBench(t)
	n.opts.MaxSubscriptions = 10
	n.b.record = Record{Found: true, Positions: []Position{{"asked.a", 1, "e1", 3}, {"asked.no", 1, "e1", 4}, {"asked.later", 1, "e1", 5}}}
	n.receive(connectDevice)
	sent := n.p.take()
	if len(sent) != 5 {
		t.Fatalf("sent %q", sent)
	}
	for i, want := range []string{
		`{"id":1,"connect":`, `{"message":{"channel":"asked.a"`,
		`{"unsubscribed":{"channel":"asked.no","code":"permission_denied","message":"no"}}`,
		`{"unsubscribed":{"channel":"asked.later","code":"unavailable","message":"later"}}`, inboxMessage,
	} {
		if !strings.HasPrefix(sent[i], want) {
			t.Errorf("frame %d is %s", i, sent[i])
		}
	}
	if q := n.gate.asked[0]; len(n.gate.asked) != 3 || q.Device != "d1" || q.User != "alice" || q.Op != auth.Subscribe {
		t.Errorf("asked %+v", n.gate.asked)
	}
	if got, want := n.s.Positions(), []Position{{"asked.a", 1, "e1", 3}, {"user.alice", 1, "e1", 7}, {"asked.later", 1, "e1", 5}}; !reflect.DeepEqual(got, want) {
		t.Errorf("the record has %v", got)
	}

	n = newBench(t)
	n.gate.known = map[string]bool{"user.alice": false}
	n.receive(connectDevice)
	if sent := n.p.take(); len(sent) != 1 || !strings.Contains(sent[0], `"restored":[]`) && strings.Contains(sent[0], "user.alice\"") {
		t.Errorf("an inbox that is not allowed: %q", sent)
	}
}

// TestAuthorizedAllocations: an answer that is known costs nothing, nor does an Authorizer that is not asked.
func TestAuthorizedAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	n := connected(t, "alice")
	without := *n.opts
	without.Authorizer = nil
	n.gate.known = map[string]bool{"asked.a": true}
	grant := &auth.Grant{User: "alice"}
	c := wire.Command{Op: wire.OpPublish, Publish: wire.Publish{Channel: "asked.a", Data: []byte(`1`)}}
	for _, o := range []*Options{n.opts, &without} {
		s := New(o, n.p)
		if allocs := testing.AllocsPerRun(100, func() {
			if !s.authorized(&c, grant) {
				t.Fatal("asked")
			}
		}); allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	}
}
