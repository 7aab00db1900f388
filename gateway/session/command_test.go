package session

import (
	"bytes"
	"reflect"
	"testing"
	"time"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/wire"
)

var _ Backends = (*scripted)(nil)

func (b *scripted) Command(t Task, done func(wire.TaskReply, error)) {
	t.Body = bytes.Clone(t.Body)
	b.mu.Lock()
	b.tasks = append(b.tasks, t)
	b.mu.Unlock()
	b.answer(func() {
		if b.fails != nil {
			done(wire.TaskReply{}, b.fails)
			return
		}
		done(wire.TaskReply{Destination: t.Destination, Seq: 4, Duplicate: t.ID == "again", Durability: "file"}, nil)
	})
}

// Call answers with the body of the question.
func (b *scripted) Call(c Call, done func(wire.CallReply, error)) {
	c.Body = bytes.Clone(c.Body)
	b.mu.Lock()
	b.called = append(b.called, c)
	b.mu.Unlock()
	b.answer(func() {
		if b.fails != nil {
			done(wire.CallReply{}, b.fails)
			return
		}
		done(wire.CallReply{Destination: c.Destination, Body: c.Body, Encoding: wire.EncodingOf(c.Body)}, nil)
	})
}

func TestCommand(t *testing.T) {
	n := connected(t, "alice")
	n.receive(`{"id":1,"command":{"destination":"billing.refund","data":{"order":1},"id":"r1"}}`)
	n.want(`{"id":1,"command":{"destination":"billing.refund","seq":4,"duplicate":false,"durability":"file"}}`)
	n.receive(`{"id":2,"command":{"destination":"billing.refund","data":"/w==","encoding":"base64","id":"again"}}`)
	n.want(`{"id":2,"command":{"destination":"billing.refund","seq":4,"duplicate":true,"durability":"file"}}`)
	n.receive(`{"command":{"destination":"billing.refund","data":"x"}}`)
	n.want()
	want := []Task{
		{"billing.refund", "r1", "alice", []byte(`{"order":1}`)}, {"billing.refund", "again", "alice", []byte{0xff}}, {"billing.refund", "", "alice", []byte(`"x"`)},
	}
	if !reflect.DeepEqual(n.b.tasks, want) {
		t.Errorf("%+v", n.b.tasks)
	}
	n.receive(`{"id":3,"command":{"destination":"billing.refund","data":"!","encoding":"base64"}}`)
	n.want(`{"id":3,"error":{"code":"bad_request",…`)
	n.b.fails = wire.StoreFull.Err()
	n.receive(`{"id":4,"command":{"destination":"billing.refund","data":1}}`)
	n.want(`{"id":4,"error":{"code":"store_full",…`)
}

func TestCall(t *testing.T) {
	n := connected(t, "alice")
	n.receive(`{"id":1,"call":{"destination":"billing.quote","data":[1],"id":"q","timeout":1.5}}`)
	n.want(`{"id":1,"call":{"destination":"billing.quote","data":[1]}}`)
	n.receive(`{"id":2,"call":{"destination":"billing.quote","data":"hi","encoding":"text"}}`)
	n.want(`{"id":2,"call":{"destination":"billing.quote","data":"hi","encoding":"text"}}`)
	want := []Call{{"billing.quote", "q", "alice", 1500 * time.Millisecond, []byte("[1]")}, {"billing.quote", "", "alice", 0, []byte("hi")}}
	if !reflect.DeepEqual(n.b.called, want) {
		t.Errorf("%+v", n.b.called)
	}
	n.b.fails = &wire.Error{Code: wire.RateLimited, Message: "busy", RetryAfter: 1}
	n.receive(`{"id":3,"call":{"destination":"billing.quote","data":1}}`)
	n.want(`{"id":3,"error":{"code":"rate_limited","message":"busy","retry_after":1}}`)
}

// TestBackendsAreAskedWhatIsAllowed: the rules and the token are asked for each message, and nothing that they refuse goes further.
func TestBackendsAreAskedWhatIsAllowed(t *testing.T) {
	n := connected(t, "brief")
	n.b.rules["closed"] = auth.Rules{auth.Command: auth.Server, auth.Call: auth.Server}
	n.b.rules["half"] = auth.Rules{auth.Command: auth.Own, auth.Call: auth.Granted}
	for _, c := range []struct{ command, answer string }{
		{`"command":{"destination":"closed.x","data":1}`, `{"id":1,"error":{"code":"permission_denied",…`},
		{`"call":{"destination":"closed.x","data":1}`, `{"id":1,"error":{"code":"permission_denied",…`},
		{`"command":{"destination":"half.brief","data":1}`, `{"id":1,"command":{…`},
		{`"command":{"destination":"half.alice","data":1}`, `{"id":1,"error":{"code":"permission_denied",…`},
		{`"call":{"destination":"half.brief","data":1}`, `{"id":1,"error":{"code":"permission_denied",…`},
		{`"command":{"destination":"unruly.x","data":1}`, `{"id":1,"error":{"code":"unknown_namespace",…`},
		{`"call":{"destination":"unruly.x","data":1}`, `{"id":1,"error":{"code":"unknown_namespace",…`},
	} {
		n.receive(`{"id":1,` + c.command + `}`)
		n.want(c.answer)
	}
	n.now = began.Add(time.Hour)
	n.receive(`{"id":1,"command":{"destination":"half.brief","data":1}}{"id":2,"call":{"destination":"billing.x","data":1}}`)
	n.want(`{"id":1,"error":{"code":"expired_token",…`, `{"id":2,"error":{"code":"expired_token",…`)
	if len(n.b.tasks) != 1 || len(n.b.called) != 0 {
		t.Errorf("%+v, %+v", n.b.tasks, n.b.called)
	}
}

// TestBackendsCountAsInFlight: what waits for a backend is bounded as everything that a connection waits for.
func TestBackendsCountAsInFlight(t *testing.T) {
	n := connected(t, "alice")
	n.b.held = true
	n.receive(`{"id":1,"command":{"destination":"a.b","data":1}}{"id":2,"call":{"destination":"a.b","data":1}}{"id":3,"call":{"destination":"a.b","data":1}}`)
	if n.p.isPaused() {
		t.Fatal("paused too early")
	}
	n.receive(`{"id":4,"call":{"destination":"a.b","data":1}}`)
	if !n.p.isPaused() {
		t.Fatal("not paused")
	}
	n.b.release()
	if n.p.isPaused() || len(n.p.take()) != 4 {
		t.Fatal("it does not go on")
	}
}
