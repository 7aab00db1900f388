package transport

import (
	"errors"
	"math"
	"net"
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/jetwire/jetwire/gateway/poll"
)

// loop reads the sockets of one epoll instance. Its goroutine is the only one that reads or closes their descriptors.
type loop struct {
	group  *group
	poller *poll.Poller
	buf    []byte // what one read of one socket may bring
}

// fdConn is a Conn and the descriptor under it, in one piece of memory. An event carries the Conn's token: that of a
// descriptor that was closed meanwhile finds nothing, even if the slot has been given to another.
type fdConn struct {
	Conn
	fd    int32
	armed poll.Events // guarded by Conn.mu, as is what follows
	left  bool        // the descriptor is to be closed by who writes to it now
	sent  uint32      // bytes that the socket took, modulo 2³²
	acked uint32      // of these, what taking found last
}

const readBuffer = 64 << 10

// socketsAllowed is how many sockets the descriptor limit allows, less what the process itself may have to open: its
// store's files, connections to NATS, HTTP. 0: no limit.
func socketsAllowed() int {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil || limit.Cur > math.MaxInt32 {
		return 0
	}
	n := int(limit.Cur)
	return max(n-min(max(n/8, 128), 4096), n/4, 1)
}

func (s *Server) startLoops() (err error) {
	s.acceptor, err = poll.New()
	if errors.Is(err, poll.ErrUnsupported) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, g := range s.groups {
		p, err := poll.New()
		if err != nil {
			return errors.Join(err, s.closeLoops())
		}
		g.loop = &loop{group: g, poller: p, buf: make([]byte, readBuffer)}
		s.loops = append(s.loops, g.loop)
	}
	for _, l := range s.loops {
		s.work.Go(l.run)
	}
	return nil
}

func (s *Server) closeLoops() error {
	err := s.acceptor.Close()
	for _, l := range s.loops {
		err = errors.Join(err, l.poller.Close())
	}
	return err
}

// acceptFDs takes what comes to l, as raw descriptors, until the acceptor is closed.
func (s *Server) acceptFDs(l net.Listener) error {
	raw, err := l.(*net.TCPListener).SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	err = raw.Control(func(fd uintptr) { failed = s.acceptor.Add(int(fd), 0, poll.Readable) })
	if err := errors.Join(err, failed); err != nil {
		return err
	}
	return s.acceptor.Wait(func([]poll.Event) {
		err := raw.Control(func(fd uintptr) { failed = s.acceptWaiting(int(fd)) })
		if err == nil && failed != nil {
			s.cannotAccept(failed)
		}
	})
}

// acceptRun is how many sockets are accepted before the listener may close.
const acceptRun = 256

// acceptWaiting accepts until nobody waits, or the poller should be asked again.
func (s *Server) acceptWaiting(listener int) error {
	for range acceptRun {
		fd, sa, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch {
		case err == nil:
			s.acceptedFD(fd, address(sa))
		case errors.Is(err, unix.EAGAIN):
			return nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNABORTED):
		default:
			return os.NewSyscallError("accept4", err)
		}
	}
	return nil
}

func address(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr).Unmap()
	}
	return netip.Addr{}
}

func (s *Server) acceptedFD(fd int, addr netip.Addr) {
	if refusal := s.admit(addr); refusal != nil {
		_, _ = unix.Write(fd, refusal)
		var request [512]byte // closing with something unread might take back what was written
		_, _ = unix.Read(fd, request[:])
		_ = unix.Close(fd)
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if err := s.loops[s.nextGroup()].add(fd, addr); err != nil {
		s.opt.Logger.Error("cannot watch a socket", "error", err)
		_ = unix.Close(fd)
		s.left(addr)
	}
}

func (l *loop) add(fd int, addr netip.Addr) error {
	c := &fdConn{Conn: Conn{group: l.group}, fd: int32(fd), armed: poll.Readable}
	c.link = c
	c.setAddr(addr)
	t := l.group.table
	if !t.add(&c.Conn, l.group.opt.HandshakeTimeout) {
		return ErrClosed
	}
	err := l.poller.Add(fd, c.token(), poll.Readable)
	if err != nil && !t.remove(&c.Conn) {
		return nil // the loop has ended meanwhile and closed it
	}
	return err
}

// run handles events until the poller is closed, and then closes every socket.
func (l *loop) run() {
	var ready [poll.BatchSize]*Conn
	err := l.poller.Wait(func(events []poll.Event) {
		t := l.group.table
		t.mu.Lock()
		for i, e := range events {
			ready[i] = t.findLocked(e.Token)
		}
		t.mu.Unlock()
		s := getScratch()
		for i, e := range events {
			if ready[i] != nil {
				l.handle(ready[i].link.(*fdConn), e.Events, s)
			}
		}
		s.release()
	})
	if !errors.Is(err, poll.ErrClosed) {
		l.group.opt.Logger.Error("an epoll loop has failed; its sockets are closed", "error", err)
	}
	for _, c := range l.group.table.end() {
		if c, ok := c.link.(*fdConn); ok {
			c.gone(false)
			c.release()
		}
	}
}

func (l *loop) close() { _ = l.poller.Close() }

func (l *loop) handle(c *fdConn, ev poll.Events, s *scratch) {
	if ev&poll.Writable != 0 {
		c.writable(s)
	}
	if ev&(poll.Readable|poll.Hangup) == 0 {
		return
	}
	n, err := unix.Read(int(c.fd), l.buf)
	switch {
	case n > 0:
		switch c.input(l.buf[:n], s) {
		case toHTTP:
			l.toHTTP(c)
		case tearOff:
			l.tearDown(c)
		}
	case err == unix.EAGAIN, err == unix.EINTR:
	default: // the end of the stream, or an error of the socket
		l.tearDown(c)
	}
}

func (l *loop) tearDown(c *fdConn) {
	c.gone(false)
	c.release()
}

// toHTTP moves the descriptor into Go's poller, where net/http goes on with it.
func (l *loop) toHTTP(c *fdConn) {
	_ = l.poller.Remove(int(c.fd))
	c.gone(true)
	f := os.NewFile(uintptr(c.fd), "http")
	conn, err := net.FileConn(f)
	_ = f.Close() // FileConn has duplicated it
	srv := l.group.srv
	if err != nil {
		srv.opt.Logger.Error("cannot hand a connection to HTTP", "error", err)
		srv.left(c.RemoteAddr())
		return
	}
	srv.work.Go(func() { srv.give(conn, *c.early, c.RemoteAddr()) })
}

// write sends from the front of q what it holds now, or until the socket is full. mu is released during system calls, which take longer
// than all else that is done with it held: those who have frames for this socket do not wait for them.
func (c *fdConn) write(q *queue, s *scratch) (n int, blocked bool, err error) {
	c.busy |= writing
	for left := q.bytes; n < left && !blocked && err == nil && c.state != closed; {
		p := s.head(q)
		c.mu.Unlock()
		wrote, failed := unix.Write(int(c.fd), p)
		c.mu.Lock()
		switch {
		case failed == nil:
			n += wrote
			c.sent += uint32(wrote)
			if c.state != closed { // otherwise q has been dropped
				q.written(wrote)
			}
		case errors.Is(failed, unix.EAGAIN):
			blocked = true
		case !errors.Is(failed, unix.EINTR):
			err = os.NewSyscallError("write", failed)
		}
	}
	c.busy &^= writing
	if c.left {
		_ = unix.Close(int(c.fd))
	}
	return n, blocked, err
}

// release closes the descriptor, once nobody writes to it any more: its number may be another socket's at once.
func (c *fdConn) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.busy&writing != 0 {
		c.left = true
		return
	}
	_ = unix.Close(int(c.fd))
}

func (c *fdConn) want(input, room bool) {
	var ev poll.Events
	if input {
		ev |= poll.Readable
	}
	if room {
		ev |= poll.Writable
	}
	if ev != c.armed {
		c.armed = ev
		_ = c.group.loop.poller.Modify(int(c.fd), c.token(), ev)
	}
}

func (c *fdConn) end() {
	c.want(true, false)
	_ = unix.Shutdown(int(c.fd), unix.SHUT_RDWR)
}

func (c *fdConn) finish() { _ = unix.Shutdown(int(c.fd), unix.SHUT_WR) }

// taking asks for what waits in the socket, which costs a tenth of asking for all that TCP knows.
func (c *fdConn) taking() bool {
	waits, err := unix.IoctlGetInt(int(c.fd), unix.SIOCOUTQ)
	if err != nil {
		return false
	}
	before := c.acked
	c.acked = c.sent - uint32(waits)
	return c.acked != before && waits > 0
}

// takingRaw is link.taking for a net.Conn, where nobody has counted the bytes under TLS; last keeps the low bits of what TCP counted.
func takingRaw(raw syscall.RawConn, last *uint32) (yes bool) {
	_ = raw.Control(func(fd uintptr) {
		info, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO)
		if err != nil {
			return
		}
		before := *last
		*last = uint32(info.Bytes_acked)
		yes = *last != before && (info.Unacked > 0 || info.Notsent_bytes > 0)
	})
	return yes
}
