package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// classes are the durability classes that a server of jetbench's own can have, with the policies of their namespaces.
var classes = map[string]string{"memory": "storage: memory", "file": "sync: false", "file+sync": "sync: true"}

const (
	classesFlag    = "classes"
	noClasses      = "none"
	defaultClasses = "file"
)

var errConfigTwice = errors.New("--classes needs a configuration of its own: leave --config out of --server-arg, or say --classes none")

// classList returns what --classes names; nil where the command has no such flag.
func classList(c *cli.Context) ([]string, error) {
	text := c.String(classesFlag)
	configured := slices.ContainsFunc(c.StringSlice("server-arg"), func(s string) bool { return strings.HasPrefix(s, "--config") })
	if text == "" || text == noClasses || !c.IsSet(classesFlag) && (configured || running(c)) {
		return nil, nil
	}
	if configured {
		return nil, fmt.Errorf("%w: %w", errUsage, errConfigTwice)
	}
	list := strings.Split(text, ",")
	for _, name := range list {
		if _, ok := classes[name]; !ok && !running(c) {
			return nil, fmt.Errorf("%w: --classes %q: it is none of %s", errUsage, name, strings.Join(slices.Sorted(maps.Keys(classes)), ", "))
		}
	}
	return list, nil
}

// classNamespace is where a server of jetbench's own has a class.
func classNamespace(class string) string { return "bench-" + strings.ReplaceAll(class, "+", "-") }

// classArgs writes a configuration with the classes' namespaces, and returns the server's arguments for it.
func classArgs(dir string, list []string) ([]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	text := "namespaces:\n"
	for _, class := range list {
		text += fmt.Sprintf("  %s: {%s}\n", classNamespace(class), classes[class])
	}
	path := filepath.Join(dir, "jetwire.yaml")
	return []string{"--config", path}, os.WriteFile(path, []byte(text), 0o600)
}

func (p *program) publish() *cli.Command {
	flags := []cli.Flag{
		&cli.IntFlag{Name: "conns", Usage: "sockets", Value: bench.DefaultPublishConns},
		&cli.IntFlag{Name: "depth", Usage: "`MESSAGES` in flight on each (closed loop)", Value: bench.DefaultPublishDepth},
		&cli.Float64Flag{Name: "rate", Usage: "instead of --depth: messages a second, all sockets together (open loop: latency counts from when a message was meant to be sent); no raw publisher then"},
		rampFlag("before the warm-up in which the rate rises from nothing"),
		&cli.IntFlag{Name: "rounds", Usage: "turns of the gateway and of the raw publisher", Value: bench.DefaultRounds},
		&cli.StringFlag{Name: classesFlag, Usage: "durability `CLASSES` that take turns with the server's default, with commas: " + strings.Join(slices.Sorted(maps.Keys(classes)), ", ") +
			"; of a running server, NAMESPACES that have them; none for none", Value: defaultClasses},
		&cli.BoolFlag{Name: "no-raw", Usage: "do not compare with a raw JetStream publisher"},
	}
	return p.command("publish", "sockets that publish, against a raw JetStream publisher", flags, func(c *cli.Context) error {
		return p.measure(c, func(ctx context.Context, l bench.Load, q wire.QoS) (r *report.Report, err error) {
			o := bench.Publish{Load: l, Conns: c.Int("conns"), Depth: c.Int("depth"), Rounds: c.Int("rounds"), QoS: q, Rate: c.Float64("rate")}
			list, err := classList(c)
			if err != nil {
				return nil, err
			}
			for _, class := range list {
				if !running(c) {
					class = classNamespace(class)
				}
				o.Namespaces = append(o.Namespaces, class)
			}
			if c.Bool("no-raw") || o.Rate > 0 {
				return o.Run(ctx)
			}
			s, err := p.rawServer(ctx, c.Int("conns")*c.Int("depth"))
			if err != nil {
				return nil, err
			}
			defer func() {
				if e := s.Close(); err == nil {
					err = e
				}
			}()
			o.Raw = func(ctx context.Context, subjects, payload int, warmup, d time.Duration) (float64, error) {
				return s.raw.Publish(ctx, subjects, payload, warmup, d)
			}
			return o.Run(ctx)
		})
	})
}
