package main

import (
	"context"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (p *program) publish() *cli.Command {
	flags := []cli.Flag{
		&cli.IntFlag{Name: "conns", Usage: "sockets", Value: bench.DefaultPublishConns},
		&cli.IntFlag{Name: "depth", Usage: "`MESSAGES` in flight on each", Value: bench.DefaultPublishDepth},
		&cli.IntFlag{Name: "rounds", Usage: "turns of the gateway and of the raw publisher", Value: bench.DefaultRounds},
		&cli.BoolFlag{Name: "no-raw", Usage: "do not compare with a raw JetStream publisher"},
	}
	return p.command("publish", "sockets that publish, against a raw JetStream publisher", flags, func(c *cli.Context) error {
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (r *bench.Report, err error) {
			o := bench.Publish{Load: l, Conns: c.Int("conns"), Depth: c.Int("depth"), Rounds: c.Int("rounds"), QoS: q}
			if c.Bool("no-raw") {
				return o.Run(ctx)
			}
			s, err := p.rawServer(ctx, c.Int("conns")*c.Int("depth"))
			if err != nil {
				return nil, err
			}
			defer func() {
				if e := s.Close(); err == nil {
					err = e
				}
			}()
			o.Raw = func(ctx context.Context, subjects, payload int, warmup, d time.Duration) (float64, error) {
				return s.raw.Publish(ctx, subjects, payload, warmup, d)
			}
			return o.Run(ctx)
		})
	})
}
