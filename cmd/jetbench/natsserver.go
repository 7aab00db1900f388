package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
)

var (
	natsAddress  = regexp.MustCompile(`nats://\S+`)
	errNatsReady = errors.New("the NATS server did not become ready")
)

// natsServer is the process that the raw publisher of scenario publish talks to: nothing but the embedded server that
// 'jetwire serve' has, with its file store.
func (p *program) natsServer() *cli.Command {
	return &cli.Command{
		Name: "nats-server", Hidden: true, Usage: "an embedded NATS server in a process of its own",
		Flags:  []cli.Flag{&cli.StringFlag{Name: "data", Required: true}},
		Action: func(c *cli.Context) error { return p.serveNATS(c.Context, c.String("data")) },
	}
}

func (p *program) serveNATS(ctx context.Context, dir string) error {
	s, err := natsd.NewServer(&natsd.Options{
		ServerName: "jetbench", Host: "127.0.0.1", Port: natsd.RANDOM_PORT,
		JetStream: true, StoreDir: dir, NoLog: true, NoSigs: true,
	})
	if err != nil {
		return err
	}
	s.Start()
	if !s.ReadyForConnections(20 * time.Second) {
		s.Shutdown()
		return errNatsReady
	}
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if _, err := fmt.Fprintln(p.out, s.ClientURL()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// rawServer is that process, and the publisher that talks to it.
type rawServer struct {
	process *bench.Process
	raw     *bench.RawPublisher
	scratch string
}

func (p *program) rawServer(ctx context.Context, inFlight int) (_ *rawServer, err error) {
	s := &rawServer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close())
		}
	}()
	if s.scratch, err = os.MkdirTemp("", "jetbench-raw-"); err != nil {
		return nil, err
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	var url string
	args := []string{"nats-server", "--data", filepath.Join(s.scratch, "nats")}
	if s.process, url, err = bench.StartProcess(ctx, self, args, natsAddress, nil); err != nil {
		return nil, err
	}
	s.raw, err = bench.OpenRaw(ctx, url, inFlight)
	return s, err
}

// Close ends the process and removes its store.
func (s *rawServer) Close() error {
	var errs []error
	if s.raw != nil {
		s.raw.Close()
	}
	if s.process != nil {
		errs = append(errs, s.process.Stop())
	}
	if s.scratch != "" {
		errs = append(errs, os.RemoveAll(s.scratch))
	}
	return errors.Join(errs...)
}
