package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// serveGorilla follows gorilla/websocket's own example of a chat: a reader and a writer for each connection, a ticker in the
// writer, and messages that wait joined in one. Prepared messages were measured, and are no quicker.
func serveGorilla(ctx context.Context, o options, listening func(url string)) error {
	h := newHub()
	up := websocket.Upgrader{
		Subprotocols:    []string{subprotocol},
		WriteBufferPool: &sync.Pool{}, // an idle connection holds no buffer for writing
	}
	return serveHTTP(ctx, o, func(w http.ResponseWriter, r *http.Request) {
		conn, err := up.Upgrade(w, r, nil)
		if err != nil {
			return // the upgrader has answered
		}
		conn.SetReadLimit(maxMessage)
		c := newClient(func() { _ = conn.NetConn().Close() })
		go h.serve(c, func() ([]byte, error) {
			_, text, err := conn.ReadMessage()
			return text, err
		})
		go writeGorilla(conn, c, o.ping)
	}, listening)
}

// writeGorilla empties a client's queue, and pings it. A client that does not answer until the next ping but one is ended.
func writeGorilla(conn *websocket.Conn, c *client, ping time.Duration) {
	heard := func(string) error { return conn.SetReadDeadline(time.Now().Add(2 * ping)) }
	conn.SetPongHandler(heard)
	_ = heard("")
	tick := time.NewTicker(ping)
	defer tick.Stop()
	var scratch []byte
	for {
		var err error
		select {
		case text, ok := <-c.queue:
			if !ok {
				return
			}
			err = conn.WriteMessage(websocket.TextMessage, c.joined(text, &scratch))
		case <-tick.C:
			err = conn.WriteControl(websocket.PingMessage, nil, time.Time{})
		}
		if err != nil {
			c.end()
			for range c.queue { // until the reader has noticed
			}
			return
		}
	}
}
