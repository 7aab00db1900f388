package client

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

func TestAppendFrame(t *testing.T) {
	for _, n := range []int{0, 1, 125, 126, 65535, 65536, 200000} {
		payload := make([]byte, n)
		for i := range payload {
			payload[i] = byte(rand.Uint32())
		}
		want := bytes.Clone(payload)
		got, err := readFrame(bytes.NewReader(appendFrame([]byte{}, ws.OpText, payload)))
		if err != nil || !got.Header.Masked || !got.Header.Fin || got.Header.OpCode != ws.OpText {
			t.Fatalf("%d bytes: %+v, %v", n, got.Header, err)
		}
		if got = ws.UnmaskFrameInPlace(got); !bytes.Equal(got.Payload, want) || !bytes.Equal(payload, want) {
			t.Errorf("%d bytes came as %d others, or the payload was changed", n, len(got.Payload))
		}
	}
	a, b := appendFrame(nil, ws.OpText, make([]byte, 8)), appendFrame(nil, ws.OpText, make([]byte, 8))
	if bytes.Equal(a, b) {
		t.Error("two frames have the same mask")
	}
}

func TestMessageAtTheLimit(t *testing.T) {
	for n, ok := range map[int]bool{99: true, 100: true, 101: false} {
		b := ws.MustCompileFrame(ws.NewTextFrame(bytes.Repeat([]byte("x"), n)))
		f := frameReader{r: bytes.NewReader(b), limit: 100}
		_, p, err := f.next()
		var broken *protocolError
		if ok && (err != nil || len(p) != n) || !ok && (!errors.As(err, &broken) || broken.code != wire.MessageTooBig) {
			t.Errorf("%d bytes: %d, %v", n, len(p), err)
		}
	}
}

func TestTextIsUTF8(t *testing.T) {
	f := frameReader{r: bytes.NewReader(ws.MustCompileFrame(ws.NewTextFrame([]byte(`{"new":"` + "\xff" + `"}`)))), limit: 100}
	_, _, err := f.next()
	var broken *protocolError
	if !errors.As(err, &broken) || broken.code != wire.InvalidPayload {
		t.Error(err)
	}
}

// What a header declares takes no memory, what came does, and a large message's memory is given back.
func TestMemoryOfMessages(t *testing.T) {
	b := []byte{0x81, 127, 0, 0, 0, 0, 0, 255, 255, 255, 'x'}
	f := frameReader{r: bytes.NewReader(b), limit: 16 << 20}
	if _, _, err := f.next(); !errors.Is(err, io.ErrUnexpectedEOF) || cap(f.message) > 2*keepBuffer {
		t.Errorf("%v, with %d bytes of memory", err, cap(f.message))
	}
	b = ws.MustCompileFrame(ws.NewTextFrame(make([]byte, 1<<20)))
	b = append(b, ws.MustCompileFrame(ws.NewTextFrame([]byte("x")))...)
	f = frameReader{r: bytes.NewReader(b), limit: 16 << 20}
	for range 2 {
		if _, _, err := f.next(); err != nil {
			t.Fatal(err)
		}
	}
	if cap(f.message) > keepBuffer {
		t.Errorf("%d bytes of memory are kept", cap(f.message))
	}
}

// FuzzServerBytes gives a client whatever a server may send: nothing may panic, memory stays within the limit, and how the bytes are
// split makes no difference.
func FuzzServerBytes(f *testing.F) {
	text := func(s string) []byte { return ws.MustCompileFrame(ws.NewTextFrame([]byte(s))) }
	for _, s := range []string{
		`{"id":1,"connect":{"session":"s","user":"u","ping":20,"retry_window":100,"max_message":65536}}`,
		`{"id":2,"subscribe":{"channel":"a.b","epoch":"e2","seq":18446744073709551615,"qos":1}}`,
		`{"message":{"channel":"a.b","seq":1,"prev":0,"data":1}}{"message":{"channel":"a.b","seq":3,"prev":2,"data":"x","encoding":"base64"}}`,
		`{"gap":{"channel":"a.b","epoch":"e2","from":0,"to":18446744073709551615,"reason":"epoch"}}`,
		`{"expired":{"grace":-1}} {"reconnect":{"after":1e300,"reason":""}}`,
		`{"id":3,"error":{"code":"nobody_knows","message":"m","retry_after":1e9}}`,
		`{"id":3,"error":{"code":"already_subscribed","message":"m"}}`, `{"error":{"code":"bad_token"}}`,
		`{"id":4,"publish":{"channel":"a.b"}}`, `{"id":5,"history":{"channel":"a.b","messages":[{}]}}`,
	} {
		f.Add(text(s))
	}
	f.Add([]byte{0x01, 1, '{', 0x89, 0, 0x80, 1, '}'})
	f.Add([]byte{0x88, 2, 15, 160})
	f.Add([]byte{0x81, 127, 0, 0, 0, 0, 255, 255, 255, 255})
	f.Fuzz(func(t *testing.T, b []byte) {
		whole := hear(t, b, bytes.NewReader(b))
		split := hear(t, b, iotest.OneByteReader(bytes.NewReader(b)))
		if whole != split {
			t.Errorf("read as a whole: %q, byte by byte: %q", whole, split)
		}
	})
}

// hear runs the reader of a connection with a subscription and a few requests over r, and returns how it ended.
func hear(t *testing.T, b []byte, r io.Reader) string {
	o := Options{MaxFrame: 1 << 16}
	o.setDefaults()
	c := newClient(t.Context(), o)
	defer func() {
		c.mu.Lock()
		for _, s := range c.subs {
			s.endLocked(ErrClosed)
		}
		c.mu.Unlock()
		c.cancel(ErrClosed)
		c.wg.Wait()
	}()
	cn := newConn(c, nil, nil)
	cn.frames = frameReader{r: bufio.NewReader(r), limit: c.o.MaxFrame}
	c.conn = cn
	s := c.newSubscription("a.b", SubscribeOptions{OnMessage: func(Message) {}})
	c.subs["a.b"] = s
	s.pos, s.known = Position{"e1", 0}, true
	s.askLocked()
	for _, op := range []wire.Op{wire.OpPublish, wire.OpHistory, wire.OpAck} {
		q := &request{op: op, keep: true, retry: true, done: func(*wire.Incoming, error) {}}
		if err := c.submit(q, func(uint64) []byte { return nil }); err != nil {
			t.Fatal(err)
		}
		q.stage = inFlight
		cn.inFlight++
	}
	cn.readLoop()
	if cap(cn.frames.message) > 4*c.o.MaxFrame {
		t.Errorf("%d bytes of memory for %d of input", cap(cn.frames.message), len(b))
	}
	return cn.cause.Error()
}
