package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
)

const stallTimeout = "--stall-timeout"

func (p *program) slowReaders() *cli.Command {
	flags := []cli.Flag{
		&cli.IntFlag{Name: "readers", Usage: "sockets that stop reading, and then read again all at once", Value: bench.DefaultSlowReaders},
		&cli.IntFlag{Name: "live", Usage: "sockets beside them that always read", Value: bench.DefaultLiveReaders},
		&cli.IntFlag{Name: "messages", Usage: "published while they are stalled", Value: bench.DefaultSlowMessages},
		&cli.IntFlag{Name: "size", Usage: "`BYTES` of a message; it counts, not --payload", Value: bench.DefaultSlowPayload},
		&cli.Float64Flag{Name: "rate", Usage: "messages a second meanwhile", Value: bench.DefaultSlowRate},
		&cli.Float64Flag{Name: "trickle", Usage: "messages a second while they catch up", Value: bench.DefaultTrickle},
	}
	cmd := p.command("slow-readers", "sockets that stop reading: what they cost, and how they catch up", flags, func(c *cli.Context) error {
		if err := c.Set("payload", c.String("size")); err != nil {
			return err
		}
		if !running(c) && !strings.Contains(strings.Join(c.StringSlice("server-arg"), " "), stallTimeout) {
			stall := time.Duration(float64(c.Int("messages")) / c.Float64("rate") * float64(time.Second))
			if err := c.Set("server-arg", fmt.Sprintf("%s=%v", stallTimeout, transport.DefaultStallTimeout+2*stall)); err != nil {
				return err
			}
		}
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error) {
			return bench.SlowReaders{
				Load: l, Readers: c.Int("readers"), Live: c.Int("live"), Messages: c.Int("messages"),
				Rate: c.Float64("rate"), Trickle: c.Float64("trickle"), QoS: q,
			}.Run(ctx)
		})
	})
	cmd.Description = "A server closes a socket that takes nothing for its --stall-timeout, and the client comes back. Here the sockets are to stay: a server\n" +
		"that jetbench starts gets a longer time than they are stalled."
	return cmd
}
