package streams

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/tap"
)

// link is one connection to NATS. It buffers nothing while the connection is away, and reconnects for ever.
type link struct {
	nc *nats.Conn
	js jetstream.JetStream
	up atomic.Bool // as nats.go told last; asking nats.go would wait for a write that hangs

	gone chan struct{}  // closed by nats.go's last callback
	subs sync.WaitGroup // subscriptions whose callbacks may run

	routes  routes
	touched []*route // owned by whoever reads from the connection: they have taken something since the last rest
}

// dial opens a connection; down and up are called, in order, when it breaks and when it stands again.
func dial(o *Options, name string, down, up func(), extra ...nats.Option) (*link, error) {
	c := &link{gone: make(chan struct{})}
	c.up.Store(true)
	opts := append([]nats.Option{
		nats.Name("jetwire " + name),
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(10 * time.Second),
		nats.SkipSubjectValidation(),
		tap.Into(c),
		nats.DisconnectErrHandler(func(*nats.Conn, error) {
			c.up.Store(false)
			down()
		}),
		nats.ReconnectHandler(func(*nats.Conn) {
			c.up.Store(true)
			up()
		}),
		nats.ClosedHandler(func(*nats.Conn) {
			c.up.Store(false)
			close(c.gone)
		}),
		nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			o.Logger.Warn("NATS reports an error", "connection", name, "error", err)
		}),
	}, extra...)
	nc, err := o.Connect("jetwire "+name, opts...)
	if err != nil {
		return nil, fmt.Errorf("%w: %s connection: %w", ErrUnavailable, name, err)
	}
	c.nc = nc
	if c.js, err = jetstream.New(nc, jetstream.WithDefaultTimeout(requestTimeout)); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

// requestTimeout bounds one request to JetStream's API.
const requestTimeout = 5 * time.Second

// noEcho keeps what is published on a connection from that connection's own subscriptions.
func noEcho(o *nats.Options) error {
	o.NoEcho = true
	return nil
}

// subscribe calls cb for every message, without a limit on those that wait.
func (c *link) subscribe(subject string, cb nats.MsgHandler) (*nats.Subscription, error) {
	c.subs.Add(1)
	sub, err := c.nc.Subscribe(subject, cb)
	if err != nil {
		c.subs.Done()
		return nil, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	sub.SetClosedHandler(func(string) { c.subs.Done() })
	return sub, sub.SetPendingLimits(-1, -1)
}

// close closes the connection and waits until none of its callbacks runs any more.
func (c *link) close() {
	c.nc.Close()
	<-c.gone
	c.subs.Wait()
	c.routes.end() // nats.go does not wait for its reading goroutine
}
