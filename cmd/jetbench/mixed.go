package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (p *program) mixed() *cli.Command {
	flags := []cli.Flag{
		&cli.IntFlag{Name: "conns", Usage: "sockets, all classes together", Value: bench.DefaultMixedConns},
		&cli.StringFlag{Name: "mix", Usage: "`WEIGHTS` by which classes share them: " + strings.Join(bench.Classes, ", "), Value: bench.DefaultMix},
		&cli.Float64Flag{Name: "rate", Usage: "deliveries a second to fanout, rooms, durable and churn, in proportion to their sockets (open loop)", Value: bench.DefaultMixedRate},
		&cli.Float64Flag{Name: "publishes", Usage: "messages a second from the sockets of publish (open loop)", Value: bench.DefaultMixedPublishes},
		&cli.Float64Flag{Name: "requests", Usage: "pages of history a second (open loop)", Value: bench.DefaultMixedRequests},
		&cli.Float64Flag{Name: "joins", Usage: "sockets a second that come and go beside those of churn (open loop)", Value: bench.DefaultMixedJoins},
		rampFlag("before the warm-up in which the rates rise from nothing"),
	}
	cmd := p.command("mixed", "several of these at the same time, each with a share of the sockets", flags, func(c *cli.Context) error {
		mix, err := bench.ParseMix(c.String("mix"))
		if err != nil {
			return fmt.Errorf("%w: --mix: %w", errUsage, err)
		}
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error) {
			return bench.Mixed{
				Load: l, Conns: c.Int("conns"), Mix: mix, Rate: c.Float64("rate"), Publishes: c.Float64("publishes"),
				Requests: c.Float64("requests"), Joins: c.Float64("joins"), QoS: q,
			}.Run(ctx)
		})
	})
	cmd.Description = "Classes: fanout, one channel; rooms, channels of ten; durable, such rooms of devices that acknowledge what they get;\n" +
		"publish, sockets that publish to channels of their own; idle, sockets that wait; history, sockets that ask for the newest 50 messages;\n" +
		"churn, a channel whose other sockets come and go. A class that is left out of --mix has no sockets. What the server uses is told for all together."
	return cmd
}
