package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
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
	accept  func(n int) bool  // the n-th connection, from 0; nil: all
	refuse  func(n uint64) bool
	deliver func(c *miniConn, n uint64, frame []byte) [][]byte // n counts messages; nil: the frame as it is
	after   func(published uint64)                             // called with mu held

	devices map[string]map[string]*miniRecord // by user and device; then by channel
	forget  bool                              // devices
	inboxes map[string][]wire.Message         // of inboxes
	ackLost func(user string) bool            // an ack is answered, and not kept
}

// miniRecord is one subscription of a device.
type miniRecord struct {
	acked uint64
	conn  *miniConn // nil: away
}

type miniConn struct {
	net.Conn
	index int
	user  string // of a durable session
	wmu   sync.Mutex
}

func newMiniServer(t *testing.T) *miniServer {
	t.Helper()
	s := &miniServer{conns: map[*miniConn]bool{}, subs: map[string][]*miniConn{}, last: map[string]uint64{}, devices: map[string]map[string]*miniRecord{}, inboxes: map[string][]wire.Message{}}
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

// set changes what the server does, before anybody has connected.
func (s *miniServer) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *miniServer) target(t *testing.T) *Target {
	t.Helper()
	url := strings.Replace(s.http.URL, "http://", "ws://", 1) + "/ws"
	target, err := NewTarget(context.Background(), url, "a-token", 0, "")
	if err != nil {
		t.Fatal(err)
	}
	target.Sign = func(user string, _ []string) (string, error) { return "a-token" + user, nil }
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
	accept := s.accept == nil || s.accept(c.index)
	s.mu.Unlock()
	defer s.gone(c)
	if !accept {
		return
	}
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

func (s *miniServer) gone(c *miniConn) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.devices[c.user] {
		if r.conn == c {
			r.conn = nil
		}
	}
	for name := range s.subs {
		s.leave(c, name)
	}
}

func (s *miniServer) leave(c *miniConn, channel string) {
	s.subs[channel] = slices.DeleteFunc(s.subs[channel], func(x *miniConn) bool { return x == c })
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
			user, ok := strings.CutPrefix(cmd.Connect.Token, "a-token")
			if !ok {
				out = wire.AppendErrorReply(out, cmd.ID, wire.BadToken.Err())
				continue
			}
			if cmd.Connect.Device != "" {
				out = s.resume(out, c, cmd.ID, user)
				continue
			}
			out = wire.AppendConnectReply(out, cmd.ID, &wire.ConnectReply{Session: "s", User: "u"})
		case wire.OpAck:
			out = s.ack(out, c, &cmd)
		case wire.OpSubscribe:
			s.mu.Lock()
			s.subs[cmd.Subscribe.Channel] = append(s.subs[cmd.Subscribe.Channel], c)
			if c.user != "" {
				s.devices[c.user][cmd.Subscribe.Channel] = &miniRecord{acked: s.log, conn: c}
			}
			out = wire.AppendSubscribeReply(out, cmd.ID, &wire.SubscribeReply{
				Channel: cmd.Subscribe.Channel, Epoch: "e", Seq: s.log, QoS: cmd.Subscribe.QoS,
			})
			s.mu.Unlock()
		case wire.OpUnsubscribe:
			s.mu.Lock()
			s.leave(c, cmd.Unsubscribe.Channel)
			s.mu.Unlock()
			out = wire.AppendUnsubscribeReply(out, cmd.ID, cmd.Unsubscribe.Channel)
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
	if strings.HasPrefix(p.Channel, "user.") {
		m.Body = slices.Clone(m.Body)
		s.inboxes[p.Channel] = append(s.inboxes[p.Channel], m)
		for _, d := range s.devices {
			if r := d[p.Channel]; r != nil && r.conn != nil {
				_ = r.conn.write(wire.AppendMessagePush(nil, &m))
			}
		}
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

// resume answers a connect with a device, and sends what came meanwhile.
func (s *miniServer) resume(out []byte, c *miniConn, id uint64, user string) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	inbox := "user." + user
	d, known := s.devices[user]
	if !known || s.forget {
		d, known = map[string]*miniRecord{inbox: {acked: s.log}}, false
		s.devices[user] = d
	}
	c.user = user
	durable := wire.Durable{Device: "bench", Resumed: known, AckWait: 30, MaxUnacked: 100}
	var missed []byte
	for name, r := range d {
		r.conn = c
		durable.Restored = append(durable.Restored, wire.Restored{Channel: name, QoS: 1, Epoch: "e", Since: r.acked})
		for i := range s.inboxes[name] {
			if m := &s.inboxes[name][i]; m.Seq > r.acked {
				missed = wire.AppendMessagePush(missed, m)
			}
		}
	}
	out = wire.AppendConnectReply(out, id, &wire.ConnectReply{Session: "s", User: user, Durable: &durable})
	return append(out, missed...)
}

func (s *miniServer) ack(out []byte, c *miniConn, cmd *wire.Command) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.devices[c.user][cmd.Ack.Channel]; r != nil && (s.ackLost == nil || !s.ackLost(c.user)) {
		r.acked = cmd.Ack.Seq
	}
	return wire.AppendAckReply(out, cmd.ID, cmd.Ack.Channel, cmd.Ack.Seq)
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
