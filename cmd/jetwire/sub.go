package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

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
		Usage:     "print the messages of channels as they come",
		ArgsUsage: "CHANNEL…",
		Description: "Prints what is published from now on, or what follows --since and then what comes. A CHANNEL may be a pattern: * stands\n" +
			"for one part of a name, > at the end for all that follow, as in 'orders.*.status' or 'orders.>' (quote them). A lost\n" +
			"connection is made anew, and the subscriptions go on where they were. A gap (messages that the log no longer holds) is\n" +
			"told on standard error, and in JSON also as {\"gap\":{…}}.\n\n" +
			"With --device the server keeps the subscriptions of that device of yours, and how far they were printed: the next\n" +
			"`jetwire sub --device NAME` goes on there, with what came meanwhile, without naming channels; those that are named are\n" +
			"added. Your inbox, user.<you>, is one of them. A message is acknowledged once it was written to standard output: if the\n" +
			"command is killed between the two, it is printed again. A device is used by one at a time; the newest takes it over.",
		Flags: clientFlags(
			&cli.StringFlag{Name: "device", Usage: "`NAME` of a device whose subscriptions the server keeps: up to 64 characters of ASCII, no spaces", EnvVars: []string{"JETWIRE_DEVICE"}},
			&cli.Uint64Flag{Name: "since", Usage: "begin behind this `SEQ`uence; 0 is the beginning of the log. For one CHANNEL", DefaultText: "from now on"},
			&cli.StringFlag{Name: "epoch", Usage: "the `EPOCH` that --since belongs to"},
			&cli.IntFlag{Name: "count", Usage: "end after `N` messages", DefaultText: "never"},
			qosFlag("0 (live only), 1 (at least once) or 2 (exactly once)"),
		),
		Action: p.sub,
	}
}

func (p *program) sub(c *cli.Context) error {
	channels, device := slices.Compact(slices.Sorted(slices.Values(c.Args().Slice()))), c.String("device")
	if len(channels) == 0 && device == "" {
		return usagef("CHANNEL is missing (or --device, whose subscriptions the server keeps); see `%s --help`", c.Command.HelpName)
	}
	qos, err := qosOf(c)
	if err != nil {
		return err
	}
	o := client.SubscribeOptions{QoS: qos, Epoch: c.String("epoch"), ManualAck: true}
	if c.IsSet("since") {
		since := c.Uint64("since")
		o.Since = &since
	}
	switch {
	case c.Int("count") < 0:
		return usagef("--count is negative")
	case o.Since != nil && qos == client.AtMostOnce:
		return usagef("--since needs --qos 1 or 2: at 0 there are only live messages")
	case o.Since != nil && len(channels) != 1:
		return usagef("--since is a place in one channel's log: name one CHANNEL")
	case o.Since == nil && o.Epoch != "":
		return usagef("--epoch belongs to --since")
	}
	for _, channel := range channels {
		if err := wire.ValidSubscription(channel); err != nil {
			return usagef("%s: %w", channel, err)
		}
	}
	if device != "" {
		if err := wire.ValidDevice(device); err != nil {
			return usagef("--device: %w", err)
		}
	}
	cl, err := p.dial(c, device)
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	f := &follower{c: c, cl: cl, pr: p.printer(c), count: c.Int("count"), ended: make(chan error, 1)}
	f.pr.channels = len(channels) != 1 || device != "" || wire.IsPattern(channels[0])
	return f.run(channels, o)
}

// follower prints subscriptions.
type follower struct {
	c     *cli.Context
	cl    *client.Client
	count int        // messages to print; 0: without end
	ended chan error // how it ended

	mu      sync.Mutex // the callbacks of several subscriptions run at a time
	pr      *printer
	printed int
	over    bool
	subs    []*followed
}

// followed is one subscription of a follower.
type followed struct {
	sub  *client.Subscription
	last uint64 // sequence of the last message printed; guarded by follower.mu
}

// handled notes what was printed, once it is known that the subscription was made.
func (to *followed) handled(seq uint64, subscribed <-chan struct{}) {
	if <-subscribed; to.sub != nil {
		to.sub.Handled(seq)
	}
}

// run subscribes, also to what the server has kept for the device, and prints until count messages were printed, a subscription fails or the
// context ends.
func (f *follower) run(channels []string, o client.SubscribeOptions) error {
	restored := f.cl.Restored()
	f.greet(restored)
	for _, channel := range channels {
		if err := f.follow(channel, o); err != nil {
			return err
		}
		restored = slices.DeleteFunc(restored, func(r client.Restored) bool { return r.Channel == channel })
	}
	for _, r := range restored {
		if err := f.follow(r.Channel, client.SubscribeOptions{ManualAck: true}); err != nil {
			return err
		}
	}
	if len(f.subs) == 0 {
		return usagef("the server keeps nothing for this device, and this user has no inbox: name a CHANNEL")
	}
	var err error
	select {
	case err = <-f.ended:
	case <-f.c.Context.Done():
		err = context.Cause(f.c.Context)
	}
	f.acknowledge()
	return err
}

// greet says what a device goes on with.
func (f *follower) greet(restored []client.Restored) {
	s := f.cl.Session()
	switch {
	case s.Device == "":
	case !s.Resumed:
		f.pr.note("the server does not know the device %s yet", s.Device)
	default:
		names := make([]string, len(restored))
		for i := range restored {
			names[i] = restored[i].Channel
		}
		f.pr.note("device %s goes on with %s", s.Device, strings.Join(names, ", "))
	}
}

func (f *follower) follow(channel string, o client.SubscribeOptions) error {
	to := &followed{}
	subscribed := make(chan struct{}) // to.sub is set
	o.OnMessage = func(m client.Message) {
		done := func() {
			f.printed++
			if m.Seq != 0 && !m.Redelivered {
				to.last = m.Seq
			}
		}
		if f.print(func() error { return f.pr.message(&m) }, done) && m.Seq != 0 {
			to.handled(m.Seq, subscribed)
		}
	}
	o.OnGap = func(g client.Gap) {
		if f.print(func() error { return f.pr.gap(g) }, func() { to.last = g.To }) {
			to.handled(g.To, subscribed)
		}
	}
	o.OnError = func(err error) { f.end(fmt.Errorf("%s: %w", channel, err)) }
	ctx, cancel := context.WithTimeout(f.c.Context, f.c.Duration("timeout"))
	defer cancel()
	var err error
	to.sub, err = f.cl.Subscribe(ctx, channel, o)
	close(subscribed)
	if err != nil {
		return fmt.Errorf("subscribe to %s: %w", channel, err)
	}
	f.mu.Lock()
	f.subs = append(f.subs, to)
	f.mu.Unlock()
	f.pr.note("subscribed to %s", channel)
	return nil
}

// print writes one thing out, unless all is over. It reports whether it was written.
func (f *follower) print(write func() error, done func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.over {
		return false
	}
	err := write()
	if err == nil {
		err = f.pr.flush()
	}
	if err == nil {
		done()
	}
	if f.over = err != nil || f.count > 0 && f.printed >= f.count; f.over {
		f.end(err)
	}
	return err == nil
}

// end ends run; the first reason counts.
func (f *follower) end(err error) {
	select {
	case f.ended <- err:
	default:
	}
}

// acknowledge waits until the server knows what was printed, so that the device goes on behind it. Nothing is printed any more.
func (f *follower) acknowledge() {
	f.mu.Lock()
	f.over = true
	f.mu.Unlock()
	if f.cl.Session().Device == "" {
		return
	}
	// Also after an interrupt, but not for long.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(f.c.Context), min(f.c.Duration("timeout"), 3*time.Second))
	defer cancel()
	for _, to := range f.subs {
		if to.last == 0 || to.sub.Err() != nil {
			continue
		}
		if err := to.sub.Ack(ctx, to.last); err != nil {
			f.pr.note("what was printed of %s may be printed again: %v", to.sub.Channel(), err)
		}
	}
}
