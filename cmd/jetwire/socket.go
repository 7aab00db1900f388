package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

func (p *program) socketCommand() *cli.Command {
	return &cli.Command{
		Name:      "socket",
		Usage:     "speak on a socket of the unified service: each line of standard input is a message, each message a line of output",
		ArgsUsage: "URL",
		Description: "URL is what GET /websocket/token has answered, such as ws://127.0.0.1:8080/socket/…; it opens one socket, once. It goes on\n" +
			"after the end of standard input, until the server closes the socket, --count messages have come, or it is interrupted.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "count", Usage: "end after `N` messages", DefaultText: "never"},
			&cli.DurationFlag{Name: "timeout", Usage: "how long to wait for the connection", Value: defaultTimeout, EnvVars: []string{"JETWIRE_TIMEOUT"}},
		},
		Action: p.socket,
	}
}

// socket is one run of the command.
type socket struct {
	conn net.Conn
	from io.Reader // conn, and before it what came with the handshake
	out  *bufio.Writer
}

func (p *program) socket(c *cli.Context) error {
	args, err := arguments(c, "URL")
	if err != nil {
		return err
	}
	if c.Int("count") < 0 {
		return usagef("--count is negative")
	}
	d := ws.Dialer{Timeout: c.Duration("timeout")}
	conn, br, _, err := d.Dial(c.Context, args[0])
	if err != nil {
		return fmt.Errorf("the socket cannot be opened: %w", err) // the URL holds a token
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(c.Context, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	s := &socket{conn: conn, from: conn, out: bufio.NewWriter(p.out)}
	if br != nil {
		s.from = br
	}
	ctx, cancel := context.WithCancel(c.Context)
	defer cancel()
	said := make(chan error, 1)
	go func() {
		said <- eachLine(ctx, p.in, func(line []byte) error {
			_, err := conn.Write(wsock.AppendMasked(nil, ws.OpText, line)) // in one piece: pongs are written beside it
			return err
		})
	}()
	err = s.print(c.Int("count"))
	cancel()
	if failed := <-said; err == nil && failed != nil && !errors.Is(failed, context.Canceled) {
		err = failed
	}
	if c.Context.Err() != nil {
		return context.Cause(c.Context)
	}
	return err
}

// print prints messages until count have come (0: for ever), or the server closes.
func (s *socket) print(count int) error {
	for n := 0; count == 0 || n < count; {
		op, message, err := s.next()
		var closed wsutil.ClosedError
		switch {
		case errors.As(err, &closed) && wire.Code(closed.Code) == wire.NormalClosure:
			return nil
		case errors.As(err, &closed):
			return wire.Code(closed.Code).With(closed.Reason)
		case err != nil:
			return fmt.Errorf("the connection was lost: %w", err)
		case op.IsControl():
			continue
		}
		n++
		_, _ = s.out.Write(append(message, '\n')) // Flush tells
		if err := s.out.Flush(); err != nil {
			return err
		}
	}
	s.leave()
	return nil
}

// leaveTimeout bounds what leaving waits for.
const leaveTimeout = time.Second

// leave answers the ping that follows the last message, which is thereby acknowledged, and closes. What comes before it is left for the
// next socket.
func (s *socket) leave() {
	_ = s.conn.SetDeadline(time.Now().Add(leaveTimeout))
	if _, err := s.conn.Write(wsock.AppendMasked(nil, ws.OpPing, nil)); err != nil { // its pong comes behind what the server has sent by now
		return
	}
	for op := ws.OpPing; op != ws.OpPong; {
		var err error
		if op, _, err = s.next(); err != nil || !op.IsControl() {
			return
		}
	}
	if _, err := s.conn.Write(wsock.AppendMaskedClose(nil, wsock.Normal, "")); err != nil {
		return
	}
	for {
		if _, _, err := s.next(); err != nil { // the close that answers ours
			return
		}
	}
}

// next reads a message, or a control frame, which it answers.
func (s *socket) next() (ws.OpCode, []byte, error) {
	r := wsutil.Reader{
		Source: s.from, State: ws.StateClientSide, CheckUTF8: true,
		OnIntermediate: wsutil.ControlFrameHandler(s.conn, ws.StateClientSide),
	}
	h, err := r.NextFrame()
	if err != nil {
		return 0, nil, err
	}
	if h.OpCode.IsControl() {
		return h.OpCode, nil, r.OnIntermediate(h, &r)
	}
	message, err := io.ReadAll(&r)
	return h.OpCode, message, err
}
