package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

const intervalFlag = "interval"

const pingInterval = "--ping-interval"

func (p *program) ping() *cli.Command {
	flags := append(peerFlags(),
		&cli.IntFlag{Name: "conns", Usage: "sockets that wait", Value: bench.DefaultPingConns},
		&cli.DurationFlag{Name: intervalFlag, Usage: "`TIME` after which the server pings a silent socket; a running server has its own (" + pingInterval + ")", Value: bench.DefaultPingInterval})
	cmd := p.command("ping", "sockets that wait: what a ping and its pong cost, timers included", flags, func(c *cli.Context) error {
		if len(c.StringSlice("url")) == 0 {
			if err := c.Set("server-arg", fmt.Sprintf("%s=%v", pingInterval, c.Duration(intervalFlag))); err != nil {
				return err
			}
		}
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error) {
			return bench.Ping{Load: l, Conns: c.Int("conns"), Interval: c.Duration(intervalFlag), QoS: q}.Run(ctx)
		})
	})
	cmd.Description = "The server is watched without connections first; what it uses then is not counted."
	return cmd
}
