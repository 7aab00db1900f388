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
func (p *program) measureServer(c *cli.Context, run onServer) (err error) {
	ctx := c.Context
	q, err := qosOf(c)
	if err != nil {
		return err
	}
	if _, err := p.loadOf(c, nil); err != nil { // before a server is started in vain
		return err
	}
	s, err := p.server(ctx, c)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	l, err := p.loadOf(c, s.target)
	if err != nil {
		return err
	}
	r, err := run(ctx, s, l, q)
	p.console.setStatus("")
	if err != nil {
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
