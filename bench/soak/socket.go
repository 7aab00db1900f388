package soak

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"github.com/jetwire/jetwire/gateway/wire"
)

// A socket hears at least the server's pings this often.
const silence = 8 * time.Second

// socket is one connection that remembers nothing and repairs nothing: what a server says can be looked at as it is.
type socket struct {
	conn net.Conn
	in   wsutil.Reader
	dec  wire.ServerDecoder
	text []byte // what is read; the reader's

	mu sync.Mutex // guards writing
}

// closed is the server's close frame.
type closed struct{ code wire.Code }

func (c closed) Error() string { return fmt.Sprintf("closed: %d %v", uint16(c.code), c.code) }

func dialSocket(ctx context.Context, addr string) (*socket, error) {
	d := ws.Dialer{Timeout: silence, Protocols: []string{wire.Subprotocol}}
	conn, ahead, _, err := d.Dial(ctx, "ws://"+addr+"/ws")
	if err != nil {
		return nil, err
	}
	s := &socket{conn: conn}
	s.in = wsutil.Reader{Source: conn, State: ws.StateClientSide, CheckUTF8: true, OnIntermediate: s.control}
	if ahead != nil { // the server sent something right behind its response
		s.in.Source = io.MultiReader(io.LimitReader(ahead, int64(ahead.Buffered())), conn)
	}
	return s, nil
}

func (s *socket) close() { _ = s.conn.Close() }

// send writes commands.
func (s *socket) send(text []byte) error { return s.write(ws.NewTextFrame(text)) }

func (s *socket) write(f ws.Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_ = s.conn.SetWriteDeadline(time.Now().Add(silence))
	return ws.WriteFrame(s.conn, ws.MaskFrame(f))
}

func (s *socket) control(h ws.Header, r io.Reader) error {
	payload, err := io.ReadAll(io.LimitReader(r, h.Length))
	if err != nil {
		return err
	}
	switch h.OpCode {
	case ws.OpPing:
		return s.write(ws.NewPongFrame(payload))
	case ws.OpClose:
		code, _ := ws.ParseCloseFrameData(payload)
		return closed{wire.Code(code)}
	}
	return nil
}

// read waits for one message, and hands on everything in it.
func (s *socket) read(handle func(*wire.Incoming) error) error {
	for {
		_ = s.conn.SetReadDeadline(time.Now().Add(silence))
		h, err := s.in.NextFrame()
		if err != nil {
			return err
		}
		if h.OpCode.IsControl() {
			if err := s.control(h, &s.in); err != nil {
				return err
			}
			continue
		}
		if h.OpCode != ws.OpText {
			return errors.New("the server sent a binary message")
		}
		s.text = s.text[:0]
		for {
			if len(s.text) == cap(s.text) {
				s.text = append(s.text, 0)[:len(s.text)]
			}
			n, err := s.in.Read(s.text[len(s.text):cap(s.text)])
			s.text = s.text[:len(s.text)+n]
			if errors.Is(err, io.EOF) {
				return s.dec.Decode(s.text, handle)
			}
			if err != nil {
				return err
			}
		}
	}
}
