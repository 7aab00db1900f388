package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/soak"
	"github.com/jetwire/jetwire/gateway/auth"
)

var errPromise = errors.New("the server did not keep its promise: see the report")

// What soak tells the server besides where to listen: limits that are reached within a soak's pauses.
var soakArgs = []string{"--ping-interval", "2s", "--queue-bytes", "16KiB", "--drain-timeout", "3s", "--ack-wait", "1500ms"}

func (p *program) soak() *cli.Command {
	return &cli.Command{
		Name: "soak", Usage: "kill, drain, cut, stall and vanish, and see whether every message arrives once and in order",
		Description: "The seed draws the schedule of faults and what is published; the same seed gives the same schedule. The exit\n" +
			"status is 1 if anything was lost, duplicated, reordered, invented or altered.",
		OnUsageError: usageError,
		Flags: []cli.Flag{
			&cli.DurationFlag{Name: "duration", Usage: "`TIME` of faults; coming to rest is added", Value: soak.DefaultDuration},
			&cli.Uint64Flag{Name: "seed", Usage: "`NUMBER` that everything random comes from (default: a new one)"},
			&cli.Float64Flag{Name: "rate", Usage: "messages published a second, about", Value: soak.DefaultRate},
			&cli.IntFlag{Name: "payload", Usage: "`BYTES` of the largest body, about", Value: soak.DefaultPayload},
			&cli.IntFlag{Name: "channels", Value: soak.DefaultChannels, Usage: "channels; every subscriber has all of them"},
			&cli.IntFlag{Name: "publishers", Value: soak.DefaultPublishers, Usage: "clients that publish"},
			&cli.IntFlag{Name: "subscribers", Value: soak.DefaultSteady, Usage: "subscribers of each kind: steady, stalling, vanishing"},
			&cli.IntFlag{Name: "devices", Value: soak.DefaultDevices, Usage: "durable sessions, which rely on what the server restores"},
			&cli.IntFlag{Name: "patterns", Value: soak.DefaultMatching, Usage: "subscribers to patterns"},
			&cli.IntFlag{Name: "kills", Usage: "of the server by SIGKILL (default: one in " + soak.DefaultKillEvery.String() + ", two at least)"},
			&cli.StringFlag{Name: "trace", Usage: "show everything that happens to `NAME`, a device or a subscriber to patterns (device-0, matching-0)"},
			&cli.BoolFlag{Name: "plan", Usage: "only print the schedule of faults"},
			&cli.StringFlag{Name: "data", Usage: "data `DIR` of the server, which is then kept (default: one that is removed)"},
			&cli.StringFlag{Name: "server-binary", Usage: "jetwire `PATH` to start (default: build ./cmd/jetwire)"},
			&cli.StringSliceFlag{Name: "server-arg", Usage: "`ARG` added to 'jetwire serve'; may be repeated"},
			&cli.BoolFlag{Name: "server-log", Usage: "show what the server prints"},
			&cli.StringFlag{Name: "json", Usage: "write the report as JSON to `FILE`, or to standard output for -"},
			&cli.BoolFlag{Name: "quiet", Usage: "no progress"},
		},
		Action: p.runSoak,
	}
}

func (p *program) runSoak(c *cli.Context) (err error) {
	o := soak.Options{
		Seed: c.Uint64("seed"), Duration: c.Duration("duration"), Rate: c.Float64("rate"), Payload: c.Int("payload"), Kills: c.Int("kills"),
		Trace:    c.String("trace"),
		Channels: c.Int("channels"), Publishers: c.Int("publishers"),
		Steady: c.Int("subscribers"), Stalling: c.Int("subscribers"), Vanishing: c.Int("subscribers"),
	}
	if o.Devices = c.Int("devices"); o.Devices == 0 {
		o.Devices = -1
	}
	if o.Matching = c.Int("patterns"); o.Matching == 0 {
		o.Matching = -1
	}
	if c.Args().Present() {
		return fmt.Errorf("%w: soak takes no arguments, only flags: %q", errUsage, c.Args().First())
	}
	if o.Duration < time.Second {
		return fmt.Errorf("%w: --duration must be a second at least", errUsage)
	}
	if !c.IsSet("seed") {
		o.Seed = uint64(time.Now().UnixNano()) % 1e9
	}
	if !c.Bool("quiet") {
		o.Progress = p.progress
	}
	o.Plan = soak.NewPlan(&o)
	if c.Bool("plan") {
		for _, e := range o.Plan {
			fmt.Fprintln(p.out, e)
		}
		return nil
	}
	s := &soaked{p: p, c: c}
	defer func() { err = errors.Join(err, s.remove()) }()
	if err := s.prepare(c.Context); err != nil {
		return err
	}
	o.Start, o.Token, o.Stats = s.start, s.token, soakStats
	fmt.Fprintf(p.log, "seed %d: the same schedule again with --seed %d --duration %v\n", o.Seed, o.Seed, o.Duration)
	r, err := soak.Run(c.Context, o)
	if err != nil {
		return fmt.Errorf("seed %d: %w", o.Seed, err)
	}
	if err := p.report(c.String("json"), r); err != nil {
		return err
	}
	if r.Broken() {
		return fmt.Errorf("seed %d: %w", o.Seed, errPromise)
	}
	return nil
}

// soaked is the server under soak: one program and one data directory, and one process after the other.
type soaked struct {
	p *program
	c *cli.Context

	scratch string
	binary  string
	data    string
	args    []string
	secret  []byte
}

func (s *soaked) prepare(ctx context.Context) (err error) {
	if s.scratch, err = os.MkdirTemp("", "jetbench-soak-"); err != nil {
		return err
	}
	if s.binary = s.c.String("server-binary"); s.binary == "" {
		s.p.progress("building the server")
		s.binary = filepath.Join(s.scratch, "jetwire")
		if err := build(ctx, s.binary); err != nil {
			return err
		}
	}
	if s.data = s.c.String("data"); s.data == "" {
		s.data = filepath.Join(s.scratch, "data")
	}
	s.args = append([]string{"serve", "--listen", "127.0.0.1:0", "--data", s.data}, soakArgs...)
	s.args = append(s.args, s.c.StringSlice("server-arg")...)
	return nil
}

func (s *soaked) remove() error {
	if s.scratch == "" {
		return nil
	}
	return os.RemoveAll(s.scratch)
}

// start starts a process on the data that the one before left.
func (s *soaked) start(ctx context.Context) (soak.Server, error) {
	var log io.Writer
	if s.c.Bool("server-log") {
		log = s.p.log
	}
	process, address, err := bench.StartProcess(ctx, s.binary, s.args, wsAddress, log)
	if err != nil {
		return nil, err
	}
	server := soakServer{Process: process}
	if s.secret == nil {
		s.secret, err = auth.Secret(s.data)
	}
	if err == nil {
		server.target, err = bench.NewTarget(ctx, address, "", process.PID(), "")
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, readyTimeout)
		defer cancel()
		err = server.target.WaitReady(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, process.Kill())
	}
	return server, nil
}

func (s *soaked) token(user string) (string, error) {
	return auth.Sign(s.secret, auth.Grant{User: user, Expires: time.Now().Add(tokenLife).UnixMilli(), Patterns: &auth.Patterns{auth.Publish: []string{">"}}})
}

// soakServer is one process.
type soakServer struct {
	*bench.Process
	target *bench.Target
}

var _ soak.Server = soakServer{}

// Addr returns HOST:PORT.
func (s soakServer) Addr() string {
	u, err := url.Parse(s.target.URL)
	if err != nil {
		return ""
	}
	return u.Host
}

// soakStats asks a server for its counters.
func soakStats(ctx context.Context, s soak.Server) soak.Counters {
	m, err := s.(soakServer).target.Metrics(ctx)
	if err != nil {
		return soak.Counters{}
	}
	return soak.Counters{
		Slow: uint64(m["jetwire_slow_sockets_total"]), CatchUps: uint64(m["jetwire_caught_up_total"]),
		Holes: uint64(m["jetwire_holes_total"]), GapPushes: uint64(m["jetwire_gaps_total"]),
		Redeliveries: uint64(m["jetwire_redeliveries_total"]),
	}
}
