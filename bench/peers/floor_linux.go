package main

import (
	"bytes"
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

const (
	joined    = 16      // frames that leave in one write, at most
	maxUnsent = 8 << 20 // bytes that may wait for one socket
)

// floor is the least that a server of this kind can do: one thread that waits for readiness, reads, and writes a ready frame
// to every socket of a channel. It knows just as much of HTTP, WebSocket and the protocol as the load says.
type floor struct {
	epoll, listener, timer int

	socks map[int]*sock // by descriptor
	rooms map[string]*room
	full  []*room // whose frames wait to be written
	buf   []byte  // what one read brings
}

// room is one channel.
type room struct {
	members []*sock // those that have gone included, until the next write
	frames  []byte
	waiting int // frames
}

type sock struct {
	fd   int // -1: closed
	open bool
	rest []byte // received, and not whole yet
	out  []byte // unsent
}

func serveFloor(ctx context.Context, o options, listening func(url string)) (err error) {
	f := &floor{socks: make(map[int]*sock), rooms: make(map[string]*room), buf: make([]byte, 256<<10)}
	address, err := f.listen(o)
	if err != nil {
		return err
	}
	defer f.close()
	stop := context.AfterFunc(ctx, func() { _ = unix.Shutdown(f.listener, unix.SHUT_RDWR) })
	defer stop()
	listening("ws://" + address + "/ws")
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := f.run(); ctx.Err() == nil {
		return err
	}
	return nil
}

// listen opens the three descriptors that are always there.
func (f *floor) listen(o options) (address string, err error) {
	wanted, err := net.ResolveTCPAddr("tcp4", o.listen)
	if err != nil {
		return "", err
	}
	if f.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return "", os.NewSyscallError("epoll_create1", err)
	}
	if f.listener, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return "", os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(f.listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	local := &unix.SockaddrInet4{Port: wanted.Port}
	copy(local.Addr[:], wanted.IP.To4())
	if err := unix.Bind(f.listener, local); err != nil {
		return "", os.NewSyscallError("bind", err)
	}
	if err := unix.Listen(f.listener, 4096); err != nil {
		return "", os.NewSyscallError("listen", err)
	}
	if f.timer, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_NONBLOCK|unix.TFD_CLOEXEC); err != nil {
		return "", os.NewSyscallError("timerfd_create", err)
	}
	every := unix.NsecToTimespec(int64(o.ping))
	if err := unix.TimerfdSettime(f.timer, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil); err != nil {
		return "", os.NewSyscallError("timerfd_settime", err)
	}
	for _, fd := range []int{f.listener, f.timer} {
		if err := f.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			return "", err
		}
	}
	name, err := unix.Getsockname(f.listener)
	if err != nil {
		return "", os.NewSyscallError("getsockname", err)
	}
	in := name.(*unix.SockaddrInet4)
	return (&net.TCPAddr{IP: in.Addr[:], Port: in.Port}).String(), nil
}

func (f *floor) watch(op, fd int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(f.epoll, op, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)}))
}

func (f *floor) close() {
	for fd := range f.socks {
		_ = unix.Close(fd)
	}
	for _, fd := range []int{f.timer, f.listener, f.epoll} {
		_ = unix.Close(fd)
	}
}

// run serves until the listener fails.
func (f *floor) run() error {
	var events [256]unix.EpollEvent
	for {
		n, err := unix.EpollWait(f.epoll, events[:], -1)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("epoll_wait", err)
		}
		for i := range max(n, 0) {
			switch fd := int(events[i].Fd); fd {
			case f.listener:
				if err := f.accept(); err != nil {
					return err
				}
			case f.timer:
				f.pingAll()
			default:
				if s := f.socks[fd]; s != nil && !f.ready(s, events[i].Events) {
					f.end(s)
				}
			}
		}
		for _, r := range f.full {
			f.flush(r)
		}
		f.full = f.full[:0]
	}
}

func (f *floor) accept() error {
	for {
		fd, _, err := unix.Accept4(f.listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN:
			return nil
		case unix.ECONNABORTED, unix.EINTR:
			continue
		default:
			return os.NewSyscallError("accept4", err)
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		if err := f.watch(unix.EPOLL_CTL_ADD, fd, unix.EPOLLIN); err != nil {
			_ = unix.Close(fd)
			continue
		}
		f.socks[fd] = &sock{fd: fd}
	}
}

func (f *floor) end(s *sock) {
	if s.fd < 0 {
		return
	}
	delete(f.socks, s.fd)
	_ = unix.Close(s.fd)
	s.fd = -1
}

// pingAll pings every socket. One that does not answer stays: nobody looks.
func (f *floor) pingAll() {
	var ticks [8]byte
	_, _ = unix.Read(f.timer, ticks[:])
	for _, s := range f.socks {
		if s.open && !f.write(s, []byte{0x89, 0}) {
			f.end(s)
		}
	}
}

// ready handles an event, and reports whether the socket lives.
func (f *floor) ready(s *sock, events uint32) bool {
	if events&unix.EPOLLOUT != 0 && !f.drain(s) {
		return false
	}
	if events&^uint32(unix.EPOLLOUT) == 0 {
		return true
	}
	have := copy(f.buf, s.rest)
	n, err := unix.Read(s.fd, f.buf[have:])
	switch {
	case err == unix.EAGAIN || err == unix.EINTR:
		return true
	case err != nil || n <= 0:
		return false
	}
	s.rest = nil
	p := f.buf[:have+n]
	if !s.open {
		head, rest, whole := bytes.Cut(p, []byte("\r\n\r\n"))
		if !whole {
			return f.keep(s, p)
		}
		s.open, p = true, rest
		if !f.write(s, upgrade(head)) {
			return false
		}
	}
	for len(p) > 0 {
		op, payload, size := cutFrame(p)
		if size == 0 {
			return f.keep(s, p)
		}
		if p = p[size:]; !f.receive(s, op, payload) {
			return false
		}
	}
	return true
}

// keep keeps what is not whole yet. What would not fit the buffer with the next read is refused.
func (f *floor) keep(s *sock, p []byte) bool {
	s.rest = bytes.Clone(p)
	return len(p) < len(f.buf)
}

// upgrade answers the handshake (RFC 6455, 4.2.2).
func upgrade(head []byte) []byte {
	_, key, _ := bytes.Cut(head, []byte("Sec-WebSocket-Key: "))
	key, _, _ = bytes.Cut(key, []byte("\r\n"))
	hash := sha1.Sum(append(bytes.Clone(key), "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"...))
	return append(base64.StdEncoding.AppendEncode(
		[]byte("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "), hash[:]), "\r\n\r\n"...)
}

// cutFrame takes a masked frame off p, in place. size is 0 when it is not whole.
func cutFrame(p []byte) (op byte, payload []byte, size int) {
	if len(p) < 2 {
		return 0, nil, 0
	}
	head, n := 2, int(p[1]&0x7f)
	switch {
	case n == 126 && len(p) >= 4:
		head, n = 4, int(binary.BigEndian.Uint16(p[2:]))
	case n == 127 && len(p) >= 10:
		head, n = 10, int(binary.BigEndian.Uint32(p[6:])) // of 64 bits, the lower half
	case n > 125:
		return 0, nil, 0
	}
	if len(p) < head+4+n {
		return 0, nil, 0
	}
	mask, payload := p[head:head+4], p[head+4:head+4+n]
	for i := range payload {
		payload[i] ^= mask[i&3]
	}
	return p[0] & 0x0f, payload, head + 4 + n
}

func (f *floor) receive(s *sock, op byte, payload []byte) bool {
	const text, ping, pong = 1, 9, 10
	switch op {
	case text:
		return f.commands(s, payload)
	case ping:
		return f.write(s, appendFrame(nil, 0x80|pong, payload))
	}
	return op == pong
}

func appendFrame(dst []byte, first byte, payload ...[]byte) []byte {
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	switch {
	case n < 126:
		dst = append(dst, first, byte(n))
	case n < 1<<16:
		dst = binary.BigEndian.AppendUint16(append(dst, first, 126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, first, 127), uint64(n))
	}
	for _, p := range payload {
		dst = append(dst, p...)
	}
	return dst
}

// commands does what a text says, in the exact words of the load.
func (f *floor) commands(s *sock, text []byte) bool {
	if rest, ok := bytes.CutPrefix(text, []byte(`{"publish":{"channel":"`)); ok {
		channel, rest, _ := bytes.Cut(rest, []byte(`","data":`))
		data, ok := bytes.CutSuffix(rest, []byte(`,"qos":0}}`))
		if ok {
			f.publish(channel, data)
		}
		return ok
	}
	var answers []byte
	for len(text) > 0 {
		command, rest, _ := bytes.Cut(text, []byte(`}}`))
		text = rest
		id, body, ok := bytes.Cut(command, []byte(`,`)) // id is {"id":N
		name, body, whole := bytes.Cut(body, []byte(`:{`))
		switch {
		case !ok || !whole:
			return false
		case string(name) == `"subscribe"`:
			channel, _, _ := bytes.Cut(bytes.TrimPrefix(body, []byte(`"channel":"`)), []byte(`"`))
			f.subscribe(s, string(channel))
			answers = append(append(append(append(answers, id...), `,"subscribe":{"channel":"`...), channel...), `","qos":0}}`...)
		case string(name) == `"connect"`:
			answers = append(append(answers, id...), `,"connect":{"session":"floor","user":"bench"}}`...)
		default:
			return false
		}
	}
	return f.write(s, appendFrame(nil, 0x81, answers))
}

func (f *floor) subscribe(s *sock, channel string) {
	r := f.rooms[channel]
	if r == nil {
		r = &room{}
		f.rooms[channel] = r
	}
	r.members = append(r.members, s)
}

// publish makes the frame, which is written when everything that can be read has been, or sixteen wait.
func (f *floor) publish(channel, data []byte) {
	r := f.rooms[string(channel)]
	if r == nil {
		return
	}
	if r.waiting == 0 {
		f.full = append(f.full, r)
	}
	r.frames = appendFrame(r.frames, 0x81, []byte(`{"message":{"channel":"`), channel, []byte(`","data":`), data, []byte(`}}`))
	if r.waiting++; r.waiting == joined {
		f.flush(r)
	}
}

// flush writes what waits to every member.
func (f *floor) flush(r *room) {
	if r.waiting == 0 {
		return
	}
	alive := r.members[:0]
	for _, s := range r.members {
		if s.fd >= 0 && !f.write(s, r.frames) {
			f.end(s)
		}
		if s.fd >= 0 {
			alive = append(alive, s)
		}
	}
	clear(r.members[len(alive):])
	r.members, r.frames, r.waiting = alive, r.frames[:0], 0
}

// write writes p, or keeps what does not fit for when it does. It reports whether the socket lives.
func (f *floor) write(s *sock, p []byte) bool {
	if len(s.out) > 0 {
		s.out = append(s.out, p...)
		return len(s.out) < maxUnsent
	}
	n, err := unix.Write(s.fd, p)
	switch {
	case n == len(p):
		return true
	case err != nil && err != unix.EAGAIN && err != unix.EINTR:
		return false
	}
	s.out = append(s.out, p[max(n, 0):]...)
	return f.watch(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN|unix.EPOLLOUT) == nil
}

// drain writes what has waited.
func (f *floor) drain(s *sock) bool {
	n, err := unix.Write(s.fd, s.out)
	if err != nil && err != unix.EAGAIN && err != unix.EINTR {
		return false
	}
	if s.out = s.out[:copy(s.out, s.out[max(n, 0):])]; len(s.out) > 0 {
		return true
	}
	s.out = nil
	return f.watch(unix.EPOLL_CTL_MOD, s.fd, unix.EPOLLIN) == nil
}
