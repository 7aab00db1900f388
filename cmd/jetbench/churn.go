package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (p *program) churn() *cli.Command {
	flags := []cli.Flag{
		&cli.IntFlag{Name: "conns", Usage: "standing sockets", Value: bench.DefaultChurnConns},
		&cli.IntFlag{Name: "channels", Usage: "over which sockets are spread", Value: bench.DefaultChurnChannels},
		&cli.Float64Flag{Name: "rate", Usage: "deliveries a second to the standing sockets (open loop)", Value: bench.DefaultChurnRate},
		&cli.Float64Flag{Name: "joins", Usage: "sockets that come a second, as many as go; 0 for none", Value: bench.DefaultJoins},
		&cli.DurationFlag{Name: "stay", Usage: "`TIME` for which each stays, and a subscription that changes lasts", Value: bench.DefaultStay},
		&cli.Float64Flag{Name: "changes", Usage: "subscriptions that begin or end a second, on standing sockets; 0 for none", Value: bench.DefaultChanges},
		&cli.DurationFlag{Name: "settle", Usage: "`TIME` for the server to collect its garbage before memory is read, at most", Value: bench.DefaultChurnSettle},
		rampFlag("in which joins and changes rise from nothing"),
	}
	cmd := p.command("churn", "sockets that come and go, and change channels, beside live traffic", flags, func(c *cli.Context) error {
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error) {
			return bench.Churn{
				Load: l, Conns: c.Int("conns"), Channels: c.Int("channels"), Rate: c.Float64("rate"), Stay: c.Duration("stay"),
				Joins: none(c.Float64("joins")), Changes: none(c.Float64("changes")), Settle: c.Duration("settle"), QoS: q,
			}.Run(ctx)
		})
	})
	cmd.Description = "Four stretches of --duration each: alone, with sockets that come and go, with subscriptions that begin and end, and alone again.\n" +
		"What the server uses beyond the first is what churn costs. Every subscription is judged from the position at which it began."
	return cmd
}

// none is the number that bench takes for none, where 0 is its default.
func none[T int | float64](n T) T {
	if n == 0 {
		return -1
	}
	return n
}
