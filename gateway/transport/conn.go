package transport

import (
	"net/netip"
	"sync"
	"sync/atomic"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// Conn is one socket. Its methods may be called from any goroutine, by Receivers included.
type Conn struct {
	// Fixed after accept.
	group *group
	link  link
	addr  [16]byte // zero: not known
	slot  uint32   // in the group's table
	gen   uint32

	// Owned by the reading goroutine. recv is set once, before open.
	recv   Receiver
	reader wsock.Reader
	early  *[]byte // the request so far, while it is incomplete

	mu       sync.Mutex
	out      *queue      // nil: nothing waits
	heard    atomic.Bool // something arrived since the last heartbeat; not guarded by mu
	state    state
	pause    pauseReason
	code     wire.Code // of the first close frame sent or received; 0: none
	blocked  bool      // the socket takes no more; the link says when it does
	dirty    bool      // somebody has undertaken to flush
	busy     activity
	refused  bool  // Offer refused: Drained is owed
	progress bool  // something was written since the last heartbeat
	stalls   uint8 // heartbeats in a row at which the peer had taken nothing
	pinged   bool
	settled  bool // Establish was called
}

// link is the socket under a Conn. Its methods are called with Conn.mu held and must not block.
type link interface {
	// write sends from the front of q what the socket takes of what it holds now, and takes it off. It may release mu meanwhile. With
	// blocked it will call Conn.writable once there is room.
	write(q *queue, s *scratch) (n int, blocked bool, err error)
	// want says whether input is wanted, and (while blocked) room for output.
	want(input, room bool)
	// end makes the reading goroutine come to the end of input.
	end()
	// finish does the same once what was written has left.
	finish()
	// taking says whether the peer's system has yet to acknowledge something, but acknowledged some since the last call.
	taking() bool
}

type state uint8

const (
	opening state = iota // the request has not come in full
	open
	closing // a close frame was sent or received: what arrives is dropped, except the peer's close
	closed  // torn down, or about to be: nothing is written
)

// activity is what goes on with mu released.
type activity uint8

const (
	reading activity = 1 << iota // input is being handled, and a flush follows
	writing                      // who comes to write leaves it to those who do
)

type pauseReason uint8

const (
	pauseOwner    pauseReason = 1 << iota // SetReading was called
	pauseOverflow                         // the peer does not read its replies
)

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() netip.Addr {
	if c.addr == [16]byte{} {
		return netip.Addr{}
	}
	return netip.AddrFrom16(c.addr).Unmap()
}

// Serial is a number that no other Conn of the Server has; it comes again after four thousand million others.
func (c *Conn) Serial() uint64 { return uint64(c.group.index)<<32 | uint64(c.gen) }

func (c *Conn) setAddr(a netip.Addr) {
	if a.IsValid() {
		c.addr = a.As16()
	}
}

// Receiver is what Options.Open returned for this Conn.
func (c *Conn) Receiver() Receiver { return c.recv }

// Establish ends the time limit of the handshake: the peer has proved who it is, and heartbeats begin.
func (c *Conn) Establish() {
	c.mu.Lock()
	first := !c.settled && c.state == open
	c.settled = true
	c.mu.Unlock()
	if first {
		c.group.table.set(c, spread(c.group.opt.PingInterval))
	}
}

// mostQueued is what may wait for one socket in all, but for the last frame.
const mostQueued = 4 << 20

// Send queues a frame whatever waits already, and sees that it leaves. While more than QueueBytes wait, nothing more is
// read from this socket; what was read already may make more wait, but a peer that asks for more than mostQueued without
// reading any of it is ended.
func (c *Conn) Send(frame []byte) {
	c.mu.Lock()
	if c.state == open && c.out != nil && c.out.bytes > max(mostQueued, 16*c.group.opt.QueueBytes) {
		c.code = wire.SlowConsumer
		c.endLocked()
	}
	flush := c.pushLocked(frame) && c.busy&reading == 0
	if c.state == open && c.out != nil && c.out.bytes > c.group.opt.QueueBytes && c.pause&pauseOverflow == 0 {
		c.pause |= pauseOverflow
		c.wantLocked()
	}
	c.mu.Unlock()
	if flush {
		c.group.hand(c)
	}
}

// Offer queues a frame unless too much waits already; if it was not taken, the Receiver's Drained is called once there is
// room. flush says that the caller must pass c to Flush.
func (c *Conn) Offer(frame []byte) (taken, flush bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil && c.out.bytes+len(frame) > c.group.opt.QueueBytes && c.state == open {
		c.refused = true
		return false, false
	}
	return true, c.pushLocked(frame) && c.busy&reading == 0
}

// Room reports whether no more waits than Offer lets pass; if not, the Receiver's Drained is called once there is room.
func (c *Conn) Room() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out != nil && c.out.bytes > c.group.opt.QueueBytes && c.state == open {
		c.refused = true
		return false
	}
	return true
}

// pushLocked queues a frame and reports whether the caller has to flush. Caller must hold mu.
func (c *Conn) pushLocked(frame []byte) bool {
	if c.state != open {
		return false
	}
	if c.out == nil {
		c.out = queues.Get().(*queue)
	}
	c.out.push(frame)
	if c.dirty || c.blocked {
		return false
	}
	c.dirty = true
	return true
}

// SetReading says whether input is wanted: what a busy Receiver cannot take stays with the peer. Messages that were read
// already may still arrive.
func (c *Conn) SetReading(on bool) { c.setPause(pauseOwner, !on) }

func (c *Conn) setPause(why pauseReason, on bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.pause
	if on {
		c.pause |= why
	} else {
		c.pause &^= why
	}
	if before != c.pause && c.state == open {
		c.wantLocked()
	}
}

// Close sends a close frame and ends the connection when the peer has answered it, or has had its time.
// The first close counts.
func (c *Conn) Close(code wire.Code, reason string) {
	c.mu.Lock()
	flush := c.closeLocked(code, reason)
	c.mu.Unlock()
	if flush {
		c.group.hand(c)
	}
}

func (c *Conn) closeLocked(code wire.Code, reason string) (flush bool) {
	if c.state != open {
		if c.state == opening {
			c.code = code
			c.endLocked()
		}
		return false
	}
	flush = c.pushLocked(wsock.AppendClose(nil, uint16(code), reason)) && c.busy&reading == 0
	c.state, c.code, c.pause = closing, code, 0
	c.wantLocked()
	c.group.table.set(c, closeTimeout)
	return flush
}

// Kill ends the connection without a word.
func (c *Conn) Kill() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.endLocked()
}

func (c *Conn) endOpening() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == opening {
		c.endLocked()
	}
}

func (c *Conn) endLocked() {
	if c.state == closed {
		return
	}
	c.state = closed
	c.dropLocked()
	c.link.end()
}

func (c *Conn) dropLocked() {
	if c.out != nil {
		c.out.release()
		c.out = nil
	}
}

func (c *Conn) wantLocked() { c.link.want(c.pause == 0, c.blocked) }

// owed is what a flush leaves to be done once mu is released.
type owed uint8

const (
	owesDrained owed = 1 << iota // Receiver.Drained is to be called
	owesFlush                    // more waits by now, and nobody else has undertaken to flush it
)

// flush writes what waits, as far as the socket takes it.
func (c *Conn) flush(s *scratch) {
	c.mu.Lock()
	c.dirty = false
	o := c.flushLocked(s)
	c.mu.Unlock()
	c.settle(o)
}

// writable is called by the link when a blocked socket has room again.
func (c *Conn) writable(s *scratch) {
	c.mu.Lock()
	c.blocked = false
	o := c.flushLocked(s)
	if !c.blocked && c.state != closed {
		c.wantLocked()
	}
	c.mu.Unlock()
	c.settle(o)
}

func (c *Conn) settle(o owed) {
	if o&owesFlush != 0 {
		c.group.hand(c)
	}
	if o&owesDrained != 0 {
		c.recv.Drained(c)
	}
}

// flushLocked writes what waits by now. What comes while it writes waits for the next flush, so that it can leave together.
func (c *Conn) flushLocked(s *scratch) owed {
	if c.busy&writing != 0 || c.out == nil || c.blocked || c.state == closed {
		return 0
	}
	n, blocked, err := c.link.write(c.out, s)
	c.wroteLocked(n)
	switch {
	case c.state == closed:
		return 0
	case err != nil:
		c.endLocked()
		return 0
	case blocked:
		c.blocked = true
		c.wantLocked()
		return 0
	case c.out.bytes == 0:
		return c.emptyLocked()
	case c.dirty:
		return 0
	}
	c.dirty = true
	return owesFlush
}

func (c *Conn) wroteLocked(n int) {
	c.progress = c.progress || n > 0
	c.group.bytesOut.Add(uint64(n))
}

// emptyLocked tidies up when nothing waits any more.
func (c *Conn) emptyLocked() (o owed) {
	c.dropLocked()
	if c.state == closing {
		c.link.finish()
		return 0
	}
	if c.pause&pauseOverflow != 0 {
		c.pause &^= pauseOverflow
		c.wantLocked()
	}
	if c.refused && c.state == open {
		o = owesDrained
	}
	c.refused = false
	return o
}

// beat is called when c's deadline has come. What it queues is flushed by the caller, who also calls the
// Receiver's Beat if it reports true. A peer that is behind with reading is alive while it takes what was sent: its pong
// comes when it has read as far as the ping.
func (c *Conn) beat() (settled bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.group.table.waits(c) {
		return false // it has been moved since
	}
	owing := c.blocked || c.pinged && !c.heard.Load() // otherwise the system need not be asked
	taking := c.state == open && owing && c.link.taking()
	stalled := c.blocked && !c.progress && !taking
	if stalled {
		c.stalls++
	} else {
		c.stalls = 0
	}
	switch {
	case c.state == closed:
		return false
	case c.state == opening, c.state == closing:
		if c.code == 0 {
			c.code = wire.ConnectTimeout
		}
		c.endLocked()
		return false
	case !c.settled:
		c.closeLocked(wire.ConnectTimeout, wire.ConnectTimeout.String())
		return false
	case stalled && c.stalls >= c.group.opt.stallBeats():
		c.code = wire.SlowConsumer
		c.endLocked()
		return false
	case stalled: // what would show that it lives waits behind what it does not take
	case c.heard.Swap(false), c.pause != 0:
		c.pinged = false
	case c.pinged && taking:
	case c.pinged:
		c.closeLocked(wire.Stale, wire.Stale.String())
		return false
	default:
		c.pinged = true
		c.pushLocked(pingFrame)
		c.link.taking() // from here on it tells what is acknowledged
	}
	c.progress = false
	c.group.table.set(c, c.group.opt.PingInterval)
	return true
}

var pingFrame = wsock.AppendFrame(nil, ws.OpPing, nil)
