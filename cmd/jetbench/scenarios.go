package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

func paceFlags(rate float64) []cli.Flag {
	return []cli.Flag{
		&cli.Float64Flag{Name: "rate", Usage: "deliveries a second, all sockets together (open loop: latency counts from when a message was meant to be sent)", Value: rate},
		&cli.BoolFlag{Name: "flat-out", Usage: "no rate (closed loop): as fast as it goes with --window messages in flight"},
		&cli.IntFlag{Name: "window", Usage: "`MESSAGES` in flight when flat out", Value: bench.DefaultWindow},
		rampFlag("before the warm-up in which the rate (flat out: the window) rises from nothing"), processesFlag(),
		&cli.BoolFlag{Name: "durable", Usage: "each socket is a device of a user of its own, and acknowledges what it gets"},
	}
}

func (p *program) fanout() *cli.Command {
	flags := append(slices.Concat(paceFlags(bench.DefaultFanoutRate), peerFlags()),
		&cli.IntFlag{Name: "conns", Usage: "sockets on the channel", Value: bench.DefaultFanoutConns})
	return p.command("fanout", "many sockets on one channel", flags, func(c *cli.Context) error {
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error) {
			return bench.Fanout{
				Load: l, Conns: c.Int("conns"), Rate: c.Float64("rate"), FlatOut: c.Bool("flat-out"), Window: c.Int("window"), QoS: q, Durable: c.Bool("durable"),
			}.Run(ctx)
		})
	})
}

func (p *program) rooms() *cli.Command {
	flags := append(slices.Concat(paceFlags(bench.DefaultRoomsRate), peerFlags()),
		&cli.IntFlag{Name: "rooms", Usage: "channels", Value: bench.DefaultRooms},
		&cli.IntFlag{Name: "members", Usage: "sockets on each", Value: bench.DefaultRoomMembers},
		&cli.IntFlag{Name: "publishers", Usage: "sockets that publish", Value: bench.DefaultRoomPublishers})
	return p.command("rooms", "few sockets on each of many channels", flags, func(c *cli.Context) error {
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error) {
			return bench.Rooms{
				Load: l, Rooms: c.Int("rooms"), Members: c.Int("members"), Publishers: c.Int("publishers"),
				Rate: c.Float64("rate"), FlatOut: c.Bool("flat-out"), Window: c.Int("window"), QoS: q, Durable: c.Bool("durable"),
			}.Run(ctx)
		})
	})
}

func (p *program) idle() *cli.Command {
	flags := append(peerFlags(),
		&cli.StringFlag{Name: "steps", Usage: "ascending `NUMBERS` of connections; the slopes go from the first to the last", Value: steps(bench.DefaultIdleSteps)},
		&cli.IntFlag{Name: "conns", Usage: "the last step, others beyond it left out (default: as --steps says)"},
		&cli.BoolFlag{Name: "own", Usage: "each socket also listens to a channel of its own"},
		&cli.DurationFlag{Name: "settle", Usage: "`TIME` for memory to settle on each step, at most", Value: bench.DefaultSettle},
		rampFlag("over which each step's connections are spread (default: as fast as they go)"), processesFlag(),
	)
	return p.command("idle", "sockets that wait: memory for each, and what connecting costs", flags, func(c *cli.Context) error {
		list, err := parseSteps(c.String("steps"), c.Int("conns"))
		if err != nil {
			return err
		}
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error) {
			return bench.Idle{Load: l, Steps: list, Own: c.Bool("own"), Settle: c.Duration("settle"), QoS: q}.Run(ctx)
		})
	})
}

func steps(list []int) string {
	words := make([]string, len(list))
	for i, n := range list {
		words[i] = strconv.Itoa(n)
	}
	return strings.Join(words, ",")
}

// parseSteps reads a list of ascending numbers, and ends it at last if that is not 0.
func parseSteps(text string, last int) (list []int, err error) {
	for _, word := range strings.Split(text, ",") {
		n, err := strconv.Atoi(strings.TrimSpace(word))
		if err != nil || n < 1 || len(list) > 0 && n <= list[len(list)-1] {
			return nil, fmt.Errorf("%w: --steps %q: ascending numbers with commas between them", errUsage, text)
		}
		if last <= 0 || n < last {
			list = append(list, n)
		}
	}
	if last > 0 {
		list = append(list, last)
	}
	return list, nil
}
