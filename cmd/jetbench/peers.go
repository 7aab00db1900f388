package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

const (
	mainModule    = "github.com/jetwire/jetwire"
	peersDir      = "bench/peers"
	peersFlag     = "peers"
	defaultRounds = 3
)

// peers are the servers that bench/peers has, with what they speak.
var peers = map[string]bench.Protocol{
	"floor": bench.Jetwire, "coder": bench.Jetwire, "gorilla": bench.Jetwire, "nats": bench.NATS, "socketio": bench.SocketIO,
}

// peerFlags are those of scenarios that peers can take part in.
func peerFlags() []cli.Flag {
	names := strings.Join(slices.Sorted(maps.Keys(peers)), ",")
	return []cli.Flag{
		&cli.StringFlag{Name: peersFlag, Usage: "measure Jetwire and `PEERS` in turn, at QoS 0, and Jetwire at --qos too if that is given: some of " + names, Category: "peers"},
		&cli.StringFlag{Name: "peers-binary", Usage: "peers `PATH` to start (default: build bench/peers)", Category: "peers"},
		&cli.IntFlag{Name: "rounds", Usage: "turns of each; the table has their medians", Value: defaultRounds, Category: "peers"},
	}
}

// contest is Jetwire and its peers in turn, each time in a process of its own.
type contest struct {
	p     *program
	c     *cli.Context
	run   scenario
	names []string

	scratch string
	binary  string // of the peers
	root    string // of the source tree; empty: it is not there
}

// contestant is a server, and what was measured of it.
type contestant struct {
	name  string
	qos   wire.QoS
	start func(ctx context.Context) (*server, error)
	runs  []*report.Report
}

// measurePeers runs a scenario against Jetwire and the peers that --peers names, and compares.
func (p *program) measurePeers(c *cli.Context, run scenario) (err error) {
	t := &contest{p: p, c: c, run: run, names: strings.Split(c.String(peersFlag), ",")}
	if err := t.check(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.remove()) }()
	if err := t.prepare(c.Context); err != nil {
		return err
	}
	field, err := t.contestants()
	if err != nil {
		return err
	}
	for round := range c.Int("rounds") {
		for _, x := range field {
			t.progress(fmt.Sprintf("round %d of %d: %s", round+1, c.Int("rounds"), x.name))
			if err := t.measure(c.Context, x); err != nil {
				return fmt.Errorf("%s: %w", x.name, err)
			}
		}
	}
	broken := false
	columns := make([]report.Column, len(field))
	for i, x := range field {
		columns[i] = report.Column{Name: x.name, Report: report.Repeat(x.runs)}
		broken = broken || columns[i].Report.Broken()
	}
	table, err := report.Compare(report.DefaultThreshold, columns...)
	if err != nil {
		return err
	}
	if err := p.writePage(c.String("html"), table.WriteHTML); err != nil {
		return err
	}
	if err := p.report(c.String("json"), table); err != nil {
		return err
	}
	if broken {
		return errBroken
	}
	return nil
}

func (t *contest) progress(line string) {
	if !t.c.Bool("quiet") {
		t.p.progress(line)
	}
}

func (t *contest) check() error {
	for _, name := range t.names {
		if _, ok := peers[name]; !ok {
			return fmt.Errorf("%w: --peers %q: it is none of %s", errUsage, name, strings.Join(slices.Sorted(maps.Keys(peers)), ", "))
		}
	}
	if t.c.Int("rounds") < 1 {
		return fmt.Errorf("%w: --rounds must be at least 1", errUsage)
	}
	if len(t.c.StringSlice("url")) > 0 || t.c.String("data") != "" {
		return fmt.Errorf("%w: --peers starts every server itself, each time anew: leave --url and --data out", errUsage)
	}
	_, err := t.p.loadOf(t.c, nil)
	return err
}

// prepare builds the servers once for all rounds.
func (t *contest) prepare(ctx context.Context) (err error) {
	if t.scratch, err = os.MkdirTemp("", "jetbench-peers-"); err != nil {
		return err
	}
	out, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", mainModule).Output()
	if err == nil {
		t.root = strings.TrimSpace(string(out))
	}
	if t.binary = t.c.String("peers-binary"); t.binary == "" {
		t.progress("building the peers")
		t.binary = filepath.Join(t.scratch, "peers")
		if err := t.build(ctx); err != nil {
			return err
		}
	}
	if t.c.String("server-binary") != "" {
		return nil
	}
	t.progress("building the server")
	binary := filepath.Join(t.scratch, "jetwire")
	if err := build(ctx, binary); err != nil {
		return err
	}
	return t.c.Set("server-binary", binary)
}

// build builds bench/peers, which is a module of its own and so cannot be named from within this one.
func (t *contest) build(ctx context.Context) error {
	const advice = "(run jetbench in Jetwire's source tree, or name a program that is built already with --peers-binary)"
	if t.root == "" {
		return fmt.Errorf("building %s: the module %s is not here %s", peersDir, mainModule, advice)
	}
	dir := filepath.Join(t.root, peersDir)
	if out, err := exec.CommandContext(ctx, "go", "build", "-C", dir, "-o", t.binary, ".").CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w %s\n%s", dir, err, advice, out)
	}
	return nil
}

// contestants are Jetwire at QoS 0, at another if one is asked for, and the peers.
func (t *contest) contestants() ([]*contestant, error) {
	q, err := qosOf(t.c)
	if err != nil {
		return nil, err
	}
	jetwire := func(ctx context.Context) (*server, error) { return t.p.server(ctx, t.c) }
	field := []*contestant{{name: "jetwire", start: jetwire}}
	if t.c.IsSet("qos") && q != wire.AtMostOnce {
		field = append(field, &contestant{name: fmt.Sprintf("jetwire QoS %d", q), qos: q, start: jetwire})
	}
	for _, name := range t.names {
		field = append(field, &contestant{name: name, start: func(ctx context.Context) (*server, error) { return t.start(ctx, name) }})
	}
	return field, nil
}

// start starts a peer. It is asked for nothing but what the scenario asks: it has no metrics.
func (t *contest) start(ctx context.Context, name string) (*server, error) {
	s := &server{}
	if t.c.Bool("server-log") {
		s.log = t.p.log
	}
	args := []string{"serve", name}
	if t.root != "" {
		args = append(args, "--socketio", filepath.Join(t.root, peersDir, "socketio"))
	}
	if d := t.c.Duration(intervalFlag); d > 0 {
		args = append(args, pingInterval, d.String())
	}
	process, address, err := bench.StartProcess(ctx, t.binary, args, wsAddress, s.log)
	if err != nil {
		return nil, err
	}
	s.process = process
	if s.target, err = bench.NewTarget(ctx, address, "", process.PID(), ""); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	s.target.Protocol, s.target.MetricsURL = peers[name], ""
	return s, nil
}

func (t *contest) measure(ctx context.Context, x *contestant) (err error) {
	s, err := x.start(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := t.p.loadOf(t.c, s.target)
	if err != nil {
		return err
	}
	defer t.p.console.setStatus("")
	r, err := t.run(s.watch(ctx), l, x.qos)
	if err != nil {
		return err
	}
	x.runs = append(x.runs, r)
	return nil
}

func (t *contest) remove() error {
	if t.scratch == "" {
		return nil
	}
	return os.RemoveAll(t.scratch)
}
