package main

import (
	"context"
	"math"
	"net/http"
	"time"

	"github.com/coder/websocket"
)

// serveCoder follows coder/websocket's own example of a chat: a reader and a writer for each connection.
func serveCoder(ctx context.Context, o options, listening func(url string)) error {
	h := newHub()
	return serveHTTP(ctx, o, func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{subprotocol}})
		if err != nil {
			return // Accept has answered
		}
		conn.SetReadLimit(maxMessage)
		c := newClient(func() { go conn.CloseNow() }) //nolint:errcheck // it waits for the writer, and there is nobody to tell
		beat := heartbeat(ctx, conn, c, o.ping)
		go func() {
			defer beat.Stop()
			h.serve(c, func() ([]byte, error) {
				_, text, err := conn.Read(ctx)
				return text, err
			})
		}()
		go func() {
			var scratch []byte
			for text := range c.queue {
				if conn.Write(ctx, websocket.MessageText, c.joined(text, &scratch)) != nil {
					c.end() // the queue is emptied until the reader has noticed
				}
			}
		}()
	}, listening)
}

// heartbeat pings a client, without a goroutine between two pings. One that does not answer until the next is ended.
func heartbeat(ctx context.Context, conn *websocket.Conn, c *client, ping time.Duration) *time.Timer {
	var t *time.Timer
	t = time.AfterFunc(math.MaxInt64, func() {
		pinging, cancel := context.WithTimeout(ctx, ping)
		defer cancel()
		if conn.Ping(pinging) != nil {
			c.end()
			return
		}
		t.Reset(ping)
	})
	t.Reset(ping)
	return t
}
