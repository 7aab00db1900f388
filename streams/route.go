package streams

import (
	"maps"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/tap"
)

// receiver gets messages, one after the other: nothing of them may be kept. It must not block.
type receiver interface {
	take(m *tap.Message)
	rest() // nothing more has come than what was taken
}

// route leads messages to a receiver, taken off the connection or, where that cannot be, by nats.go.
type route struct {
	mu sync.Mutex // one way may still bring the last messages of a connection when the other brings the first of the next
	to receiver

	touched bool // owned by whoever reads from the connection
}

func (r *route) take(m *tap.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to.take(m)
}

func (r *route) rest() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to.rest()
}

// routes are looked up for each message that comes.
type routes struct {
	mu    sync.Mutex // guards writes
	known atomic.Pointer[map[string]*route]
}

// set leads what has one of the names to a route; nil: not any more.
func (x *routes) set(to *route, names ...string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	next := map[string]*route{}
	if was := x.known.Load(); was != nil {
		maps.Copy(next, *was)
	}
	for _, name := range names {
		if to == nil {
			delete(next, name)
		} else {
			next[name] = to
		}
	}
	x.known.Store(&next)
}

// end leads nothing to anybody any more: no receiver runs when it returns.
func (x *routes) end() {
	x.mu.Lock()
	known := x.known.Swap(&map[string]*route{})
	x.mu.Unlock()
	if known == nil {
		return
	}
	for _, r := range *known { // without x.mu, which a receiver may want
		r.mu.Lock()
		r.to = deaf{} // who reads may have found it already
		r.mu.Unlock()
	}
}

// deaf is a receiver that is not there any more.
type deaf struct{}

func (deaf) take(*tap.Message) {}
func (deaf) rest()             {}

// find returns who gets a message. Names are: an inbox, one with a dot behind it for all below, and a consumer's name.
func (x *routes) find(m *tap.Message) *route {
	known := x.known.Load()
	if known == nil {
		return nil
	}
	if from, to := consumerIn(m.Reply); to > from {
		return (*known)[string(m.Reply[from:to])]
	}
	if len(m.Subject) < len(nats.InboxPrefix) || string(m.Subject[:len(nats.InboxPrefix)]) != nats.InboxPrefix {
		return nil
	}
	end := tokenEnd(m.Subject, len(nats.InboxPrefix))
	return (*known)[string(m.Subject[:min(end+1, len(m.Subject))])]
}

// Take takes what has a route.
func (c *conn) Take(m *tap.Message) bool {
	r := c.routes.find(m)
	if r == nil {
		return false
	}
	if !r.touched {
		r.touched = true
		c.touched = append(c.touched, r)
	}
	r.take(m)
	return true
}

// Rest tells all who have taken something.
func (c *conn) Rest() {
	for i, r := range c.touched {
		r.rest()
		r.touched, c.touched[i] = false, nil
	}
	c.touched = c.touched[:0]
}

// inbox is where a receiver listens.
type inbox struct {
	link    *conn
	subject string
	names   []string
	sub     *nats.Subscription
}

// listen has a receiver get what comes to an inbox (or with a dot at its end, to all below it), and what the consumer of that name
// delivers there; empty: there is none.
func (c *conn) listen(subject, consumer string, to receiver) (*inbox, error) {
	r := &route{to: to}
	b := &inbox{link: c, subject: subject, names: []string{subject}}
	if consumer != "" {
		b.names = append(b.names, consumer)
	}
	all := subject
	if strings.HasSuffix(subject, ".") {
		all += ">"
	}
	c.routes.set(r, b.names...)
	sub, err := c.subscribe(all, func(m *nats.Msg) {
		r.take(tap.From(m))
		r.rest()
	})
	if err != nil {
		c.routes.set(nil, b.names...)
		return nil, err
	}
	b.sub = sub
	return b, nil
}

// close ends it; a last message may still be on its way.
func (b *inbox) close() {
	b.link.routes.set(nil, b.names...)
	_ = b.sub.Unsubscribe()
}
