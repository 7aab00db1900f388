package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gobwas/ws"
	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// peer is a server under script, for what a real one cannot be made to do at will: it speaks WebSocket and the wire protocol, and does nothing by
// itself but collect what comes. Its connections are pipes, so that everything runs in a synctest bubble.
type peer struct {
	t       *testing.T
	dials   chan *peerConn
	refuse  atomic.Pointer[error] // what the next dials fail with
	upgrade ws.Upgrader
}

func newPeer(t *testing.T) *peer {
	return &peer{t: t, dials: make(chan *peerConn, 100)}
}

// dialer is Options.Dialer.
func (p *peer) dialer(context.Context, string, string) (net.Conn, error) {
	if e := p.refuse.Load(); e != nil {
		return nil, *e
	}
	ours, theirs := net.Pipe()
	pc := &peerConn{
		t: p.t, nc: ours, commands: make(chan wire.Command, 10000), frames: make(chan int, 10000), pings: make(chan string, 100),
		pongs: make(chan string, 1000), ended: make(chan struct{}), write: make(chan struct{}, 1),
	}
	go pc.serve(&p.upgrade)
	p.dials <- pc
	return theirs, nil
}

// options are those of a client of p.
func (p *peer) options() Options {
	return Options{
		URL: "ws://peer.test/ws", Dialer: p.dialer, Name: "test",
		Token: func(context.Context) (string, error) { return "token", nil },
	}
}

// accept waits for the next connection and its connect command, which it does not answer.
func (p *peer) accept() (*peerConn, wire.Command) {
	p.t.Helper()
	select {
	case pc := <-p.dials:
		return pc, pc.expect(wire.OpConnect)
	case <-time.After(10 * time.Minute):
		p.t.Fatal("the client does not connect")
		return nil, wire.Command{}
	}
}

// welcome is accept with an answer: pings every 20 s, a retry window of 100 s.
func (p *peer) welcome() *peerConn {
	p.t.Helper()
	pc, cmd := p.accept()
	pc.send(`{"id":%d,"connect":{"session":"s","user":"u","ping":20,"retry_window":100,"max_message":65536}}`, cmd.ID)
	return pc
}

// resume is welcome to a durable session: an ack_wait of 30 s, a max_unacked of 16, and what is restored, as JSON objects.
func (p *peer) resume(restored ...string) *peerConn {
	p.t.Helper()
	pc, cmd := p.accept()
	pc.send(`{"id":%d,"connect":{"session":"s","user":"u","ping":20,"retry_window":100,"max_message":65536,"durable":{"device":%q,"resumed":%v,"restored":[%s],"ack_wait":30,"max_unacked":16}}}`,
		cmd.ID, cmd.Connect.Device, len(restored) > 0, strings.Join(restored, ","))
	return pc
}

// held is a subscription that a durable session restores.
func held(channel string, qos int, epoch string, since uint64) string {
	return fmt.Sprintf(`{"channel":%q,"qos":%d,"epoch":%q,"since":%d}`, channel, qos, epoch, since)
}

// dial makes a client that is connected to p.
func (p *peer) dial(o Options) (*Client, *peerConn) {
	p.t.Helper()
	return p.dialTo(o, p.welcome)
}

func (p *peer) dialTo(o Options, welcome func() *peerConn) (*Client, *peerConn) {
	p.t.Helper()
	type dialed struct {
		c   *Client
		err error
	}
	got := make(chan dialed)
	go func() {
		c, err := Dial(p.t.Context(), o)
		got <- dialed{c, err}
	}()
	pc := welcome()
	d := <-got
	if d.err != nil {
		p.t.Fatal(d.err)
	}
	return d.c, pc
}

// peerConn is one connection, seen from the server.
type peerConn struct {
	t        *testing.T
	nc       net.Conn
	commands chan wire.Command
	frames   chan int // how many commands each text frame held
	pings    chan string
	pongs    chan string
	ended    chan struct{}
	write    chan struct{} // a lock for writes; a Mutex would stop a bubble's clock
	deaf     atomic.Bool
	code     ws.StatusCode // of the client's close frame; read after ended
}

func (pc *peerConn) serve(u *ws.Upgrader) {
	defer close(pc.ended)
	defer pc.nc.Close()
	if _, err := u.Upgrade(pc.nc); err != nil {
		return
	}
	for {
		f, err := readFrame(pc.nc)
		if err != nil {
			return
		}
		f = ws.UnmaskFrameInPlace(f)
		switch f.Header.OpCode {
		case ws.OpPing:
			pc.pings <- string(f.Payload)
			if !pc.deaf.Load() {
				pc.raw(ws.NewPongFrame(f.Payload))
			}
		case ws.OpPong:
			pc.pongs <- string(f.Payload)
		case ws.OpClose:
			if len(f.Payload) >= 2 {
				pc.code = ws.StatusCode(binary.BigEndian.Uint16(f.Payload))
			}
			if !pc.deaf.Load() {
				pc.raw(f)
			}
			return
		case ws.OpText:
			n := 0
			var d wire.Decoder
			d.Reset(f.Payload)
			for {
				var c wire.Command
				err := d.Next(&c)
				if errors.Is(err, io.EOF) {
					break
				}
				if err != nil {
					pc.t.Errorf("the client sent %q: %v", f.Payload, err)
					return
				}
				n++
				pc.commands <- c
			}
			pc.frames <- n
		}
	}
}

// readFrame reads a frame of any length.
func readFrame(r io.Reader) (ws.Frame, error) {
	h, err := ws.ReadHeader(r)
	if err != nil {
		return ws.Frame{}, err
	}
	f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
	_, err = io.ReadFull(r, f.Payload)
	return f, err
}

func (pc *peerConn) raw(f ws.Frame) { pc.bytes(ws.MustCompileFrame(f)) }

func (pc *peerConn) bytes(b []byte) {
	pc.write <- struct{}{}
	defer func() { <-pc.write }()
	_, _ = pc.nc.Write(b) // a client that is gone is the test's business
}

// send sends one text frame.
func (pc *peerConn) send(format string, args ...any) {
	pc.raw(ws.NewTextFrame(fmt.Appendf(nil, format, args...)))
}

// message pushes a message whose body is its sequence.
func (pc *peerConn) message(channel string, seq, prev uint64) {
	pc.send(`{"message":{"channel":%q,"seq":%d,"prev":%d,"data":%d}}`, channel, seq, prev, seq)
}

// messages pushes messages in one frame: those behind after, up to last.
func (pc *peerConn) messages(channel string, after, last uint64) {
	var b []byte
	for i := after; i < last; i++ {
		b = fmt.Appendf(b, `{"message":{"channel":%q,"seq":%d,"prev":%d,"data":%d}}`, channel, i+1, i, i+1)
	}
	pc.send("%s", b)
}

func (pc *peerConn) close(code wire.Code, reason string) {
	pc.raw(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusCode(code), reason)))
}

// cut drops the connection without a word.
func (pc *peerConn) cut() { _ = pc.nc.Close() }

// expect returns the next command, which must be of this kind.
func (pc *peerConn) expect(op wire.Op) wire.Command {
	pc.t.Helper()
	select {
	case c := <-pc.commands:
		if c.Op != op {
			pc.t.Fatalf("the client sent %v, want %v: %+v", c.Op, op, c)
		}
		return c
	case <-time.After(10 * time.Minute):
		pc.t.Fatalf("the client sends no %v", op)
	}
	return wire.Command{}
}

// quiet checks that the client has sent nothing.
func (pc *peerConn) quiet() {
	pc.t.Helper()
	synctest.Wait()
	select {
	case c := <-pc.commands:
		pc.t.Fatalf("unexpected command: %+v", c)
	default:
	}
}

// subscribed answers the next subscribe.
func (pc *peerConn) subscribed(epoch string, head uint64) wire.Subscribe {
	pc.t.Helper()
	c := pc.expect(wire.OpSubscribe)
	pc.send(`{"id":%d,"subscribe":{"channel":%q,"epoch":%q,"seq":%d,"qos":%d}}`, c.ID, c.Subscribe.Channel, epoch, head, c.Subscribe.QoS)
	return c.Subscribe
}

// published answers the next publish.
func (pc *peerConn) published(seq uint64, duplicate bool) wire.Command {
	pc.t.Helper()
	c := pc.expect(wire.OpPublish)
	pc.answer(c, seq, duplicate)
	return c
}

func (pc *peerConn) answer(c wire.Command, seq uint64, duplicate bool) {
	pc.send(`{"id":%d,"publish":{"channel":%q,"seq":%d,"epoch":"e1","duplicate":%v,"durability":"file"}}`, c.ID, c.Publish.Channel, seq, duplicate)
}

func (pc *peerConn) refuse(c wire.Command, code wire.Code) {
	pc.send(`{"id":%d,"error":{"code":%q,"message":"scripted"}}`, c.ID, code.String())
}

// sink records what a subscription hands on.
type sink struct {
	mu     sync.Mutex
	events []string
	hold   chan struct{} // if not nil, each message waits for an element
}

func (s *sink) add(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, fmt.Sprintf(format, args...))
}

func (s *sink) take() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.events
	s.events = nil
	return e
}

func (s *sink) options() SubscribeOptions {
	return SubscribeOptions{
		OnMessage: func(m Message) {
			if s.hold != nil {
				<-s.hold
			}
			s.add("%s", m.Body)
		},
		OnGap:   func(g Gap) { s.add("gap %s %s %d-%d", g.Reason, g.Epoch, g.From, g.To) },
		OnError: func(err error) { s.add("error %v", err) },
	}
}

// want checks what was handed on since the last call.
func (s *sink) want(t *testing.T, events ...string) {
	t.Helper()
	synctest.Wait()
	got := s.take()
	if fmt.Sprint(got) != fmt.Sprint(events) {
		t.Fatalf("handed on %q, want %q", got, events)
	}
}

// subscribe subscribes while pc answers.
func subscribe(t *testing.T, c *Client, pc *peerConn, channel, epoch string, head uint64, o SubscribeOptions) *Subscription {
	t.Helper()
	var s *Subscription
	done := make(chan error)
	go func() {
		var err error
		s, err = c.Subscribe(t.Context(), channel, o)
		done <- err
	}()
	pc.subscribed(epoch, head)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	return s
}

func codeOf(err error) wire.Code {
	var e *wire.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return 0
}

func ptr[T any](v T) *T { return &v }
