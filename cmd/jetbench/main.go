// Command jetbench measures a Jetwire server: one that runs, or one that it starts as a process of its own.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"
)

// Exit statuses.
const (
	exitFailed = 1 // the run failed, or messages were lost, duplicated or reordered at QoS 1 or 2, or a comparison found a regression
	exitUsage  = 2
)

var (
	errBroken = errors.New("messages were lost, duplicated or reordered: see the report")
	errUsage  = errors.New("usage")
	errWorse  = errors.New("something got worse by more than the threshold: see the comparison")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A report into a pipe that was closed is an error like others: what was started must still be ended.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	p := &program{out: os.Stdout, log: os.Stderr, width: terminalWidth(os.Stderr.Fd())}
	err := p.app().RunContext(ctx, os.Args)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "jetbench:", err)
		if errors.Is(err, errUsage) {
			os.Exit(exitUsage)
		}
		os.Exit(exitFailed)
	}
}

// program is jetbench with its streams, so that tests run it in their own process.
type program struct {
	out io.Writer // the report
	log io.Writer // progress, and what servers print

	width   func() int // of the terminal that log is; nil, or 0: it is none
	console *console   // what log becomes
}

func (p *program) app() *cli.App {
	if p.width == nil {
		p.width = func() int { return 0 }
	}
	p.console = &console{to: p.log, width: p.width}
	p.log = p.console
	return &cli.App{
		Name:  "jetbench",
		Usage: "measure a Jetwire server",
		Description: "Each scenario runs against --url, or against a server that jetbench builds, or takes from\n" +
			"--server-binary, and starts with a data directory of its own that is removed afterwards.",
		Commands: []*cli.Command{
			p.idle(), p.connect(), p.fanout(), p.rooms(), p.ping(), p.publish(), p.slowReaders(), p.durable(), p.resumeStorm(), p.churn(), p.mixed(),
			p.runFile(), p.compare(), p.soak(), p.batches(), p.echo(), p.natsServer(), p.worker(),
		},
		Writer: p.out, ErrWriter: p.log,
		HideVersion:               true,
		DisableSliceFlagSeparator: true, // an argument of the server may have commas
		HideHelpCommand:           true,
		ExitErrHandler:            func(*cli.Context, error) {}, // main maps errors to exit statuses
		OnUsageError:              usageError,
		Suggest:                   true,
	}
}

func usageError(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w: %w", errUsage, err) }

// command completes a scenario's command.
func (p *program) command(name, usage string, flags []cli.Flag, action func(*cli.Context) error) *cli.Command {
	return &cli.Command{
		Name: name, Usage: usage, Flags: append(flags, commonFlags()...), Action: action, OnUsageError: usageError,
		Before: func(c *cli.Context) error {
			if c.Args().Present() {
				return fmt.Errorf("%w: %s takes no arguments, only flags: %q", errUsage, name, c.Args().First())
			}
			return nil
		},
	}
}
