// Package link opens connections to NATS as all parts of Jetwire want them: they reconnect for ever, keep nothing back for a server that is
// away (what cannot be sent fails, and its sender decides), and end without leaving a callback behind.
//
// The package knows connections. It must not know what they carry.
package link

import (
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
)

// Connect opens one connection to NATS under a name.
type Connect = func(name string, extra ...nats.Option) (*nats.Conn, error)

// Options says how to connect. Connect and Logger are required.
type Options struct {
	Connect Connect
	Name    string // of the connection: it is shown to operators as "jetwire NAME"
	// Down and Up are called, in order, when the connection breaks and when it stands again. nil: nobody wants to know.
	Down, Up func()
	Logger   *slog.Logger
}

// Conn is one connection to NATS.
type Conn struct {
	*nats.Conn
	up   atomic.Bool    // as nats.go told last; asking nats.go would wait for a write that hangs
	gone chan struct{}  // closed by nats.go's last callback
	subs sync.WaitGroup // subscriptions whose callbacks may run
}

// Dial opens a connection. Its errors are those of Options.Connect.
func Dial(o Options, extra ...nats.Option) (*Conn, error) {
	c := &Conn{gone: make(chan struct{})}
	c.up.Store(true)
	tell := func(up bool, f func()) {
		c.up.Store(up)
		if f != nil {
			f()
		}
	}
	nc, err := o.Connect("jetwire "+o.Name, append([]nats.Option{
		nats.Name("jetwire " + o.Name),
		nats.ReconnectBufSize(-1),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(200*time.Millisecond, 500*time.Millisecond),
		nats.PingInterval(5 * time.Second),
		nats.MaxPingsOutstanding(2),
		nats.FlusherTimeout(10 * time.Second),
		nats.SkipSubjectValidation(),
		nats.DisconnectErrHandler(func(*nats.Conn, error) { tell(false, o.Down) }),
		nats.ReconnectHandler(func(*nats.Conn) { tell(true, o.Up) }),
		nats.ClosedHandler(func(*nats.Conn) {
			c.up.Store(false)
			close(c.gone)
		}),
		nats.IgnoreAuthErrorAbort(),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			o.Logger.Warn("NATS reports an error", "connection", o.Name, "error", err)
		}),
	}, extra...)...)
	if err != nil {
		return nil, err
	}
	c.Conn = nc
	return c, nil
}

// Up reports whether the connection stands.
func (c *Conn) Up() bool { return c.up.Load() }

// Subscribe calls cb for every message, on one goroutine and without a limit on those that wait, until the subscription or the connection
// ends.
func (c *Conn) Subscribe(subject string, cb nats.MsgHandler) (*nats.Subscription, error) {
	c.subs.Add(1)
	sub, err := c.Conn.Subscribe(subject, cb)
	if err != nil {
		c.subs.Done()
		return nil, err
	}
	sub.SetClosedHandler(func(string) { c.subs.Done() })
	return sub, sub.SetPendingLimits(-1, -1)
}

// Close ends the connection and waits until none of its callbacks runs any more.
func (c *Conn) Close() {
	c.Conn.Close()
	<-c.gone
	c.subs.Wait()
}

// NotSent reports whether an error of publishing means that nothing of the message has left.
func NotSent(err error) bool {
	for _, e := range []error{nats.ErrReconnectBufExceeded, nats.ErrConnectionClosed, nats.ErrConnectionDraining,
		nats.ErrMaxPayload, nats.ErrHeadersNotSupported, nats.ErrBadSubject} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// NoResponders reports whether an answer is the server's word that nobody listens.
func NoResponders(m *nats.Msg) bool { return len(m.Data) == 0 && m.Header.Get("Status") == "503" }
