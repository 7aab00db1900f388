package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/client"
)

func (p *program) presenceCommand() *cli.Command {
	return &cli.Command{
		Name:      "presence",
		Usage:     "print who is subscribed to a channel now",
		ArgsUsage: "CHANNEL",
		Description: "Over all gateways: a user and the number of their connections a line, those included that a pattern brings. A user whose\n" +
			"name begins with ~ has no token. What is told may be about a second old.",
		Flags:  clientFlags(),
		Action: p.presence,
	}
}

func (p *program) presence(c *cli.Context) error {
	return p.once(c, func(ctx context.Context, cl *client.Client, args []string, pr *printer) error {
		who, err := cl.Presence(ctx, args[0])
		if err != nil {
			return fmt.Errorf("presence of %s: %w", args[0], err)
		}
		return pr.presence(&who)
	}, "CHANNEL")
}
