package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// parseURL checks Options.URL and returns it with a WebSocket scheme.
func parseURL(s string) (string, error) {
	u, err := url.Parse(s)
	if err != nil {
		return "", fmt.Errorf("client: URL: %w", err)
	}
	switch u.Scheme {
	case "ws", "wss":
	case "http":
		u.Scheme = "ws"
	case "https":
		u.Scheme = "wss"
	default:
		return "", fmt.Errorf("client: URL %q: the scheme must be ws or wss", s)
	}
	if u.Host == "" {
		return "", fmt.Errorf("client: URL %q names no host", s)
	}
	u.Fragment = ""
	if u.Path == "" {
		u.Path = "/"
	}
	return u.String(), nil
}

const (
	readBuffer    = 16 << 10
	goodbyeTime   = time.Second // for a close frame to leave, and for the answer to it
	moveJitter    = time.Second // added to what a reconnect push says
	leaveTime     = time.Second // for replies to come before a planned move
	maxJoined     = 16 << 10    // bytes of commands joined in one frame
	maxInFrame    = 64          // commands joined in one frame
	maxOneWrite   = 256 << 10   // bytes gathered for one write
	maxRefusal    = 16 << 10    // bytes of the header of an answer that refuses the upgrade
	commandID     = 1           // of connect; Client.nextID goes on from there
	minPingsQuiet = 2           // intervals of silence after which the connection counts as lost
)

// open makes a connection up to connect's reply. It is run's.
func (c *Client) open(ctx context.Context) (*conn, *wire.ConnectReply, error) {
	if err := c.renewToken(ctx); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.o.ConnectTimeout, fmt.Errorf("client: no connection within %v", c.o.ConnectTimeout))
	defer cancel()
	d := ws.Dialer{
		Protocols: []string{wire.Subprotocol},
		NetDial:   c.o.Dialer,
		TLSConfig: c.o.TLS,
	}
	var retryAfter time.Duration // of an answer that refuses the upgrade
	d.OnStatusError = func(_ int, _ []byte, r io.Reader) {
		if answer, err := http.ReadResponse(bufio.NewReader(io.LimitReader(r, maxRefusal)), nil); err == nil {
			_ = answer.Body.Close()
			s, _ := strconv.ParseFloat(answer.Header.Get("Retry-After"), 64) // RFC 9110, 10.2.3; a date is not heeded
			retryAfter = seconds(s)
		}
	}
	if c.o.Header != nil {
		d.Header = ws.HandshakeHeaderHTTP(c.o.Header)
	}
	nc, early, _, err := d.Dial(ctx, c.o.URL)
	if err != nil && retryAfter > 0 {
		err = &refusedError{err, retryAfter}
	}
	if err != nil {
		if ctx.Err() != nil && !errors.Is(err, context.Cause(ctx)) {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		return nil, nil, fmt.Errorf("client: connect to %s: %w", c.o.URL, err)
	}
	cn := newConn(c, nc, early)
	stop := context.AfterFunc(ctx, func() { _ = nc.SetDeadline(time.Unix(1, 0)) })
	reply, err := cn.connect(&wire.Connect{Token: c.token, Client: c.o.Name, Device: c.o.Device})
	if !stop() && err != nil {
		err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
	} else if ctx.Err() != nil { // the deadline may be spoilt
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = nc.Close()
		return nil, nil, err
	}
	return cn, reply, nil
}

// refusedError is a refused upgrade whose answer says when to come back.
type refusedError struct {
	error
	wait time.Duration
}

func (e *refusedError) Unwrap() error { return e.error }

// renewToken takes the token that was to renew the last connection, or asks for one, if the one at hand was refused, has expired, or is none.
func (c *Client) renewToken(ctx context.Context) error {
	if !c.expires.IsZero() && !time.Now().Before(c.expires) {
		c.fresh = true
	}
	if c.o.Token == nil || !c.fresh {
		return nil
	}
	token := c.takeSpare()
	if token == "" {
		var err error
		if token, err = c.o.Token(ctx); err != nil {
			return &tokenError{err}
		}
	}
	c.token, c.fresh, c.expires = token, false, time.Time{}
	return nil
}

// tokenError is a failure of Options.Token.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "client: token: " + e.err.Error() }
func (e *tokenError) Unwrap() error { return e.err }

func newConn(c *Client, nc net.Conn, early *bufio.Reader) *conn {
	cn := &conn{c: c, nc: nc, wake: make(chan struct{}, 1), quit: make(chan struct{}), idle: make(chan struct{}, 1), expired: make(chan struct{}, 1)}
	var from io.Reader = heardReader{cn}
	if early != nil { // what the server sent right behind its handshake
		first := make([]byte, early.Buffered())
		_, _ = io.ReadFull(early, first) // reads from the buffer only
		ws.PutReader(early)
		from = io.MultiReader(newBytesReader(first), from)
	}
	cn.frames = frameReader{r: bufio.NewReaderSize(from, readBuffer), limit: c.o.MaxFrame}
	cn.heard.Store(int64(monotonic()))
	return cn
}

// connect authenticates. Nothing else runs on the connection yet.
func (cn *conn) connect(cmd *wire.Connect) (*wire.ConnectReply, error) {
	if _, err := cn.nc.Write(appendFrame(nil, ws.OpText, wire.AppendConnect(nil, commandID, cmd))); err != nil {
		return nil, err
	}
	var reply *wire.ConnectReply
	var refused *wire.Error
	for reply == nil {
		op, p, err := cn.frames.next()
		if err != nil {
			return nil, err
		}
		switch op {
		case ws.OpPing:
			if _, err := cn.nc.Write(appendFrame(nil, ws.OpPong, p)); err != nil {
				return nil, err
			}
		case ws.OpClose:
			return nil, closeError(p)
		case ws.OpText:
			err := cn.decoder.Decode(p, func(in *wire.Incoming) error {
				switch {
				case in.Kind == wire.KindError && (in.ID == commandID || in.ID == 0):
					refusal := in.Error
					refused = &refusal
				case in.Kind == wire.KindConnect && in.ID == commandID:
					r := in.Connect
					reply = &r
				}
				return nil
			})
			if err != nil {
				return nil, &protocolError{wire.InvalidPayload, err}
			}
			if refused != nil {
				return nil, refused
			}
		}
	}
	return reply, nil
}
