package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (p *program) connect() *cli.Command {
	flags := append(peerFlags(),
		&cli.IntFlag{Name: "conns", Usage: "sockets", Value: bench.DefaultConnectConns},
		&cli.Float64Flag{Name: "rate", Usage: "sockets a second (open loop: latency counts from when a socket was meant to be opened)", Value: bench.DefaultConnectRate},
		&cli.BoolFlag{Name: "flat-out", Usage: "no rate (closed loop): as fast as it goes with --window sockets opening at the same time"},
		&cli.IntFlag{Name: "window", Usage: "`SOCKETS` that open at the same time, flat out and in the storm", Value: bench.DefaultConnectWindow},
		&cli.DurationFlag{Name: "hold", Usage: "`TIME` for which all stay", Value: bench.DefaultHold},
		&cli.BoolFlag{Name: "storm", Usage: "then close all at once, and have them come back flat out"},
		rampFlag("in which the rate rises from nothing"), processesFlag(),
	)
	cmd := p.command("connect", "sockets that connect, sign in, subscribe, stay and close: what that costs, and how long it takes", flags, func(c *cli.Context) error {
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error) {
			return bench.Connect{
				Load: l, Conns: c.Int("conns"), Rate: c.Float64("rate"), FlatOut: c.Bool("flat-out"), Window: c.Int("window"),
				Hold: c.Duration("hold"), Storm: c.Bool("storm"), QoS: q,
			}.Run(ctx)
		})
	})
	cmd.Description = "--conns and --rate say how long it takes: --duration and --warmup mean nothing here. A connection that fails is counted with\n" +
		"the reason, and the run goes on. In the end one message has to reach every socket."
	return cmd
}
