package commands

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/jetwire/jetwire/streams/link"
)

// Call asks whoever serves the destination.
type Call struct {
	Destination string        // has the grammar of channels, which is the caller's to check
	ID          string        // handed on; empty: none
	From        string        // who asks
	Timeout     time.Duration // 0: Options.CallTimeout; never more than Options.MaxCallTimeout
	Body        []byte
}

// calls counts those under way.
type calls struct {
	mu         sync.Mutex
	all        int
	namespaces map[string]int // holds no zeros
	users      map[string]int // holds no zeros
}

// userShare is which part of a namespace's calls one user may have under way: the others are for others.
const userShare = 4

func (c *calls) begin(namespace, user string, o *Options) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.all >= o.Calls:
		return fmt.Errorf("%w: %d calls in all", ErrBusy, c.all)
	case c.namespaces[namespace] >= o.NamespaceCalls:
		return fmt.Errorf("%w: %d calls to %s", ErrBusy, c.namespaces[namespace], namespace)
	case c.users[user] >= max(o.NamespaceCalls/userShare, 1):
		return fmt.Errorf("%w: %d calls of this user", ErrBusy, c.users[user])
	}
	c.all++
	c.namespaces[namespace]++
	c.users[user]++
	return nil
}

func (c *calls) end(namespace, user string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all--
	if c.namespaces[namespace]--; c.namespaces[namespace] == 0 {
		delete(c.namespaces, namespace)
	}
	if c.users[user]--; c.users[user] == 0 {
		delete(c.users, user)
	}
}

// Call asks a backend. done is called once, from any goroutine, perhaps before Call returns, and must not block; the answer is valid until it
// returns. The body may be used again when Call has returned. Errors: *Refused, ErrNoService, ErrTimeout, ErrTooLarge, ErrBusy, ErrUnavailable, ErrClosed.
func (q *Queue) Call(c Call, done func(answer []byte, err error)) {
	if len(c.Body) > q.opts.MaxMessageSize {
		done(nil, fmt.Errorf("%w: %d bytes, a call may have %d", ErrTooLarge, len(c.Body), q.opts.MaxMessageSize))
		return
	}
	namespace, _, _ := strings.Cut(c.Destination, ".")
	if err := q.calls.begin(namespace, c.From, &q.opts); err != nil {
		done(nil, err)
		return
	}
	if c.Timeout <= 0 {
		c.Timeout = q.opts.CallTimeout
	}
	c.Timeout = min(max(c.Timeout, time.Millisecond), q.opts.MaxCallTimeout)
	m := &nats.Msg{Subject: CallPrefix + c.Destination, Header: headers(c.From, c.ID), Data: append([]byte(nil), c.Body...)}
	m.Header[HeaderTimeout] = []string{strconv.FormatInt(c.Timeout.Milliseconds(), 10)}
	q.conn.Ask(m, c.Timeout, func(m *nats.Msg, err error) {
		q.calls.end(namespace, c.From)
		q.called.Add(1)
		var answer []byte
		if err = failure(err); err == nil {
			answer, err = readAnswer(m, q.opts.MaxReply)
		}
		switch {
		case errors.Is(err, ErrNoService):
			q.noService.Add(1)
		case errors.Is(err, ErrTimeout):
			q.timedOut.Add(1)
		}
		done(answer, err)
	})
}

// maxRefusal is how many bytes of a backend's error reach a client.
const (
	maxRefusal     = 512
	maxRefusalCode = 32
)

// readAnswer tells an answer from an error.
func readAnswer(m *nats.Msg, most int) ([]byte, error) {
	switch {
	case link.NoResponders(m):
		return nil, ErrNoService
	case len(m.Header[micro.ErrorCodeHeader]) > 0 || len(m.Header[micro.ErrorHeader]) > 0:
		return nil, &Refused{Code: clip(m.Header.Get(micro.ErrorCodeHeader), maxRefusalCode), Text: clip(m.Header.Get(micro.ErrorHeader), maxRefusal)}
	case len(m.Data) > most:
		return nil, fmt.Errorf("%w: the backend answered with %d bytes, an answer may have %d", ErrTooLarge, len(m.Data), most)
	}
	return m.Data, nil
}

func clip(s string, most int) string { return strings.ToValidUTF8(s[:min(len(s), most)], "") }
