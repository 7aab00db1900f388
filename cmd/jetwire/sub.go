package main

import (
	"context"
	"fmt"
	"sync"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
)

func qosFlag(usage string) cli.Flag {
	return &cli.IntFlag{Name: "qos", Usage: usage, DefaultText: "1"}
}

// qosOf reads --qos; client.Default if it is not given.
func qosOf(c *cli.Context) (client.QoS, error) {
	if !c.IsSet("qos") {
		return client.Default, nil
	}
	q := c.Int("qos")
	if q < 0 || q > int(wire.ExactlyOnce) {
		return 0, usagef("--qos is 0, 1 or 2")
	}
	return client.QoSOf(wire.QoS(q)), nil
}

func (p *program) subCommand() *cli.Command {
	return &cli.Command{
		Name:      "sub",
		Usage:     "print the messages of a channel as they come",
		ArgsUsage: "CHANNEL",
		Description: "Prints what is published from now on, or what follows --since and then what comes. A lost connection is made\n" +
			"anew, and the subscription goes on where it was. A gap (messages that the log no longer holds) is told on standard\n" +
			"error, and in JSON also as {\"gap\":{…}}.",
		Flags: clientFlags(
			&cli.Uint64Flag{Name: "since", Usage: "begin behind this `SEQ`uence; 0 is the beginning of the log", DefaultText: "from now on"},
			&cli.StringFlag{Name: "epoch", Usage: "the `EPOCH` that --since belongs to"},
			&cli.IntFlag{Name: "count", Usage: "end after `N` messages", DefaultText: "never"},
			qosFlag("0 (live only), 1 (at least once) or 2 (exactly once)"),
		),
		Action: p.sub,
	}
}

func (p *program) sub(c *cli.Context) error {
	args, err := arguments(c, "CHANNEL")
	if err != nil {
		return err
	}
	qos, err := qosOf(c)
	if err != nil {
		return err
	}
	o := client.SubscribeOptions{QoS: qos, Epoch: c.String("epoch")}
	if c.IsSet("since") {
		since := c.Uint64("since")
		o.Since = &since
	}
	switch {
	case c.Int("count") < 0:
		return usagef("--count is negative")
	case o.Since != nil && qos == client.AtMostOnce:
		return usagef("--since needs --qos 1 or 2: at 0 there are only live messages")
	case o.Since == nil && o.Epoch != "":
		return usagef("--epoch belongs to --since")
	}
	cl, err := p.dial(c)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	return follow(c, cl, args[0], o, p.printer(c), c.Int("count"))
}

// follow prints a channel until count messages were printed (0: without end), the subscription fails or the context ends.
func follow(c *cli.Context, cl *client.Client, channel string, o client.SubscribeOptions, pr *printer, count int) error {
	ended := make(chan error, 1)
	var once sync.Once
	end := func(err error) { once.Do(func() { ended <- err }) }
	printed, over := 0, false // used by the callbacks only, which run one at a time
	o.OnMessage = func(m client.Message) {
		if over {
			return
		}
		err := pr.message(&m)
		if err == nil {
			err = pr.flush()
		}
		printed++
		if over = err != nil || printed == count; over {
			end(err)
		}
	}
	o.OnGap = func(g client.Gap) {
		if over {
			return
		}
		err := pr.gap(g)
		if err == nil {
			err = pr.flush()
		}
		if over = err != nil; over {
			end(err)
		}
	}
	o.OnError = end
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	_, err := cl.Subscribe(ctx, channel, o)
	cancel()
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", channel, err)
	}
	pr.note("subscribed to %s", channel)
	select {
	case err = <-ended:
	case <-c.Context.Done():
		err = context.Cause(c.Context)
	}
	return err
}
