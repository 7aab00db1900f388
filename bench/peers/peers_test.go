package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"go.uber.org/goleak"
)

// TestMain lets the test binary be a peer, in a process of its own.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

// words are what a peer is told, and what it says.
type words struct {
	kind    int // of messages
	join    []exchange
	publish string
	message string
	ping    string // empty: a ping of WebSocket's own
	pong    string
}

// exchange is something said, unless it is empty, and how what is heard then begins.
type exchange struct{ say, hear string }

var (
	jetwires = words{
		kind: websocket.TextMessage,
		join: []exchange{
			{`{"id":1,"connect":{"token":"x","client":"test"}}{"id":2,"subscribe":{"channel":"a.b","qos":0}}`, `{"id":1,"connect":{`},
		},
		publish: `{"publish":{"channel":"a.b","data":{"n":1},"qos":0}}`,
		message: `{"message":{"channel":"a.b","data":{"n":1}}}`,
	}
	tongues = map[string]words{
		"coder": jetwires, "gorilla": jetwires, "floor": jetwires,
		"nats": {
			kind:    websocket.BinaryMessage,
			join:    []exchange{{"", "INFO {"}, {"CONNECT {\"verbose\":false}\r\nSUB a.b 1\r\nPING\r\n", "PONG\r\n"}},
			publish: "PUB a.b 7\r\n{\"n\":1}\r\n",
			message: "MSG a.b 1 7\r\n{\"n\":1}\r\n",
			ping:    "PING\r\n", pong: "PONG\r\n",
		},
		"socketio": {
			kind:    websocket.TextMessage,
			join:    []exchange{{"", "0{"}, {"40", "40{"}, {`420["subscribe","a.b"]`, "430[]"}},
			publish: `42["publish","a.b",{"n":1}]`,
			message: `42["message","a.b",{"n":1}]`,
			ping:    "2", pong: "3",
		},
	}
)

// start runs a peer until the test ends, and returns its address.
func start(t *testing.T, name string, args ...string) (url string) {
	t.Helper()
	if name == "floor" && runtime.GOOS != "linux" {
		t.Skip("the floor needs epoll")
	}
	if name == "socketio" {
		for _, program := range []string{"node", "npm"} {
			if _, err := exec.LookPath(program); err != nil {
				t.Skipf("Socket.IO is not tested: %v", err)
			}
		}
	}
	cmd := exec.Command(os.Args[0], append([]string{"serve", name}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_, _ = io.Copy(io.Discard, out)
		var exit *exec.ExitError
		if err := cmd.Wait(); err != nil && (!errors.As(err, &exit) || name != "socketio") { // Node ends by the signal
			t.Errorf("%s ended with %v", name, err)
		}
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "ws://") {
		t.Fatalf("%s said %q, %v", name, line, err)
	}
	return strings.TrimSpace(line)
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	d := websocket.Dialer{HandshakeTimeout: patience, Subprotocols: []string{subprotocol}}
	conn, _, err := d.Dial(url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	return conn
}

func (w *words) say(t *testing.T, conn *websocket.Conn, text string) {
	t.Helper()
	if err := conn.WriteMessage(w.kind, []byte(text)); err != nil {
		t.Fatal(err)
	}
}

// hear reads until something begins with text, and returns what follows it. It answers pings.
func (w *words) hear(t *testing.T, conn *websocket.Conn, text string) (rest []byte) {
	t.Helper()
	for {
		kind, p, err := conn.ReadMessage()
		if err != nil || kind != w.kind {
			t.Fatalf("waiting for %q: kind %d, %v", text, kind, err)
		}
		if w.ping != "" && string(p) == w.ping {
			w.say(t, conn, w.pong)
		}
		if rest, ok := bytes.CutPrefix(p, []byte(text)); ok {
			return rest
		}
	}
}

func (w *words) joined(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	conn := dial(t, url)
	for _, x := range w.join {
		if x.say != "" {
			w.say(t, conn, x.say)
		}
		w.hear(t, conn, x.hear)
	}
	return conn
}

func TestPeersDeliver(t *testing.T) {
	for name, w := range tongues {
		t.Run(name, func(t *testing.T) {
			url := start(t, name)
			stays, leaves := w.joined(t, url), w.joined(t, url)
			for range 3 { // what the publisher is subscribed to reaches it, too
				w.say(t, stays, w.publish)
				for _, conn := range []*websocket.Conn{stays, leaves} {
					if rest := w.hear(t, conn, w.message); len(rest) > 0 {
						t.Errorf("%q follows", rest)
					}
				}
			}
			if err := leaves.Close(); err != nil {
				t.Error(err)
			}
			for range 200 {
				w.say(t, stays, w.publish)
				w.hear(t, stays, w.message)
			}
			w.joined(t, url)
		})
	}
}

// TestMessagesThatWaitLeaveTogether publishes more in one write than the floor joins in one.
func TestMessagesThatWaitLeaveTogether(t *testing.T) {
	const n = 64 // as many as the load has in flight: a client for whom more than queueLength wait is ended
	for name, w := range tongues {
		t.Run(name, func(t *testing.T) {
			conn := w.joined(t, start(t, name))
			for range n {
				w.say(t, conn, w.publish)
			}
			for heard := 0; heard < n; heard++ {
				rest := w.hear(t, conn, w.message)
				for ; len(rest) > 0; heard++ { // NATS puts several in a message
					var ok bool
					if rest, ok = bytes.CutPrefix(rest, []byte(w.message)); !ok {
						t.Fatalf("%q follows", rest)
					}
				}
			}
		})
	}
}

func TestPeersPing(t *testing.T) {
	for name, w := range tongues {
		t.Run(name, func(t *testing.T) {
			conn := w.joined(t, start(t, name, "--ping-interval", "30ms"))
			if w.ping != "" {
				for range 3 {
					w.hear(t, conn, w.ping)
				}
				return
			}
			pings := 0
			answer := conn.PingHandler()
			conn.SetPingHandler(func(data string) error {
				if pings++; pings == 3 {
					w.say(t, conn, w.publish)
				}
				return answer(data)
			})
			if w.hear(t, conn, w.message); pings < 3 {
				t.Errorf("%d pings", pings)
			}
		})
	}
}

func TestWhoDoesNotAnswerIsEnded(t *testing.T) {
	for _, name := range []string{"coder", "gorilla"} {
		conn := jetwires.joined(t, start(t, name, "--ping-interval", "30ms"))
		conn.SetPingHandler(func(string) error { return nil })
		_, _, err := conn.ReadMessage()
		if err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHubForgetsWhoLeaves(t *testing.T) {
	h := newHub()
	c := newClient(func() {})
	answers, err := h.receive(c, []byte(`{"id":7,"subscribe":{"channel":"a.b","qos":0}} {"id":8,"subscribe":{"channel":"c.d"}}{"id":9,"unsubscribe":{"channel":"a.b"}}{"id":10,"ping":{}}`))
	if want := `{"id":7,"subscribe":{"channel":"a.b"}}{"id":8,"subscribe":{"channel":"c.d"}}{"id":9,"unsubscribe":{"channel":"a.b"}}{"id":10,"ping":{}}`; err != nil || string(answers) != want {
		t.Errorf("answered %s, %v", answers, err)
	}
	if len(h.channels) != 1 || len(h.channels["c.d"]) != 1 {
		t.Errorf("%v", h.channels)
	}
	if h.leave(c); len(h.channels) != 0 {
		t.Errorf("%v are left", h.channels)
	}
	for _, text := range []string{`{"id":1,"what":{}}`, `no JSON`} {
		if _, err := h.receive(c, []byte(text)); err == nil {
			t.Errorf("%s was taken", text)
		}
	}
}

func TestWhoDoesNotReadIsEnded(t *testing.T) {
	h := newHub()
	ended := 0
	c := newClient(func() { ended++ })
	h.subscribe(c, "a.b")
	for range queueLength {
		h.publish("a.b", []byte("x"))
	}
	if ended != 0 {
		t.Fatal("ended too early")
	}
	if h.publish("a.b", nil); ended != 1 {
		t.Error("not ended")
	}
	var scratch []byte
	if got := c.joined([]byte("y"), &scratch); string(got) != "y"+strings.Repeat("x", mostJoined-1) || len(c.queue) != queueLength-mostJoined+1 {
		t.Errorf("%s in one write, %d wait", got, len(c.queue))
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		nil, {"serve"}, {"serve", "nobody"}, {"run", "nats"}, {"serve", "nats", "stray"}, {"serve", "nats", "--no-such-flag"},
		{"serve", "nats", "--ping-interval", "0"}, {"serve", "floor", "--listen", "nowhere"},
	} {
		if err := run(context.Background(), args, io.Discard, io.Discard); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
	if err := run(context.Background(), []string{"serve", "socketio", "--socketio", t.TempDir()}, io.Discard, io.Discard); err != nil && !errors.Is(err, errSocketIO) {
		t.Errorf("without a server: %v", err)
	}
}
