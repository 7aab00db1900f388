package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/jetwire/jetwire/gateway/wire"
)

// miniPeer is a server of another protocol than Jetwire's, as small as it can be.
type miniPeer struct {
	http   *httptest.Server
	op     ws.OpCode
	greet  func(s *miniPeer, c *miniConn) error
	speak  func(s *miniPeer, c *miniConn, message []byte) error
	ponged atomic.Int64 // pings that were answered

	mu    sync.Mutex
	conns []*miniConn
	subs  map[string][]*miniConn
}

func newMiniPeer(t *testing.T, s *miniPeer) *miniPeer {
	t.Helper()
	s.subs = map[string][]*miniConn{}
	s.http = httptest.NewServer(http.HandlerFunc(s.socket))
	t.Cleanup(func() {
		s.http.Close()
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, c := range s.conns {
			_ = c.Close()
		}
	})
	return s
}

func (s *miniPeer) socket(w http.ResponseWriter, r *http.Request) {
	raw, rw, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	c := &miniConn{Conn: raw}
	s.mu.Lock()
	s.conns = append(s.conns, c)
	s.mu.Unlock()
	for err = s.greet(s, c); err == nil; {
		var message []byte
		if message, _, err = wsutil.ReadClientData(rw); err == nil {
			err = s.speak(s, c, message)
		}
	}
	_ = c.Close()
}

func (s *miniPeer) say(c *miniConn, text string) error {
	return c.writeRaw(ws.MustCompileFrame(ws.NewFrame(s.op, true, []byte(text))))
}

// hear adds a subscription, and publish sends to all.
func (s *miniPeer) hear(c *miniConn, channel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.subs[channel] = append(s.subs[channel], c)
}

func (s *miniPeer) publish(channel, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.subs[channel] {
		_ = s.say(c, text)
	}
}

func (s *miniPeer) load(t *testing.T, p Protocol) Load {
	t.Helper()
	target, err := NewTarget(t.Context(), strings.Replace(s.http.URL, "http://", "ws://", 1), "", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	target.Protocol = p
	l := load(t, newMiniServer(t))
	l.Target = target
	return l
}

// miniNATS pings after each message, in the same frame.
func miniNATS(t *testing.T) *miniPeer {
	return newMiniPeer(t, &miniPeer{
		op:    ws.OpBinary,
		greet: func(s *miniPeer, c *miniConn) error { return s.say(c, "INFO {\"server_id\":\"mini\"}\r\n") },
		speak: func(s *miniPeer, c *miniConn, message []byte) error {
			for len(message) > 0 {
				line, rest, _ := bytes.Cut(message, []byte("\r\n"))
				message = rest
				fields := strings.Fields(string(line))
				switch fields[0] {
				case "CONNECT":
				case "SUB":
					s.hear(c, fields[1])
				case "PING":
					if err := s.say(c, "PONG\r\n"); err != nil {
						return err
					}
				case "PONG":
					s.ponged.Add(1)
				case "PUB":
					n, _ := strconv.Atoi(fields[2])
					s.publish(fields[1], fmt.Sprintf("MSG %s 1 %d\r\n%s\r\nPING\r\n", fields[1], n, message[:n]))
					message = message[n+2:]
				default:
					return s.say(c, "-ERR 'Unknown Protocol Operation'\r\n")
				}
			}
			return nil
		},
	})
}

// miniSocketIO pings after each message.
func miniSocketIO(t *testing.T) *miniPeer {
	return newMiniPeer(t, &miniPeer{
		op: ws.OpText,
		greet: func(s *miniPeer, c *miniConn) error {
			return s.say(c, `0{"sid":"x","upgrades":[],"pingInterval":25000}`)
		},
		speak: func(s *miniPeer, c *miniConn, message []byte) error {
			id := bytes.IndexByte(message, '[')
			switch {
			case string(message) == "40":
				return s.say(c, `40{"sid":"y"}`)
			case string(message) == "3":
				s.ponged.Add(1)
				return nil
			case !bytes.HasPrefix(message, []byte("42")) || id < 0:
				return s.say(c, `44{"message":"what?"}`)
			}
			var event []json.RawMessage
			if err := json.Unmarshal(message[id:], &event); err != nil {
				return err
			}
			var channel string
			if err := json.Unmarshal(event[1], &channel); err != nil {
				return err
			}
			if string(event[0]) == `"subscribe"` {
				s.hear(c, channel)
				return s.say(c, "43"+string(message[2:id])+"[]")
			}
			s.publish(channel, fmt.Sprintf(`42["message",%s,%s]`, event[1], event[2]))
			s.publish(channel, "2")
			return nil
		},
	})
}

func TestPeersThatSpeakTheirOwn(t *testing.T) {
	for protocol, start := range map[Protocol]func(*testing.T) *miniPeer{NATS: miniNATS, SocketIO: miniSocketIO} {
		s := start(t)
		r, err := Fanout{Load: s.load(t, protocol), Conns: 10, Rate: 2000}.Run(t.Context())
		wantClean(t, r, err)
		if r.Received != 10*r.Sent || r.Sent < 20 || s.ponged.Load() == 0 {
			t.Errorf("%d: %d sent, %d received, %d pings answered", protocol, r.Sent, r.Received, s.ponged.Load())
		}
		r, err = Rooms{Load: s.load(t, protocol), Rooms: 5, Members: 3, Publishers: 2, Rate: 1500}.Run(t.Context())
		wantClean(t, r, err)
		r, err = Idle{Load: s.load(t, protocol), Steps: []int{3, 6}, Own: true, Settle: 1}.Run(t.Context())
		wantClean(t, r, err)
		if r.Received != 6 || r.Latency.Count != 6 {
			t.Errorf("%d: %+v", protocol, r)
		}
	}
}

// TestPeersThatRefuse meets servers of another kind than was said.
func TestPeersThatRefuse(t *testing.T) {
	for name, l := range map[string]Load{
		"NATS asked in Socket.IO's words": miniNATS(t).load(t, SocketIO), "Socket.IO asked in NATS's": miniSocketIO(t).load(t, NATS),
		"NATS asked in Jetwire's": miniNATS(t).load(t, Jetwire), "Jetwire asked in NATS's": func() Load {
			l := load(t, newMiniServer(t))
			l.Target.Protocol = NATS
			return l
		}(),
	} {
		if _, err := (Fanout{Load: l, Conns: 2}).Run(t.Context()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestScanOperation(t *testing.T) {
	body := string(appendPayload(nil, 5, 6, 64))
	var m push
	op, rest, ok := scanOperation([]byte("MSG a.b 1 64\r\n"+body+"\r\nPING\r\n"), &m)
	if !ok || op != natsMessage || string(rest) != "PING\r\n" || string(m.channel) != "a.b" || m.sent != 5 || m.n != 6 {
		t.Errorf("%v, %v, %q, %+v", op, ok, rest, m)
	}
	if _, rest, ok := scanOperation([]byte("MSG a.b 1 4\r\nelse\r\n"), &m); !ok || len(rest) > 0 || m.n != 0 {
		t.Errorf("another body: %v, %q, %+v", ok, rest, m)
	}
	for _, p := range []string{
		"", "PING", "MSG a.b 1 64\r\n" + body, "MSG a.b 1 63\r\n" + body + "\r\n", "MSG a.b 64\r\n" + body + "\r\n", "MSG a.b 1 -1\r\n\r\n",
		"MSG a.b 1 reply 0\r\n\r\n", "HMSG a.b 1 0 0\r\n\r\n", "SUB a.b 1\r\n",
	} {
		if op, _, ok := scanOperation([]byte(p), &m); ok {
			t.Errorf("%q: understood as %v", p, op)
		}
	}
}

func TestScanPacket(t *testing.T) {
	body := string(appendPayload(nil, 5, 6, 64))
	var m push
	for p, want := range map[string]packet{
		`2`: packetPing, `0{"sid":"x"}`: packetOpen, `40{"sid":"x"}`: packetConnected, `430[]`: packetAck,
		`42["message","a.b",` + body + `]`: packetMessage,
		`40`:                               packetUnknown, `41`: packetUnknown, `44{"message":"no"}`: packetUnknown, `2probe`: packetUnknown, `42["other",1]`: packetUnknown,
	} {
		if got := scanPacket([]byte(p), &m); got != want {
			t.Errorf("%s: %v, want %v", p, got, want)
		}
	}
	if scanPacket([]byte(`42["message","a.b",`+body+`]`), &m); string(m.channel) != "a.b" || m.sent != 5 || m.n != 6 {
		t.Errorf("%+v", m)
	}
	if got := scanPacket([]byte(`42["message","a.b",{}]`), &m); got != packetMessage || m.n != 0 {
		t.Errorf("another body: %v, %+v", got, m)
	}
}

// FuzzNATSDialect holds what was scanned against the words of the operation, which begin and end where they say.
func FuzzNATSDialect(f *testing.F) {
	body := appendPayload(nil, 5, 6, 64)
	f.Add(natsDialect{}.appendPublish([]byte("INFO {}\r\nPONG\r\n"), 0, &wire.Publish{Channel: "a.b", Data: body}))
	f.Add(append(append([]byte("+OK\r\nPING\r\nMSG a.b 1 64\r\n"), body...), "\r\n-ERR 'no'\r\n"...))
	f.Fuzz(func(t *testing.T, p []byte) {
		var m push
		for len(p) > 0 {
			op, rest, ok := scanOperation(p, &m)
			if !ok {
				return
			}
			if len(rest) >= len(p) || !bytes.HasSuffix(p, rest) || !bytes.HasSuffix(p[:len(p)-len(rest)], []byte("\r\n")) {
				t.Fatalf("%q: %q is left", p, rest)
			}
			if op == natsMessage {
				line, behind, _ := bytes.Cut(p, []byte("\r\n"))
				words := strings.Split(string(line), " ")
				data := behind[:len(behind)-len(rest)-2]
				if n, err := strconv.Atoi(words[len(words)-1]); len(words) != 4 || words[1] != string(m.channel) || err != nil || n != len(data) {
					t.Fatalf("%q: %+v", p, m)
				}
				wantBody(t, data, &m)
			}
			p = rest
		}
	})
}

// FuzzSocketIODialect holds what was scanned against the JSON of the packet.
func FuzzSocketIODialect(f *testing.F) {
	body := string(appendPayload(nil, 5, 6, 64))
	for _, p := range []string{`42["message","a.b",` + body + `]`, `0{"sid":"x"}`, `40{"sid":"x"}`, `430[]`, `2`, `42["message","a.b",1]`} {
		f.Add([]byte(p))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		var m push
		if scanPacket(p, &m) != packetMessage || !utf8.Valid(p) {
			return
		}
		var event []json.RawMessage
		if json.Unmarshal(p[2:], &event) != nil || len(event) != 3 {
			if m.n != 0 && json.Valid(p[2:]) {
				t.Fatalf("%q: %+v", p, m)
			}
			return // of what is no JSON, no payload is made
		}
		var channel string
		if err := json.Unmarshal(event[1], &channel); err != nil || string(m.channel) != channel {
			t.Fatalf("%q: channel %q, not %q (%v)", p, m.channel, channel, err)
		}
		wantBody(t, event[2], &m)
	})
}

// wantBody fails when a payload was read otherwise than JSON has it.
func wantBody(t *testing.T, data []byte, m *push) {
	t.Helper()
	var body struct {
		T int64
		N uint64
	}
	if err := json.Unmarshal(data, &body); m.n != 0 && err == nil && (body.T != m.sent || body.N != m.n) {
		t.Fatalf("%q: %+v, not %+v", data, m, body)
	}
}
