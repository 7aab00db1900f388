package main

import (
	"context"
	"errors"
	"io"

	"github.com/urfave/cli/v2"
)

// program is one run of jetwire: what it reads, writes and knows of its terminal.
type program struct {
	in                       io.Reader
	out, err                 io.Writer
	outTerminal, errTerminal bool
}

// run parses the arguments and runs the command that they name.
func (p *program) run(ctx context.Context, args []string) error {
	app := p.app()
	err := app.RunContext(ctx, flagsFirst(app, args))
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) && errors.Is(err, context.Canceled) {
		return errInterrupted
	}
	return err
}

func (p *program) app() *cli.App {
	app := &cli.App{
		Name:  "jetwire",
		Usage: "real-time messages over WebSockets, kept in NATS JetStream",
		Description: "Flags may stand before or behind arguments. Many can be given as environment variables, which a command's --help\n" +
			"names. Flags come before the environment, and both before the YAML file that --config names.\n\n" + exitHelp,
		Commands: []*cli.Command{
			p.serveCommand(), p.subCommand(), p.pubCommand(), p.historyCommand(), p.presenceCommand(), p.commandCommand(), p.callCommand(),
			p.socketCommand(), p.tokenCommand(), p.configCommand(), p.versionCommand(),
		},
		Writer:          p.out,
		ErrWriter:       p.err,
		HideVersion:     true,
		HideHelpCommand: false,
		ExitErrHandler:  func(*cli.Context, error) {}, // main maps errors to exit codes
		Action:          group,
		// A pattern may hold a comma; lists that are parted by commas are parted by us.
		DisableSliceFlagSeparator: true,
		OnUsageError:              wrongUsage,
	}
	strict(app.Commands)
	return app
}

// strict makes every command report wrong usage as such.
func strict(commands []*cli.Command) {
	for _, c := range commands {
		c.OnUsageError = wrongUsage
		c.HideHelpCommand = true
		if len(c.Subcommands) > 0 {
			c.Action = group
			strict(c.Subcommands)
		}
	}
}

func wrongUsage(_ *cli.Context, err error, _ bool) error { return &usageError{err} }

// group is the action of a command that has only subcommands: it runs if none of them was named.
func group(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return usagef("no such command: %q; `%s --help` lists them", name, c.Command.HelpName)
	}
	if err := cli.ShowSubcommandHelp(c); err != nil {
		return err
	}
	return usagef("a command is needed")
}

// arguments returns exactly as many arguments as there are names, for a command's action.
func arguments(c *cli.Context, names ...string) ([]string, error) {
	args := c.Args().Slice()
	if len(args) < len(names) {
		return nil, usagef("%s is missing; see `%s --help`", names[len(args)], c.Command.HelpName)
	}
	if len(args) > len(names) {
		return nil, usagef("unexpected argument %q; see `%s --help`", args[len(names)], c.Command.HelpName)
	}
	return args, nil
}
