package main

import (
	"fmt"
	"strconv"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/gateway/wire"
)

// Categories of flags. Those of a scenario have none.
const (
	categoryServer = "server"
	categoryLoad   = "load"
	categoryReport = "report"
)

// commonFlags are those of every scenario.
func commonFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "url", Usage: "`ws://HOST:PORT/ws` of a running server (default: start one); may be repeated for the gateways of a cluster, over which sockets are spread", EnvVars: []string{"JETWIRE_URL"}, Category: categoryServer},
		&cli.StringFlag{Name: "token", Usage: "`TOKEN` to connect with", EnvVars: []string{"JETWIRE_TOKEN"}, Category: categoryServer},
		&cli.StringFlag{Name: "data", Usage: "data `DIR` of a running server, to sign a token with its secret; or of the server to start, which is then kept", Category: categoryServer},
		&cli.IntSliceFlag{Name: "pid", Usage: "`PID` of a running server on this machine, to read what it uses from /proc; one for each --url", Category: categoryServer},
		&cli.StringSliceFlag{Name: "metrics", Usage: "`URL` of its metrics (default: /metrics beside the WebSocket); one for each --url", Category: categoryServer},
		&cli.StringFlag{Name: "server-binary", Usage: "jetwire `PATH` to start (default: build ./cmd/jetwire)", Category: categoryServer},
		&cli.StringSliceFlag{Name: "server-arg", Usage: "`ARG` added to 'jetwire serve'; may be repeated", Category: categoryServer},
		&cli.BoolFlag{Name: "server-log", Usage: "show what the started server prints", Category: categoryServer},

		&cli.DurationFlag{Name: "duration", Usage: "`TIME` measured", Value: bench.DefaultDuration, Category: categoryLoad},
		&cli.DurationFlag{Name: "warmup", Usage: "`TIME` before it", Value: bench.DefaultWarmup, Category: categoryLoad},
		&cli.DurationFlag{Name: "drain", Usage: "`TIME` of silence after which what is missing counts as lost", Value: bench.DefaultDrain, Category: categoryLoad},
		&cli.StringFlag{Name: "payload", Usage: "`BYTES` of a message: 128, or 64-1024 for all between, or with weights 128:90,4096:10", Value: strconv.Itoa(bench.DefaultPayload), Category: categoryLoad},
		&cli.IntFlag{Name: "qos", Usage: "0, 1 or 2", Value: 1, Category: categoryLoad},
		&cli.StringFlag{Name: "namespace", Usage: "`NAME` of the channels' namespace", Value: bench.DefaultChannel, Category: categoryLoad},
		&cli.IntFlag{Name: "loops", Usage: "epoll loops of the client (default: half the cores)", Category: categoryLoad},
		&cli.IntFlag{Name: "sources", Usage: "loopback source addresses (default: as many as the ports demand)", Category: categoryLoad},
		&cli.BoolFlag{Name: "one-by-one", Usage: "await connect's reply before subscribing, instead of sending both at once", Category: categoryLoad},

		&cli.StringFlag{Name: "json", Usage: "write the report as JSON to `FILE`, or to standard output for -", Category: categoryReport},
		&cli.StringFlag{Name: "html", Usage: "write it also as a page with plots to `FILE`, which needs nothing from elsewhere", Category: categoryReport},
		&cli.StringFlag{Name: "profile", Usage: "take a CPU profile of the server while it is measured, and write cpu.pprof and the flame graph flame.html to `DIR`", Category: categoryReport},
		&cli.StringFlag{Name: "api-key", Usage: "`KEY` of a running server, for --profile", EnvVars: []string{"JETWIRE_API_KEY"}, Category: categoryServer},
		&cli.IntFlag{Name: "repeat", Usage: "run `N` times, each against a server of its own unless there is --url; report medians and spread", Value: 1, Category: categoryReport},
		&cli.BoolFlag{Name: "quiet", Usage: "no progress, neither of what begins nor of every second", Category: categoryReport},
	}
}

func rampFlag(usage string) cli.Flag {
	return &cli.DurationFlag{Name: "ramp", Usage: "`TIME` " + usage, Category: categoryLoad}
}

func processesFlag() cli.Flag {
	return &cli.IntFlag{Name: "processes", Usage: "load `PROCESSES` that hold the sockets, beside the one that publishes (default: none, or as many as their file limits demand)", Category: "load"}
}

// running says that the server under test runs already.
func running(c *cli.Context) bool { return len(c.StringSlice("url")) > 0 }

func qosOf(c *cli.Context) (wire.QoS, error) {
	q := c.Int("qos")
	if q < 0 || q > int(wire.ExactlyOnce) {
		return 0, fmt.Errorf("%w: --qos %d: it is 0, 1 or 2", errUsage, q)
	}
	return wire.QoS(q), nil
}

// loadOf reads the common flags.
func (p *program) loadOf(c *cli.Context, t *bench.Target) (bench.Load, error) {
	l := bench.Load{
		Target: t, Duration: c.Duration("duration"), Warmup: c.Duration("warmup"), Drain: c.Duration("drain"),
		Ramp: c.Duration("ramp"), Namespace: c.String("namespace"), Loops: c.Int("loops"), Sources: c.Int("sources"),
		OneByOne: c.Bool("one-by-one"), Processes: c.Int("processes"), Worker: workerProgram(),
	}
	if l.Duration <= 0 {
		return l, fmt.Errorf("%w: --duration must be more than nothing", errUsage)
	}
	var err error
	if l.Payload, err = bench.ParseSizes(c.String("payload")); err != nil {
		return l, fmt.Errorf("%w: --payload: %w", errUsage, err)
	}
	if l.Ramp < 0 {
		return l, fmt.Errorf("%w: --ramp is a time, 0 for none", errUsage)
	}
	if err := wire.ValidChannel(l.Namespace + ".x"); err != nil {
		return l, fmt.Errorf("%w: --namespace: %w", errUsage, err)
	}
	if l.Warmup == 0 {
		l.Warmup = -1 // bench takes 0 for its default
	}
	if !c.Bool("quiet") {
		l.Progress, l.Second = p.progress, p.console.point
	}
	return l, nil
}

func (p *program) progress(line string) { p.console.say(line) }
