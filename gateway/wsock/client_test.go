package wsock

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestClientAgainstServer(t *testing.T) {
	t.Parallel()
	request, key := ClientHandshake("h", "/ws?x=1", "Sec-WebSocket-Protocol: jetwire.v1.json", "Origin: https://good.example")
	if r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(request))); err != nil || r.RequestURI != "/ws?x=1" || r.Host != "h" {
		t.Fatalf("net/http reads %+v, %v", r, err)
	}
	st, n, response, req, err := shake.Parse(request)
	if st != Accepted || n != len(request) || req.Query != "x=1" {
		t.Fatalf("%v, %d, %+v, %v", st, n, req, err)
	}
	stream := append(bytes.Clone(response), encode(false, text("early"))...)
	for i := range len(response) {
		if _, _, err := ParseResponse(stream[:i], key); !errors.Is(err, ErrMore) {
			t.Fatalf("after %d of %d bytes: %v", i, len(response), err)
		}
	}
	n, protocol, err := ParseResponse(stream, key)
	if n != len(response) || protocol != "jetwire.v1.json" || err != nil {
		t.Fatalf("%d of %d, %q, %v", n, len(response), protocol, err)
	}
	if _, again := ClientHandshake("h", "/"); again == key {
		t.Error("two handshakes have the same key")
	}
}

func TestClientAgainstGobwas(t *testing.T) {
	t.Parallel()
	request, key := ClientHandshake("h", "/")
	c := exchange{in: request}
	if _, err := (ws.Upgrader{}).Upgrade(&c); err != nil {
		t.Fatal(err)
	}
	if n, protocol, err := ParseResponse(c.out, key); n != len(c.out) || protocol != "" || err != nil {
		t.Fatalf("%d of %d, %q, %v", n, len(c.out), protocol, err)
	}
}

func TestServerAgainstGobwas(t *testing.T) {
	t.Parallel()
	near, far := net.Pipe()
	defer near.Close()
	failed := make(chan error, 1)
	go func() {
		defer far.Close()
		u := &url.URL{Scheme: "ws", Host: "h", Path: "/ws"}
		_, hs, err := (ws.Dialer{Protocols: []string{"x", "jetwire.v1.json"}}).Upgrade(far, u)
		if err == nil && hs.Protocol != "jetwire.v1.json" {
			err = fmt.Errorf("subprotocol %q", hs.Protocol)
		}
		failed <- err
	}()
	var buf []byte
	chunk := make([]byte, 16)
	for {
		n, err := near.Read(chunk)
		if err != nil {
			t.Fatal(err)
		}
		seen := len(buf)
		buf = append(buf, chunk[:n]...)
		st, _, response, _, err := shake.Resume(buf, seen)
		if st == More {
			continue
		}
		if st != Accepted {
			t.Fatalf("%v, %v", st, err)
		}
		if _, err := near.Write(response); err != nil {
			t.Fatal(err)
		}
		break
	}
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
}

func TestParseResponseRefuses(t *testing.T) {
	t.Parallel()
	const key = "dGhlIHNhbXBsZSBub25jZQ=="
	lines := []string{
		"HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade",
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
	}
	with := func(i int, line string) string {
		changed := append([]string(nil), lines...)
		if i < len(changed) {
			changed[i] = line
		} else {
			changed = append(changed, line)
		}
		return strings.Join(changed, "\r\n") + "\r\n\r\n"
	}
	if _, _, err := ParseResponse([]byte(with(0, lines[0])), key); err != nil {
		t.Fatal(err)
	}
	bad := map[string]string{
		"HTTP/1.0":          with(0, "HTTP/1.0 101 x"),
		"no status":         with(0, "HTTP/1.1 abc"),
		"something else":    with(0, "SSH-2.0-x"),
		"no upgrade":        with(1, "X: y"),
		"wrong upgrade":     with(1, "Upgrade: h2c"),
		"no connection":     with(2, "X: y"),
		"wrong connection":  with(2, "Connection: close"),
		"no accept":         with(3, "X: y"),
		"wrong accept":      with(3, "Sec-WebSocket-Accept: AAAALMBiTxaQ9kYGzzhZRbK+xOo="),
		"an extension":      with(4, "Sec-WebSocket-Extensions: permessage-deflate"),
		"no colon":          with(4, "X"),
		"endless":           with(4, "X: "+strings.Repeat("x", DefaultMaxHandshake)),
		"endless, no end":   strings.Repeat("x", DefaultMaxHandshake),
		"space in the name": with(4, "X : y"),
	}
	for name, response := range bad {
		if n, _, err := ParseResponse([]byte(response), key); !errors.Is(err, ErrBadResponse) || n != 0 {
			t.Errorf("%s: %d, %v", name, n, err)
		}
	}
	_, _, err := ParseResponse([]byte(with(0, "HTTP/1.1 403 Forbidden")), key)
	if se, ok := errors.AsType[*StatusError](err); !ok || se.Status != 403 || se.Line != "HTTP/1.1 403 Forbidden" {
		t.Errorf("403: %v", err)
	}
}

func FuzzParseResponse(f *testing.F) {
	request, key := ClientHandshake("h", "/ws")
	_, _, response, _, _ := shake.Parse(request)
	f.Add(response)
	f.Add([]byte("HTTP/1.1 403 Forbidden\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 101\n\n"))
	f.Fuzz(func(t *testing.T, p []byte) {
		n, _, err := ParseResponse(p, key)
		if (err == nil) != (n > 0) || n > len(p) {
			t.Fatalf("%d of %d, %v", n, len(p), err)
		}
	})
}
