package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/client"
)

func (p *program) commandCommand() *cli.Command {
	return &cli.Command{
		Name:      "command",
		Usage:     "send a command to the backends of a destination",
		ArgsUsage: "DESTINATION DATA",
		Description: "It is answered when the server has stored the command, not when a backend has done it. DATA that is valid JSON is sent as\n" +
			"JSON, anything else as text.",
		Flags: clientFlags(
			&cli.StringFlag{Name: "id", Usage: "command `ID`: retries with the same one are stored once", DefaultText: "a new one"},
		),
		Action: p.command,
	}
}

func (p *program) command(c *cli.Context) error {
	return p.once(c, func(ctx context.Context, cl *client.Client, args []string, pr *printer) error {
		r, err := cl.Command(ctx, args[0], []byte(args[1]), client.CommandOptions{ID: c.String("id")})
		if err != nil {
			return fmt.Errorf("command to %s: %w", args[0], err)
		}
		return pr.commanded(r)
	}, "DESTINATION", "DATA")
}

func (p *program) callCommand() *cli.Command {
	return &cli.Command{
		Name:        "call",
		Usage:       "ask the backends of a destination, and print the answer",
		ArgsUsage:   "DESTINATION DATA",
		Description: "DATA that is valid JSON is sent as JSON, anything else as text. --timeout says how long the backend may take, if the server lets it.",
		Flags: clientFlags(
			&cli.StringFlag{Name: "id", Usage: "`ID` that is handed on to the backend"},
		),
		Action: p.call,
	}
}

func (p *program) call(c *cli.Context) error {
	return p.once(c, func(_ context.Context, cl *client.Client, args []string, pr *printer) error {
		o := client.CallOptions{ID: c.String("id"), Timeout: c.Duration("timeout")} // which ends by the server's answer
		answer, err := cl.Call(c.Context, args[0], []byte(args[1]), o)
		if err != nil {
			return fmt.Errorf("call to %s: %w", args[0], err)
		}
		return pr.answered(args[0], answer)
	}, "DESTINATION", "DATA")
}
