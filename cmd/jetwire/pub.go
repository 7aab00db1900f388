package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/client"
)

const (
	pubWindow  = 256      // messages from standard input that may wait for their answers
	maxPubLine = 64 << 20 // bytes
)

func (p *program) pubCommand() *cli.Command {
	return &cli.Command{
		Name:      "pub",
		Usage:     "publish to a channel",
		ArgsUsage: "CHANNEL DATA",
		Description: "DATA that is valid JSON is sent as JSON, anything else as text. `-` reads standard input, one message a line; empty\n" +
			"lines are passed over, and the first message that fails ends it.",
		Flags: clientFlags(
			&cli.StringFlag{Name: "id", Usage: "message `ID`: retries with the same one are stored once (implies --qos 2)"},
			qosFlag("0 (not stored), 1 (stored before it is answered) or 2 (stored once, however often it is retried; without --id one is made)"),
		),
		Action: p.pub,
	}
}

func (p *program) pub(c *cli.Context) error {
	args, err := arguments(c, "CHANNEL", "DATA")
	if err != nil {
		return err
	}
	qos, err := qosOf(c)
	if err != nil {
		return err
	}
	o := client.PublishOptions{ID: c.String("id"), QoS: qos}
	if args[1] == "-" && o.ID != "" {
		return usagef("--id names one message; standard input may hold more")
	}
	cl, err := p.dial(c, "")
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	pr := p.printer(c)
	if args[1] == "-" {
		return publishLines(c.Context, cl, p.in, args[0], o, pr)
	}
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	r, err := cl.Publish(ctx, args[0], []byte(args[1]), o)
	if err != nil {
		return fmt.Errorf("publish to %s: %w", args[0], err)
	}
	return errors.Join(pr.published(args[0], r), pr.flush())
}

// answer is how one publish ended.
type answer struct {
	reply client.PublishReply
	err   error
}

// publishLines publishes the lines of in, with up to pubWindow on their way, and prints the answers in the lines' order.
func publishLines(ctx context.Context, cl *client.Client, in io.Reader, channel string, o client.PublishOptions, pr *printer) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	waiting := make(chan chan answer, pubWindow)
	printed := make(chan error, 1)
	go func() { printed <- printAnswers(waiting, channel, pr, stop) }()
	err := eachLine(ctx, in, func(line []byte) error {
		a := make(chan answer, 1)
		if err := cl.PublishAsync(channel, line, o, func(r client.PublishReply, err error) { a <- answer{r, err} }); err != nil {
			return fmt.Errorf("publish to %s: %w", channel, err)
		}
		select {
		case waiting <- a:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	})
	close(waiting)
	if first := <-printed; first != nil {
		return first
	}
	return err
}

// printAnswers returns the first error, after which it stops the publishing; it goes on until waiting is closed.
func printAnswers(waiting <-chan chan answer, channel string, pr *printer, stop context.CancelCauseFunc) (first error) {
	for a := range waiting {
		r := <-a
		err := r.err
		if err != nil {
			err = fmt.Errorf("publish to %s: %w", channel, err)
		} else {
			err = pr.published(channel, r.reply)
		}
		if len(waiting) == 0 {
			err = errors.Join(err, pr.flush())
		}
		if err != nil && first == nil {
			first = err
			stop(err)
		}
	}
	return errors.Join(first, pr.flush())
}

// eachLine calls do with every line that is not empty. Reading cannot be interrupted, so when ctx ends the reading
// goroutine is left behind; it ends with the program's input.
func eachLine(ctx context.Context, in io.Reader, do func([]byte) error) error {
	lines := make(chan []byte)
	var failed error // set before lines is closed
	go func() {
		defer close(lines)
		s := bufio.NewScanner(in)
		s.Buffer(nil, maxPubLine)
		for s.Scan() {
			if line := bytes.TrimSuffix(s.Bytes(), []byte("\r")); len(line) > 0 {
				select {
				case lines <- bytes.Clone(line):
				case <-ctx.Done():
					return
				}
			}
		}
		if failed = s.Err(); failed != nil {
			failed = fmt.Errorf("standard input: %w", failed)
		}
	}()
	for {
		select {
		case line, ok := <-lines:
			if !ok {
				return failed
			}
			if err := do(line); err != nil {
				return err
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
