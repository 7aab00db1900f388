package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

func (p *program) durable() *cli.Command {
	flags := []cli.Flag{
		&cli.IntFlag{Name: "users", Usage: "that come with a device, and go", Value: bench.DefaultDurableUsers},
		&cli.IntFlag{Name: "batch", Usage: "`USERS` that are there at the same time", Value: bench.DefaultDurableBatch},
		&cli.IntFlag{Name: "sample", Usage: "`USERS` that come back in the end", Value: bench.DefaultDurableSample},
		&cli.DurationFlag{Name: "settle", Usage: "`TIME` for the server to collect its garbage, at most", Value: bench.DefaultDurableSettle},
	}
	cmd := p.command("durable", "users who are away: what the cursor of each costs", flags, func(c *cli.Context) error {
		if !running(c) { // the store is asked through the embedded NATS server
			if err := c.Set("server-arg", "--nats-listen=127.0.0.1:0"); err != nil {
				return err
			}
		}
		return p.measureServer(c, func(ctx context.Context, s *server, l bench.Load, q wire.QoS) (*report.Report, error) {
			o := bench.Durable{
				Load: l, Users: c.Int("users"), Batch: c.Int("batch"), Sample: c.Int("sample"), Settle: c.Duration("settle"), QoS: q,
			}
			if s.process != nil {
				store, err := s.store()
				if err != nil {
					return nil, err
				}
				defer store.Close()
				o.Store = store
			}
			return o.Run(s.watch(ctx))
		})
	})
	cmd.Description = "Each user connects with a device, subscribes to one channel besides the inbox, gets a message, acknowledges it and goes.\n" +
		"With a server of its own, jetbench also asks the store what it holds."
	return cmd
}

func (p *program) resumeStorm() *cli.Command {
	flags := []cli.Flag{
		&cli.IntFlag{Name: "users", Usage: "that are away", Value: bench.DefaultStormUsers},
		&cli.IntFlag{Name: "messages", Usage: "in the inbox of each", Value: bench.DefaultStormMessages},
		&cli.IntFlag{Name: "live", Usage: "sockets on a channel beside, which always read", Value: bench.DefaultStormLive},
		&cli.Float64Flag{Name: "rate", Usage: "messages a second to these", Value: bench.DefaultStormRate},
		&cli.IntFlag{Name: "again", Usage: "`USERS` that come back once more, to whom nothing may come again", Value: bench.DefaultStormAgain},
		&cli.BoolFlag{Name: "kill", Usage: "kill the server (SIGKILL) and start it again before they return"},
	}
	cmd := p.command("resume-storm", "users who were away return, all at once", flags, func(c *cli.Context) error {
		if c.Bool("kill") && running(c) {
			return fmt.Errorf("%w: --kill needs a server that jetbench starts itself: leave --url out", errUsage)
		}
		return p.measureServer(c, func(ctx context.Context, s *server, l bench.Load, _ wire.QoS) (*report.Report, error) {
			o := bench.ResumeStorm{
				Load: l, Users: c.Int("users"), Messages: c.Int("messages"), Live: c.Int("live"), Rate: c.Float64("rate"), Again: c.Int("again"),
			}
			if c.Bool("kill") {
				o.Kill = s.restart
				return o.Run(ctx) // that the server ends is meant
			}
			return o.Run(s.watch(ctx))
		})
	})
	cmd.Description = "Users connect with a device once, and go; their inboxes (user.ID) are filled while they are away. Their subscriptions have QoS 1."
	return cmd
}
