package client

import (
	"cmp"
	"fmt"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// writeLoop is the writer: whatever waits when it wakes leaves in one write.
func (cn *conn) writeLoop() {
	for {
		select {
		case <-cn.quit:
			return
		case <-cn.wake:
			cn.writeWaiting()
		}
	}
}

// writeWaiting writes until nothing waits, or the connection fails.
func (cn *conn) writeWaiting() {
	cn.writing.Lock()
	defer cn.writing.Unlock()
	for !cn.closed {
		cn.gather()
		if len(cn.buf) == 0 {
			return
		}
		if _, err := cn.nc.Write(cn.buf); err != nil {
			cn.fail(err)
			return
		}
		if cap(cn.buf) > 2*maxOneWrite {
			cn.buf = nil
		}
	}
}

// gather moves what waits into buf: control frames first, then commands in their order, joined to frames, and the close frame last.
func (cn *conn) gather() {
	c := cn.c
	var over []*request
	var why []error
	cn.buf = cn.buf[:0]
	c.mu.Lock()
	if cn.hasPong {
		cn.buf = appendFrame(cn.buf, ws.OpPong, cn.pong)
		cn.hasPong = false
	}
	if cn.probe {
		cn.buf = appendFrame(cn.buf, ws.OpPing, nil)
		cn.probe = false
	}
	now := time.Now()
	taken := 0
	if c.conn == cn && !cn.leaving {
		for taken < len(c.out) && len(cn.buf) < maxOneWrite {
			n := cn.appendCommands(c.out[taken:], now, func(r *request, err error) {
				over, why = append(over, r), append(why, err)
			})
			taken += n
		}
		rest := copy(c.out, c.out[taken:])
		clear(c.out[rest:])
		c.out = c.out[:rest]
	}
	if cn.closing != nil && len(cn.buf) < maxOneWrite {
		cn.buf = append(cn.buf, cn.closing...)
		cn.closing, cn.closed = nil, true
	}
	c.mu.Unlock()
	for i, r := range over {
		r.done(nil, why[i])
	}
}

// appendCommands appends one frame of commands from the head of out and returns how many it took. A request that ends here
// is given to over. The caller holds Client.mu.
func (cn *conn) appendCommands(out []*request, now time.Time, over func(*request, error)) int {
	c := cn.c
	size, taken := 0, 0
	limit := maxJoined
	if cn.maxMessage > 0 {
		limit = min(limit, cn.maxMessage)
	}
	var frame [maxInFrame]*request
	parts := frame[:0]
	for _, r := range out {
		if c.pending[r.id] != r || r.stage != queued { // given up meanwhile
			taken++
			continue
		}
		if cn.maxMessage > 0 && len(r.frame) > cn.maxMessage {
			taken++
			c.removeLocked(r)
			over(r, r.failure(wire.TooLarge.With(fmt.Sprintf("the command has %d bytes, the server takes %d", len(r.frame), cn.maxMessage))))
			continue
		}
		if c.windowOverLocked(r, now) {
			taken++
			c.removeLocked(r)
			over(r, r.failure(cmp.Or(r.last, errNoReply)))
			continue
		}
		if len(parts) == cap(frame[:]) || len(parts) > 0 && size+len(r.frame) > limit {
			break
		}
		parts = append(parts, r)
		size += len(r.frame)
		taken++
	}
	if len(parts) == 0 {
		return taken
	}
	var mask [4]byte
	cn.buf, mask = appendHeader(cn.buf, ws.OpText, size)
	at := len(cn.buf)
	for _, r := range parts {
		cn.buf = append(cn.buf, r.frame...)
		if r.silent {
			c.removeLocked(r)
			over(r, nil)
			continue
		}
		if r.first.IsZero() {
			r.first = now
		}
		r.stage, r.sent = inFlight, now
		r.attempts++
		cn.inFlight++
	}
	ws.Cipher(cn.buf[at:], mask, 0)
	return taken
}
