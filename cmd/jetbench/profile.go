package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench/flame"
)

// Files that --profile writes.
const (
	profileFile = "cpu.pprof"
	flameFile   = "flame.html"
)

var (
	errNoWindow = errors.New("--profile: this scenario measures for no fixed time; fanout, rooms, publish and mixed do")
	errProfile  = errors.New("--profile")
)

// profiler takes a CPU profile of a server for as long as a scenario measures it, the first time that it does. With no dir it does nothing.
type profiler struct {
	dir, title string
	server     *server
	ctx        context.Context // of the run
	stop       func()

	once   sync.Once
	taken  chan struct{} // closed when what follows is there; nil: nothing was measured yet
	text   []byte
	failed error
}

func (s *server) profiler(c *cli.Context) *profiler {
	ctx, stop := context.WithCancel(c.Context)
	return &profiler{dir: c.String("profile"), title: "jetbench " + c.Command.Name, server: s, ctx: ctx, stop: stop}
}

// begin is bench.Load's Measuring.
func (p *profiler) begin(d time.Duration) {
	if p.dir == "" {
		return
	}
	p.once.Do(func() {
		p.taken = make(chan struct{})
		go func() {
			defer close(p.taken)
			p.text, p.failed = p.server.target.Profile(p.ctx, p.server.key, d)
		}()
	})
}

// end waits for the profile, writes it and draws it; if it is not wanted, it is broken off.
func (p *profiler) end(wanted bool) error {
	defer p.stop()
	if p.dir == "" {
		return nil
	}
	if !wanted {
		p.stop()
	}
	if p.taken != nil {
		<-p.taken
	}
	switch {
	case !wanted:
		return nil
	case p.taken == nil:
		return errNoWindow
	}
	if p.failed != nil {
		return fmt.Errorf("%w: %w", errProfile, p.failed)
	}
	var page bytes.Buffer
	err := flame.Draw(&page, bytes.NewReader(p.text), p.title)
	if err == nil {
		err = os.MkdirAll(p.dir, 0o750)
	}
	if err == nil {
		err = errors.Join(
			os.WriteFile(filepath.Join(p.dir, profileFile), p.text, 0o600),
			os.WriteFile(filepath.Join(p.dir, flameFile), page.Bytes(), 0o600))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errProfile, err)
	}
	return nil
}
