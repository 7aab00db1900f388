package transport

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// An HTTP request whose body never comes is given up.
func TestHTTPBodyThatNeverComes(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		o.HandshakeTimeout = 200 * time.Millisecond
		o.HTTP = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
		s := serve(t, o)
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		fmt.Fprintf(c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := io.ReadAll(bufio.NewReader(c)); err != nil {
			t.Fatalf("the connection was kept: %v", err)
		}
	})
}
