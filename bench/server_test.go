package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestMain(m *testing.M) {
	if maybeChild() {
		return
	}
	goleak.VerifyTestMain(m)
}

// miniServer speaks enough of the protocol to be measured, and lies when a test wants it to.
type miniServer struct {
	http *httptest.Server

	mu      sync.Mutex
	conns   map[*miniConn]bool
	subs    map[string][]*miniConn
	log     uint64            // sequence of the stream
	last    map[string]uint64 // of each channel
	refuse  func(n uint64) bool
	deliver func(c *miniConn, n uint64, frame []byte) [][]byte // n counts messages; nil: the frame as it is
	after   func(published uint64)                             // called with mu held
}

type miniConn struct {
	net.Conn
	index int
	wmu   sync.Mutex
}

func newMiniServer(t *testing.T) *miniServer {
	t.Helper()
	s := &miniServer{conns: map[*miniConn]bool{}, subs: map[string][]*miniConn{}, last: map[string]uint64{}}
	mux := http.NewServeMux()
	mux.HandleFunc("/ws", s.socket)
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# HELP x y\ngo_memstats_heap_inuse_bytes 1.5e+06\nprocess_cpu_seconds_total 2.5\n"+
			"process_resident_memory_bytes 3e+06\njetwire_connections{kind=\"ws\"} 4\n")
	})
	s.http = httptest.NewServer(mux)
	t.Cleanup(func() {
		s.http.Close()
		s.hangUp()
	})
	return s
}

func (s *miniServer) hangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}

func (s *miniServer) target(t *testing.T) *Target {
	t.Helper()
	url := strings.Replace(s.http.URL, "http://", "ws://", 1) + "/ws"
	target, err := NewTarget(context.Background(), url, "a-token", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func (s *miniServer) socket(w http.ResponseWriter, r *http.Request) {
	u := ws.HTTPUpgrader{Protocol: func(p string) bool { return p == wire.Subprotocol }}
	raw, rw, _, err := u.Upgrade(r, w)
	if err != nil {
		return
	}
	s.mu.Lock()
	c := &miniConn{Conn: raw, index: len(s.conns)}
	s.conns[c] = true
	s.mu.Unlock()
	defer c.Close()
	for {
		text, err := wsutil.ReadClientText(rw)
		if err != nil {
			return
		}
		if err := s.commands(c, text); err != nil {
			return
		}
	}
}

func (s *miniServer) commands(c *miniConn, text []byte) error {
	var (
		d   wire.Decoder
		cmd wire.Command
		out []byte
	)
	d.Reset(text)
	for {
		err := d.Next(&cmd)
		if errors.Is(err, io.EOF) {
			return c.write(out)
		}
		if err != nil {
			return err
		}
		switch cmd.Op {
		case wire.OpConnect:
			if cmd.Connect.Token != "a-token" {
				out = wire.AppendErrorReply(out, cmd.ID, wire.BadToken.Err())
				continue
			}
			out = wire.AppendConnectReply(out, cmd.ID, &wire.ConnectReply{Session: "s", User: "u"})
		case wire.OpSubscribe:
			s.mu.Lock()
			s.subs[cmd.Subscribe.Channel] = append(s.subs[cmd.Subscribe.Channel], c)
			out = wire.AppendSubscribeReply(out, cmd.ID, &wire.SubscribeReply{
				Channel: cmd.Subscribe.Channel, Epoch: "e", Seq: s.log, QoS: cmd.Subscribe.QoS,
			})
			s.mu.Unlock()
		case wire.OpPublish:
			out = s.publish(out, &cmd)
		}
	}
}

func (s *miniServer) publish(out []byte, cmd *wire.Command) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &cmd.Publish
	if s.refuse != nil && s.refuse(s.log+1) {
		s.refuse = nil
		return wire.AppendErrorReply(out, cmd.ID, wire.StoreFull.Err())
	}
	s.log++
	m := wire.Message{Channel: p.Channel, Time: 1_700_000_000_000, From: "u", Body: p.Data}
	if p.QoS > 0 {
		m.Seq, m.Prev = s.log, s.last[p.Channel]
		s.last[p.Channel] = s.log
	}
	frame := ws.MustCompileFrame(ws.NewTextFrame(wire.AppendMessagePush(nil, &m)))
	for _, c := range s.subs[p.Channel] {
		frames := [][]byte{frame}
		if s.deliver != nil {
			frames = s.deliver(c, s.log, frame)
		}
		for _, f := range frames {
			_ = c.writeRaw(f)
		}
	}
	if s.after != nil {
		s.after(s.log)
	}
	if cmd.ID == 0 {
		return out
	}
	return wire.AppendPublishReply(out, cmd.ID, &wire.PublishReply{Channel: p.Channel, Seq: m.Seq, Epoch: "e", Durability: "memory"})
}

func (c *miniConn) write(text []byte) error {
	if len(text) == 0 {
		return nil
	}
	return c.writeRaw(ws.MustCompileFrame(ws.NewTextFrame(text)))
}

func (c *miniConn) writeRaw(p []byte) error {
	c.wmu.Lock()
	defer c.wmu.Unlock()
	_ = c.SetWriteDeadline(time.Now().Add(5 * time.Second))
	_, err := c.Write(p)
	return err
}
