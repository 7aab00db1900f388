package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
	"github.com/jetwire/jetwire/gateway/wire"
)

// scenario runs one scenario, and then reports.
type scenario func(ctx context.Context, l bench.Load, q wire.QoS) (*report.Report, error)

// onServer is a scenario that needs more of the server than its address.
type onServer func(ctx context.Context, s *server, l bench.Load, q wire.QoS) (*report.Report, error)

// measure gets a server, runs the scenario against it, ends the server, and reports. With --peers it does so for each of them.
func (p *program) measure(c *cli.Context, run scenario) (err error) {
	if c.String(peersFlag) != "" {
		return p.measurePeers(c, run)
	}
	return p.measureServer(c, func(ctx context.Context, s *server, l bench.Load, q wire.QoS) (*report.Report, error) {
		return run(s.watch(ctx), l, q)
	})
}

// measureServer is measure for a scenario that may end the server itself: it has to watch it.
func (p *program) measureServer(c *cli.Context, run onServer) error {
	q, err := qosOf(c)
	if err != nil {
		return err
	}
	if _, err := p.loadOf(c, nil); err != nil { // before a server is started in vain
		return err
	}
	n := c.Int("repeat")
	if n < 1 || n > maxRepeats {
		return fmt.Errorf("%w: --repeat %d: it is 1 to %d", errUsage, n, maxRepeats)
	}
	var runs []*report.Report
	for i := range n {
		if n > 1 {
			p.progress(fmt.Sprintf("run %d of %d", i+1, n))
		}
		r, err := p.measureOnce(c, q, run)
		if err != nil {
			return err
		}
		runs = append(runs, r)
	}
	r := runs[0]
	if n > 1 {
		r = report.Repeat(runs)
	}
	if err := p.writePage(c.String("html"), r.WriteHTML); err != nil {
		return err
	}
	if err := p.report(c.String("json"), r); err != nil {
		return err
	}
	if r.Broken() {
		return errBroken
	}
	return nil
}

// maxRepeats bounds --repeat.
const maxRepeats = 100

// measureOnce runs the scenario against the server that runs, or against one that is started for this run.
func (p *program) measureOnce(c *cli.Context, q wire.QoS, run onServer) (r *report.Report, err error) {
	s, err := p.server(c.Context, c)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := p.loadOf(c, s.target)
	if err != nil {
		return nil, err
	}
	defer p.console.setStatus("")
	profile := s.profiler(c)
	l.Measuring = profile.begin
	r, err = run(c.Context, s, l, q)
	if err := errors.Join(err, profile.end(err == nil)); err != nil {
		return nil, err
	}
	r.Options = optionsOf(c)
	return r, nil
}

// optionsOf are the flags that say what was run, with their values: those of the scenario and of the load. The server's may hold secrets.
func optionsOf(c *cli.Context) (list []report.Option) {
	for _, f := range c.Command.Flags {
		if g, ok := f.(cli.CategorizableFlag); ok && g.GetCategory() != "" && g.GetCategory() != categoryLoad {
			continue
		}
		name := f.Names()[0]
		if value := c.String(name); value != "" && value != "false" && name != cli.HelpFlag.Names()[0] {
			list = append(list, report.Option{Name: name, Value: value})
		}
	}
	return list
}

// written is a scenario's report.
type written interface {
	JSON() ([]byte, error)
	WriteText(w io.Writer) error
}

// report writes JSON where it was asked for, and text to standard output unless that is where the JSON goes.
func (p *program) report(path string, r written) error {
	if path == "" {
		return r.WriteText(p.out)
	}
	text, err := r.JSON()
	if err != nil {
		return err
	}
	if path == "-" {
		_, err = p.out.Write(text)
		return err
	}
	if err := os.WriteFile(path, text, 0o644); err != nil { //nolint:gosec // a report is no secret
		return fmt.Errorf("report: %w", err)
	}
	return r.WriteText(p.out)
}

// writePage writes a page to a file, if one was asked for.
func (p *program) writePage(path string, write func(io.Writer) error) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("page: %w", err)
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		return fmt.Errorf("page: %w", err)
	}
	return nil
}
