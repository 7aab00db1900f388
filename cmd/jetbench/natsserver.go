package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
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
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "data", Required: true}, &cli.StringFlag{Name: "name", Value: "jetbench"}, &cli.BoolFlag{Name: "sync"},
			&cli.StringFlag{Name: "cluster"}, &cli.StringFlag{Name: "routes"},
		},
		Action: func(c *cli.Context) error {
			o := &natsd.Options{
				ServerName: c.String("name"), Host: "127.0.0.1", Port: natsd.RANDOM_PORT,
				JetStream: true, StoreDir: c.String("data"), SyncAlways: c.Bool("sync"), NoLog: true, NoSigs: true,
			}
			if address := c.String("cluster"); address != "" {
				host, port, err := net.SplitHostPort(address)
				if err != nil {
					return err
				}
				o.Cluster.Name, o.Cluster.Host, o.Routes = "jetbench", host, natsd.RoutesFromStr("nats://"+strings.ReplaceAll(c.String("routes"), ",", ",nats://"))
				if o.Cluster.Port, err = strconv.Atoi(port); err != nil {
					return err
				}
			}
			return p.serveNATS(c.Context, o)
		},
	}
}

func (p *program) serveNATS(ctx context.Context, o *natsd.Options) error {
	s, err := natsd.NewServer(o)
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
