package session

import (
	"slices"
	"testing"

	"github.com/jetwire/jetwire/gateway/wire"
)

// watcher keeps what it is told.
type watcher struct{ told []string }

func (w *watcher) Connected(_ Conn, session, user, device, client string) {
	w.told = append(w.told, "connected "+user+" "+device+" "+client+" "+session)
}
func (w *watcher) Subscribed(_ Conn, channel string) { w.told = append(w.told, "subscribed "+channel) }
func (w *watcher) Unsubscribed(_ Conn, channel string) {
	w.told = append(w.told, "unsubscribed "+channel)
}

func (w *watcher) want(t *testing.T, want ...string) {
	t.Helper()
	if !slices.Equal(w.told, want) {
		t.Errorf("told %q, want %q", w.told, want)
	}
	w.told = nil
}

func watch(t *testing.T) (*bench, *watcher) {
	n, w := newBench(t), &watcher{}
	n.opts.Observer = w
	return n, w
}

func TestObserverIsTold(t *testing.T) {
	n, w := watch(t)
	n.receive(`{"id":1,"subscribe":{"channel":"chat.a"}}`) // in the place of connect
	w.want(t)
	n, w = watch(t)
	n.receive(`{"id":1,"connect":{"token":"alice","client":"app/1"}}{"id":2,"subscribe":{"channel":"chat.a"}}{"id":3,"subscribe":{"channel":"chat.>"}}`)
	n.receive(`{"id":4,"unsubscribe":{"channel":"chat.a"}}{"id":5,"unsubscribe":{"channel":"chat.a"}}{"id":6,"subscribe":{"channel":"closed.a"}}`)
	w.want(t, "connected alice  app/1 "+n.s.ID(), "subscribed chat.a", "subscribed chat.>", "unsubscribed chat.a")
	n.s.Expel("chat.>")
	w.want(t, "unsubscribed chat.>")
	n.b.fails = wire.Unavailable.Err()
	n.receive(`{"id":7,"subscribe":{"channel":"chat.b"}}`)
	n.s.Closed()
	w.want(t)
}

// What is never in place is not told, whoever is faster.
func TestObserverAndWhatIsUnderWay(t *testing.T) {
	n, w := watch(t)
	n.receive(`{"id":1,"connect":{"token":"alice"}}`)
	w.told = nil
	n.b.held = true
	n.receive(`{"id":2,"subscribe":{"channel":"chat.a"}}{"id":3,"unsubscribe":{"channel":"chat.a"}}{"id":4,"subscribe":{"channel":"chat.b"}}`)
	n.s.Closed()
	n.b.release()
	w.want(t)

	n, w = watch(t)
	n.b.held = true
	n.receive(connectDevice)
	n.s.Closed()
	n.b.release()
	w.want(t)
}

func TestObserverOfADevice(t *testing.T) {
	n, w := watch(t)
	n.b.record = Record{Found: true, Positions: []Position{{"chat.a", 2, "e1", 5}}}
	n.receive(connectDevice)
	w.want(t, "connected alice d1  "+n.s.ID(), "subscribed chat.a", "subscribed user.alice")
	n.b.held = true
	n.receive(`{"id":5,"subscribe":{"channel":"chat.b"}}`)
	w.want(t) // not before the record has it
	n.b.release()
	n.receive(`{"id":6,"unsubscribe":{"channel":"chat.b"}}`)
	w.want(t, "subscribed chat.b", "unsubscribed chat.b")
	n.b.fails = wire.Unavailable.Err()
	n.receive(`{"id":7,"subscribe":{"channel":"chat.c"}}`)
	w.want(t)
}
