package transport

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// ponged is a Receiver that says what pongs carry.
type ponged struct{ echo }

func (p *ponged) Pong(c *Conn, payload []byte) {
	c.Send(wsock.AppendFrame(nil, ws.OpText, append([]byte("pong "), payload...)))
}

func TestPongs(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		ends := make(chan wire.Code, 1)
		o.Open = func(*Conn, string) Receiver { return &ponged{echo{closed: ends}} }
		s := serve(t, o)
		conn := dial(t, s.addr)
		for _, payload := range []string{"", "7"} {
			if err := ws.WriteFrame(conn, ws.MaskFrame(ws.NewPongFrame([]byte(payload)))); err != nil {
				t.Fatal(err)
			}
			if got, _, err := wsutil.ReadServerData(conn); err != nil || string(got) != "pong "+payload {
				t.Fatalf("%q, %v", got, err)
			}
		}
	})
}

func TestPaths(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		paths, ends := make(chan string, 8), make(chan wire.Code, 8)
		o.Open = func(_ *Conn, path string) Receiver {
			paths <- path
			return &echo{closed: ends}
		}
		o.Path = func(path string) bool { return path == "/ws" || strings.HasPrefix(path, "/socket/") }
		s := serve(t, o)
		for _, path := range []string{"/ws", "/socket/a%2Fb", "/socket/"} {
			conn, _, _, err := ws.Dial(t.Context(), "ws://"+s.addr+path+"?x=1")
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			defer func() { _ = conn.Close() }()
			if got := <-paths; got != path {
				t.Errorf("%s was opened as %s", path, got)
			}
		}
		for _, path := range []string{"/", "/socket", "/ws/"} {
			_, _, _, err := ws.Dial(t.Context(), "ws://"+s.addr+path)
			var status ws.StatusError
			if !errors.As(err, &status) || int(status) != http.StatusNotFound {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}
