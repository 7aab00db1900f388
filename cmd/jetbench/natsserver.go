package main

import (
	"context"
	"errors"
	"fmt"
	"net"
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
	*cluster
	raw *bench.RawPublisher
}

func (p *program) rawServer(ctx context.Context, inFlight int) (*rawServer, error) {
	n, err := startCluster(ctx, 1, false)
	if err != nil {
		return nil, err
	}
	s := &rawServer{cluster: n}
	if s.raw, err = bench.OpenRaw(ctx, n.url, inFlight); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return s, nil
}

// Close ends the process and removes its store.
func (s *rawServer) Close() error {
	s.raw.Close()
	return s.cluster.Close()
}
