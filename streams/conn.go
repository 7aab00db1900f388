package streams

import (
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/link"
	"github.com/jetwire/jetwire/streams/tap"
)

// conn is one connection to NATS, and what takes its messages before nats.go does.
type conn struct {
	*link.Conn
	js jetstream.JetStream

	routes  routes
	touched []*route // owned by whoever reads from the connection: they have taken something since the last rest
}

// dial opens a connection; down and up are called, in order, when it breaks and when it stands again.
func dial(o *Options, name string, down, up func(), extra ...nats.Option) (c *conn, err error) {
	c = &conn{}
	c.Conn, err = link.Dial(link.Options{Connect: o.Connect, Name: name, Down: down, Up: up, Logger: o.Logger}, append(extra, tap.Into(c))...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s connection: %w", ErrUnavailable, name, err)
	}
	if c.js, err = jetstream.New(c.Conn.Conn, jetstream.WithDefaultTimeout(requestTimeout)); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// requestTimeout bounds one request to JetStream's API.
const requestTimeout = 5 * time.Second

// subscribe calls cb for every message, without a limit on those that wait.
func (c *conn) subscribe(subject string, cb nats.MsgHandler) (*nats.Subscription, error) {
	sub, err := c.Subscribe(subject, cb)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return sub, nil
}

// close closes the connection and waits until none of its callbacks runs any more.
func (c *conn) close() {
	c.Close()
	c.routes.end() // nats.go does not wait for its reading goroutine
}
