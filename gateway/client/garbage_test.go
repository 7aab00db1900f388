package client

import (
	"testing"
	"testing/synctest"

	"github.com/gobwas/ws"
)

// Bytes that are no frame, frames that are no text, and text that is no JSON: the client goes and comes back.
func TestGarbage(t *testing.T) {
	tests := map[string]struct {
		bytes []byte
		code  ws.StatusCode
	}{
		"reserved opcode": {[]byte{0x83, 0}, ws.StatusProtocolError},
		"reserved bit":    {[]byte{0xc1, 0}, ws.StatusProtocolError},
		"masked":          {[]byte{0x81, 0x80, 1, 2, 3, 4}, ws.StatusProtocolError},
		"huge":            {[]byte{0x81, 127, 0x7f, 255, 255, 255, 255, 255, 255, 255}, ws.StatusMessageTooBig},
		"length":          {[]byte{0x81, 127, 255, 255, 255, 255, 255, 255, 255, 255}, ws.StatusProtocolError},
		"binary":          {[]byte{0x82, 1, 'x'}, ws.StatusUnsupportedData},
		"not utf-8":       {[]byte{0x81, 1, 0xff}, ws.StatusInvalidFramePayloadData},
		"not json":        {[]byte{0x81, 1, '{'}, ws.StatusInvalidFramePayloadData},
		"wrong type":      {ws.MustCompileFrame(ws.NewTextFrame([]byte(`{"message":7}`))), ws.StatusInvalidFramePayloadData},
		"half a code":     {[]byte{0x88, 1, 3}, ws.StatusProtocolError},
		"reserved code":   {[]byte{0x88, 2, 1006 >> 8, 1006 & 255}, ws.StatusProtocolError},
		"continuation":    {[]byte{0x80, 0}, ws.StatusProtocolError},
		"long ping":       {[]byte{0x89, 126, 0, 126}, ws.StatusProtocolError},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeer(t)
				c, pc := p.dial(p.options())
				defer c.Close()
				pc.bytes(tt.bytes)
				<-pc.ended
				if pc.code != tt.code {
					t.Errorf("closed with %d, want %d", pc.code, tt.code)
				}
				p.welcome()
			})
		})
	}
}

// Frames and fields of a newer server are passed over; a message may come in fragments with a ping between.
func TestWhatIsUnknownIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeer(t)
		c, pc := p.dial(p.options())
		defer c.Close()
		var s sink
		subscribe(t, c, pc, "a.b", "e1", 0, s.options())
		pc.send(`{"presence":{"x":1}} {"message":{"channel":"a.b","seq":1,"prev":0,"new":[{}],"data":1}}`)
		text := []byte(`{"message":{"channel":"a.b","seq":2,"prev":1,"data":2}}`)
		pc.raw(ws.NewFrame(ws.OpText, false, text[:10]))
		pc.raw(ws.NewPingFrame([]byte("between")))
		pc.raw(ws.NewFrame(ws.OpContinuation, true, text[10:]))
		s.want(t, "1", "2")
		if got := <-pc.pongs; got != "between" {
			t.Error(got)
		}
	})
}
