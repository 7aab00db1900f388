// Command peers serves what Jetwire is measured against, each as well made as its library allows: WebSocket servers with two
// goroutines a connection, the NATS server's own WebSocket, Socket.IO on Node, and the floor, which writes ready frames
// to sockets and does nothing else.
//
// It is a module of its own, so that none of it is among the product's dependencies. It keeps no state and asks nobody for
// a token: it is no server to run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// defaultPing is how often each server pings a client, as Jetwire does by default.
const defaultPing = 25 * time.Second

var errUsage = errors.New("usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		if errors.Is(err, errUsage) {
			os.Exit(2)
		}
		os.Exit(1)
	}
}

// options are those of every peer.
type options struct {
	listen string        // HOST:PORT; port 0 is any
	ping   time.Duration // between two pings of a client
	dir    string        // of Socket.IO's server
	log    io.Writer
}

// peer serves until the context ends. It says once where it listens: ws://HOST:PORT/PATH.
type peer func(ctx context.Context, o options, listening func(url string)) error

var peers = map[string]peer{
	"coder":    serveCoder,
	"gorilla":  serveGorilla,
	"nats":     serveNATS,
	"floor":    serveFloor,
	"socketio": serveSocketIO,
}

func run(ctx context.Context, args []string, out, log io.Writer) error {
	names := strings.Join(slices.Sorted(maps.Keys(peers)), ", ")
	if len(args) < 2 || args[0] != "serve" || peers[args[1]] == nil {
		return fmt.Errorf("%w: peers serve NAME [flags]; NAME is one of %s", errUsage, names)
	}
	o := options{log: log}
	flags := flag.NewFlagSet("peers serve "+args[1], flag.ContinueOnError)
	flags.SetOutput(log)
	flags.StringVar(&o.listen, "listen", "127.0.0.1:0", "`HOST:PORT` to listen at")
	flags.DurationVar(&o.ping, "ping-interval", defaultPing, "`TIME` between two pings of a client")
	flags.StringVar(&o.dir, "socketio", "socketio", "`DIR` of Socket.IO's server: bench/peers/socketio of the source tree")
	if err := flags.Parse(args[2:]); err != nil {
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if flags.NArg() > 0 || o.ping < time.Millisecond {
		return fmt.Errorf("%w: peers serve %s takes only flags, and a --ping-interval of at least 1ms", errUsage, args[1])
	}
	if _, _, err := net.SplitHostPort(o.listen); err != nil {
		return fmt.Errorf("%w: --listen: %w", errUsage, err)
	}
	return peers[args[1]](ctx, o, func(url string) { fmt.Fprintln(out, url) })
}
