package main

import (
	"context"
	"errors"
	"net"
	"net/http"
)

// serveHTTP serves /ws until the context ends. Connections that were upgraded are the upgrader's, who has to end them.
func serveHTTP(ctx context.Context, o options, upgrade http.HandlerFunc, listening func(url string)) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", o.listen)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", upgrade)
	s := &http.Server{Handler: mux}
	stop := context.AfterFunc(ctx, func() { _ = s.Close() })
	defer stop()
	listening("ws://" + l.Addr().String() + "/ws")
	if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}
