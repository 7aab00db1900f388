package main

import (
	"context"
	"errors"
	"net"
	"strconv"
	"time"

	natsd "github.com/nats-io/nats-server/v2/server"
)

var errNATS = errors.New("the NATS server did not become ready")

// serveNATS serves core NATS over nats-server's own WebSocket: channels are subjects, and the load speaks NATS's protocol.
func serveNATS(ctx context.Context, o options, listening func(url string)) error {
	host, port, err := net.SplitHostPort(o.listen)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	if number == 0 {
		number = natsd.RANDOM_PORT
	}
	s, err := natsd.NewServer(&natsd.Options{
		ServerName: "peers", DontListen: true, NoLog: true, NoSigs: true, PingInterval: o.ping,
		Websocket: natsd.WebsocketOpts{Host: host, Port: number, NoTLS: true},
	})
	if err != nil {
		return err
	}
	s.Start()
	defer s.WaitForShutdown()
	defer s.Shutdown()
	if !s.ReadyForConnections(10 * time.Second) {
		return errNATS
	}
	listening(s.WebsocketURL())
	<-ctx.Done()
	return nil
}
