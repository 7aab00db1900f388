package gateway

import (
	"strconv"

	"github.com/jetwire/jetwire/gateway/session"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams/events"
)

// Where webhooks are told of connections, each client that has connected keeps its events.Connection among what is rare.

var _ session.Observer = (*webhooks)(nil)

func (w *webhooks) Connected(c session.Conn, id, user, device, client string) {
	c.(member).base().extra().told.Store(w.events.Connected(id, user, device, client))
}

func (w *webhooks) Subscribed(c session.Conn, channel string) {
	if t := told(c); t != nil {
		t.Subscribed(channel)
	}
}

func (w *webhooks) Unsubscribed(c session.Conn, channel string) {
	if t := told(c); t != nil {
		t.Unsubscribed(channel)
	}
}

// told returns nil for a client that nobody observes, or that has gone.
func told(c session.Conn) *events.Connection {
	if r := c.(member).base().rare.Load(); r != nil {
		return r.told.Load()
	}
	return nil
}

// leave tells that the client has gone.
func (r *rare) leave(code wire.Code) {
	if t := r.told.Load(); t != nil {
		t.Disconnected(int(code), reason(code))
	}
}

// abnormal is what RFC 6455 calls a connection that ended without a close frame.
const abnormal wire.Code = 1006

// reason is the code's name; empty for one that only the client knows.
func reason(code wire.Code) string {
	name := code.String()
	switch {
	case code == abnormal:
		return "connection_lost"
	case name == strconv.Itoa(int(code)):
		return ""
	}
	return name
}

// connections are those that are open, with what they are subscribed to.
func (w *webhooks) connections(yield func(*events.Connection, []string) bool) {
	if !w.g.everywhere.serving.Load() {
		return
	}
	for _, cl := range w.g.clients() {
		t := told(cl)
		if t == nil {
			continue
		}
		var channels []string
		subs, _ := cl.session.Subscriptions()
		for _, sub := range subs {
			channels = append(channels, sub.Channel)
		}
		if !yield(t, channels) {
			return
		}
	}
}
