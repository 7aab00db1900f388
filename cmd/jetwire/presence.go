package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/urfave/cli/v2"
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
	args, err := arguments(c, "CHANNEL")
	if err != nil {
		return err
	}
	cl, err := p.dial(c, "")
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	who, err := cl.Presence(ctx, args[0])
	if err != nil {
		return fmt.Errorf("presence of %s: %w", args[0], err)
	}
	pr := p.printer(c)
	return errors.Join(pr.presence(&who), pr.flush())
}
