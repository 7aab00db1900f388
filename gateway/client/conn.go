package client

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
)

// conn is one WebSocket from its handshake to its end. serve owns its three goroutines: itself, the reader and the writer.
type conn struct {
	// Fixed after construction.
	c    *Client
	nc   net.Conn
	wake chan struct{} // something waits for the writer
	quit chan struct{} // closed by fail
	idle chan struct{} // while leaving: the last reply came

	expired chan struct{} // the server says that the token has

	ping       time.Duration // 0: no heartbeat
	maxMessage int           // 0: unknown
	durable    bool          // acks decide something
	maxUnacked int           // in a durable session
	heard      atomic.Int64  // monotonic time of the last bytes from the server

	frames  frameReader        // the reader's
	decoder wire.ServerDecoder // the reader's
	buf     []byte             // the writer's

	writing sync.Mutex // held for gather and Write; taken before Client.mu
	closed  bool       // the close frame is in buf or written; guarded by writing

	once  sync.Once
	cause error // why it ended; set before quit is closed

	// Guarded by Client.mu.
	pong     []byte    // payload of the last ping, to be answered; RFC 6455, 5.5.3: only the most recent need be
	hasPong  bool      //
	probe    bool      // a ping of our own waits to be written
	leaving  bool      // no new command is written
	inFlight int       // commands written whose reply has not come
	moveAt   time.Time // when to leave, if the server asked; zero: it did not
	moveWhy  error     // errMoved, errResend or errNewToken
	closing  []byte    // the close frame, once it is to be written
}

var begin = time.Now()

// monotonic returns the time since an arbitrary point.
func monotonic() time.Duration { return time.Since(begin) }

func newBytesReader(b []byte) io.Reader { return bytes.NewReader(b) }

// heardReader notes when something came.
type heardReader struct{ cn *conn }

func (h heardReader) Read(p []byte) (int, error) {
	n, err := h.cn.nc.Read(p)
	if n > 0 {
		h.cn.heard.Store(int64(monotonic()))
	}
	return n, err
}

// fail ends the connection. The first cause is the one that counts.
func (cn *conn) fail(cause error) {
	cn.once.Do(func() {
		cn.cause = cause
		close(cn.quit)
	})
}

func (cn *conn) wakeWriter() {
	select {
	case cn.wake <- struct{}{}:
	default:
	}
}

// answeredLocked is told that a command in flight no longer is.
func (cn *conn) answeredLocked() {
	cn.inFlight--
	if cn.leaving && cn.inFlight == 0 {
		select {
		case cn.idle <- struct{}{}:
		default:
		}
	}
}

// serve runs the connection until it ends and says why. When it returns, both goroutines have ended and the socket is closed.
func (cn *conn) serve(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(cn.readLoop)
	wg.Go(cn.writeLoop)
	defer wg.Wait()
	defer func() { _ = cn.nc.Close() }() // unblocks both; before Wait
	every := cn.ping / 4
	if every <= 0 {
		every = time.Hour
	}
	beat := time.NewTicker(every)
	defer beat.Stop()
	move := time.NewTimer(time.Hour)
	defer move.Stop()
	renew := newRenewer(ctx, cn)
	defer renew.close()
	for {
		select {
		case <-cn.quit:
			cn.answerClose()
			return cn.cause
		case <-ctx.Done():
			cn.goodbye(context.Cause(ctx))
			return cn.cause
		case <-beat.C:
			cn.watch()
		case <-renew.timer.C:
			renew.begin()
		case <-cn.expired:
			renew.begin()
		case n := <-renew.done:
			renew.ended(n)
		case <-cn.c.moved:
			if at, _ := cn.moving(); !at.IsZero() {
				move.Reset(time.Until(at))
			}
		case <-move.C:
			if at, why := cn.moving(); !at.IsZero() && !time.Now().Before(at) {
				cn.leave(ctx)
				cn.goodbye(why)
				return cn.cause
			}
		}
	}
}

// watch ends a connection that is silent, and asks the server for a sign of life before.
func (cn *conn) watch() {
	if cn.ping == 0 {
		return
	}
	silent := monotonic() - time.Duration(cn.heard.Load())
	if silent >= minPingsQuiet*cn.ping {
		cn.fail(errSilent)
		return
	}
	if silent >= cn.ping {
		cn.c.mu.Lock()
		cn.probe = true
		cn.c.mu.Unlock()
		cn.wakeWriter()
	}
}

func (cn *conn) moving() (time.Time, error) {
	cn.c.mu.Lock()
	defer cn.c.mu.Unlock()
	return cn.moveAt, cn.moveWhy
}

// leave stops sending commands and waits a little for the replies to those sent.
func (cn *conn) leave(ctx context.Context) {
	cn.c.mu.Lock()
	cn.leaving = true
	n := cn.inFlight
	cn.c.mu.Unlock()
	if n == 0 {
		return
	}
	t := time.NewTimer(leaveTime)
	defer t.Stop()
	select {
	case <-cn.idle:
	case <-t.C:
	case <-cn.quit:
	case <-ctx.Done():
	}
}

// goodbye writes what waits and a close frame, and gives the server a moment to answer it. Unless the connection fails first, it ends with cause.
func (cn *conn) goodbye(cause error) {
	t := time.NewTimer(goodbyeTime)
	defer t.Stop()
	_ = cn.nc.SetDeadline(time.Now().Add(goodbyeTime))
	cn.c.mu.Lock()
	cn.closing = appendClose(cn.c.lastAcksLocked(cn), wire.NormalClosure, "")
	cn.c.mu.Unlock()
	cn.wakeWriter()
	select {
	case <-cn.quit: // by the reader, when the server's close frame or the end of the stream has come
	case <-t.C:
	}
	cn.fail(cause)
	cn.cause = cause // the reader's is but the answer to ours
}

// answerClose answers the server's close frame, or names what it did wrong, if the socket takes that at once. The writer may be at work: then it is too late.
func (cn *conn) answerClose() {
	var code wire.Code
	var theirs *CloseError
	var ours *protocolError
	switch {
	case errors.As(cn.cause, &theirs):
		code = theirs.Code
		if code == 0 {
			code = wire.NormalClosure
		}
	case errors.As(cn.cause, &ours):
		code = ours.code
	case errors.Is(cn.cause, errSilent):
		code = wire.GoingAway
	default:
		return
	}
	_ = cn.nc.SetWriteDeadline(time.Now().Add(goodbyeTime / 10))
	cn.c.mu.Lock()
	cn.closing = appendClose(nil, code, "")
	cn.c.mu.Unlock()
	cn.writeWaiting()
}

// readLoop is the reader.
func (cn *conn) readLoop() {
	for {
		op, p, err := cn.frames.next()
		if err != nil {
			cn.fail(err)
			return
		}
		switch op {
		case ws.OpPing:
			cn.c.mu.Lock()
			cn.pong, cn.hasPong = append(cn.pong[:0], p...), true
			cn.c.mu.Unlock()
			cn.wakeWriter()
		case ws.OpClose:
			cn.fail(closeError(p))
			return
		case ws.OpText:
			if err := cn.decoder.Decode(p, cn.handle); err != nil {
				cn.fail(&protocolError{wire.InvalidPayload, err})
				return
			}
		}
	}
}

// handle takes one reply or push. It is the reader's.
func (cn *conn) handle(in *wire.Incoming) error {
	c := cn.c
	switch {
	case in.Kind == wire.KindMessage:
		c.received(cn, &in.Message)
	case in.ID != 0:
		c.answered(in)
	case in.Kind == wire.KindGap:
		c.gap(cn, &in.Gap)
	case in.Kind == wire.KindUnsubscribed:
		c.unsubscribed(cn, &in.Unsubscribed)
	case in.Kind == wire.KindExpired:
		// The server goes on serving for a grace. If the token is not renewed in its first quarter, move in the second.
		part := seconds(in.Expired.Grace) / 4
		cn.move(part+rand.N(part+1), errNewToken)
		select {
		case cn.expired <- struct{}{}:
		default:
		}
	case in.Kind == wire.KindReconnect:
		after := seconds(in.Reconnect.After)
		cn.move(after+rand.N(after/4+moveJitter), errMoved)
	case in.Kind == wire.KindError:
		c.log.Warn("the server refused a command", "code", in.Error.Code.String(), "message", in.Error.Message)
		if in.Error.Code.Comeback() == wire.WithToken {
			cn.move(0, errNewToken)
		}
	}
	return nil
}

// move plans to leave this connection after a wait, for the reason why.
func (cn *conn) move(wait time.Duration, why error) {
	cn.c.mu.Lock()
	cn.moveLocked(wait, why)
	cn.c.mu.Unlock()
}

// moveLocked is move; the caller must hold Client.mu. The earliest plan counts, and a new token is asked for if any plan says so.
func (cn *conn) moveLocked(wait time.Duration, why error) {
	at := time.Now().Add(wait)
	if errors.Is(why, errNewToken) && cn.c.o.Token == nil {
		return // nothing to gain: the server closes when its grace is over
	}
	if cn.moveAt.IsZero() || at.Before(cn.moveAt) {
		cn.moveAt = at
	}
	if cn.moveWhy == nil || errors.Is(why, errNewToken) {
		cn.moveWhy = why
	}
	select {
	case cn.c.moved <- struct{}{}:
	default:
	}
}
