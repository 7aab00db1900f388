package main

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// serveGorilla follows gorilla/websocket's own example of a chat: a reader and a writer for each connection, and a ticker
// in the writer.
func serveGorilla(ctx context.Context, o options, listening func(url string)) error {
	h := newHub(func(text []byte) *websocket.PreparedMessage {
		m, err := websocket.NewPreparedMessage(websocket.TextMessage, text)
		if err != nil {
			panic(err) // only a kind of message that does not exist is refused
		}
		return m
	})
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
		c := newClient[*websocket.PreparedMessage](func() { _ = conn.NetConn().Close() })
		go h.serve(c, func() ([]byte, error) {
			_, text, err := conn.ReadMessage()
			return text, err
		})
		go writeGorilla(conn, c, o.ping)
	}, listening)
}

// writeGorilla empties a client's queue, and pings it. A client that does not answer until the next ping but one is ended.
func writeGorilla(conn *websocket.Conn, c *client[*websocket.PreparedMessage], ping time.Duration) {
	heard := func(string) error { return conn.SetReadDeadline(time.Now().Add(2 * ping)) }
	conn.SetPongHandler(heard)
	_ = heard("")
	tick := time.NewTicker(ping)
	defer tick.Stop()
	for {
		var err error
		select {
		case m, ok := <-c.queue:
			if !ok {
				return
			}
			err = conn.WritePreparedMessage(m)
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
