package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
)

func (p *program) batches() *cli.Command {
	return &cli.Command{
		Name: "batches", Usage: "ways to publish to an external NATS: singly, by fast ingest, in atomic batches, in turn",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "servers", Usage: "1, or 3 for a cluster and three replicas", Value: 1},
			&cli.BoolFlag{Name: "sync", Usage: "the servers sync before they acknowledge (sync_interval: always)"},
			&cli.StringFlag{Name: "ways", Usage: "`WAYS` to publish", Value: strings.Join(bench.Ways, ",")},
			&cli.IntSliceFlag{Name: "waiting", Usage: "publishers that wait for answers; may be repeated", Value: cli.NewIntSlice(1, 100, 3200)},
			&cli.IntSliceFlag{Name: "payload", Usage: "`BYTES` of a message; may be repeated", Value: cli.NewIntSlice(128, 1024)},
			&cli.IntFlag{Name: "rounds", Usage: "turns of each", Value: bench.DefaultRounds},
			&cli.DurationFlag{Name: "duration", Usage: "`TIME` measured in each turn", Value: 2 * time.Second},
			&cli.DurationFlag{Name: "warmup", Usage: "`TIME` before it", Value: 500 * time.Millisecond},
		},
		OnUsageError: usageError,
		Action: func(c *cli.Context) (err error) {
			ways := strings.Split(c.String("ways"), ",")
			for _, way := range ways {
				if !slices.Contains(bench.Ways, way) {
					return fmt.Errorf("%w: --ways %q: it is none of %s", errUsage, way, strings.Join(bench.Ways, ", "))
				}
			}
			n, err := startCluster(c.Context, c.Int("servers"), c.Bool("sync"))
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, n.Close()) }()
			for range c.Int("rounds") {
				for _, payload := range c.IntSlice("payload") {
					for _, waiting := range c.IntSlice("waiting") {
						for _, way := range ways {
							r, err := bench.Batches{
								URL: n.url, PIDs: n.pids(), Way: way, InFlight: waiting, Payload: payload, Replicas: len(n.processes),
								Warmup: c.Duration("warmup"), Duration: c.Duration("duration"),
							}.Run(c.Context)
							if err != nil {
								return err
							}
							if _, err := fmt.Fprintln(p.out, r.Text()); err != nil {
								return err
							}
						}
					}
				}
			}
			return nil
		},
	}
}

// cluster is one NATS server or several, each a process of its own.
type cluster struct {
	processes []*bench.Process
	url       string // of the first
	scratch   string
}

func startCluster(ctx context.Context, servers int, sync bool) (_ *cluster, err error) {
	n := &cluster{}
	defer func() {
		if err != nil {
			err = errors.Join(err, n.Close())
		}
	}()
	if n.scratch, err = os.MkdirTemp("", "jetbench-nats-"); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var routes []string
	if servers > 1 {
		if routes, err = freeAddresses(ctx, servers); err != nil {
			return nil, err
		}
	}
	for i := range servers {
		args := []string{"nats-server", "--data", filepath.Join(n.scratch, strconv.Itoa(i)), "--name", fmt.Sprintf("jetbench-%d", i), "--sync=" + strconv.FormatBool(sync)}
		if routes != nil {
			args = append(args, "--cluster", routes[i], "--routes", strings.Join(routes, ","))
		}
		process, url, err := bench.StartProcess(ctx, self, args, natsAddress, nil)
		if err != nil {
			return nil, err
		}
		if n.processes = append(n.processes, process); i == 0 {
			n.url = url
		}
	}
	return n, bench.WaitForJetStream(ctx, n.url)
}

// freeAddresses returns addresses at which nobody listens at the moment.
func freeAddresses(ctx context.Context, n int) (list []string, err error) {
	for range n {
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() //nolint:errcheck // it was only asked for its address
		list = append(list, l.Addr().String())
	}
	return list, nil
}

func (n *cluster) pids() (list []int) {
	for _, p := range n.processes {
		list = append(list, p.PID())
	}
	return list
}

// Close ends the processes and removes their stores.
func (n *cluster) Close() error {
	var errs []error
	for _, p := range n.processes {
		errs = append(errs, p.Kill()) // what they hold is thrown away
	}
	if n.scratch != "" {
		errs = append(errs, os.RemoveAll(n.scratch))
	}
	return errors.Join(errs...)
}
