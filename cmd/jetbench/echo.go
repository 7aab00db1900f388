package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/gobwas/ws"
	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// echoMessage is the largest message that echo takes: conformance suites send 16 MiB.
const echoMessage = 32 << 20

// echo serves what conformance clients expect, through exactly the gateway's transport.
func (p *program) echo() *cli.Command {
	return &cli.Command{
		Name: "echo", Usage: "serve a WebSocket echo through the gateway's transport, for conformance clients",
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "listen", Usage: "`HOST:PORT`", Value: "127.0.0.1:9001"},
			&cli.BoolFlag{Name: "portable", Usage: "goroutines instead of epoll, as on systems that have none"},
		},
		OnUsageError: usageError,
		Action: func(c *cli.Context) error {
			return p.serveEcho(c.Context, c.String("listen"), c.Bool("portable"))
		},
	}
}

func (p *program) serveEcho(ctx context.Context, listen string, portable bool) error {
	s, err := transport.New(transport.Options{
		Open: func(c *transport.Conn, _ string) transport.Receiver {
			c.Establish() // there is nothing to prove
			return echoReceiver{}
		},
		Portable:   portable,
		MaxMessage: echoMessage,
		QueueBytes: 2 * echoMessage,
		Logger:     slog.New(slog.NewTextHandler(p.log, nil)),
	})
	if err != nil {
		return err
	}
	addr, err := s.Listen(listen)
	if err != nil {
		return errors.Join(err, s.Close())
	}
	if _, err := fmt.Fprintf(p.out, "echoing on ws://%s/\n", addr); err != nil {
		return errors.Join(err, s.Close())
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve() }()
	select {
	case err = <-served:
		return errors.Join(err, s.Close())
	case <-ctx.Done():
	}
	err = s.Close()
	if e := <-served; !errors.Is(e, transport.ErrClosed) {
		err = errors.Join(err, e)
	}
	return err
}

// echoReceiver sends back what it gets.
type echoReceiver struct{}

var _ transport.Receiver = echoReceiver{}

func (echoReceiver) Receive(c *transport.Conn, text bool, payload []byte) {
	op := ws.OpBinary
	if text {
		op = ws.OpText
	}
	c.Send(wsock.AppendFrame(nil, op, payload))
}

func (echoReceiver) Drained(*transport.Conn) {}

func (echoReceiver) Beat(*transport.Conn) {}

func (echoReceiver) Closed(*transport.Conn, wire.Code) {}
