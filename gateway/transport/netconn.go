package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// netLink is a Conn's socket where epoll is not: under TLS, on other systems, or taken over from net/http. One goroutine
// reads, another writes while something waits.
type netLink struct {
	conn *Conn
	nc   net.Conn
	room chan struct{} // tells the writer to go on; closed by nobody
	done chan struct{} // closed by the reading goroutine at its end

	input chan struct{} // tells the reader that input is wanted again

	// Guarded by Conn.mu.
	wanted    bool
	finishing bool            // what waits is written: half-close
	raw       syscall.RawConn // of the TCP socket; nil until taking has asked, or if there is none
	acked     uint32
}

// acceptConns takes what comes to l until it is closed.
func (s *Server) acceptConns(l net.Listener) error {
	for {
		nc, err := l.Accept()
		switch {
		case err == nil:
			s.acceptedConn(nc)
		case errors.Is(err, net.ErrClosed):
			return err
		default:
			s.cannotAccept(err)
		}
	}
}

func (s *Server) acceptedConn(nc net.Conn) {
	addr := remoteAddr(nc)
	if refusal := s.admit(addr); refusal != nil {
		if s.opt.TLS == nil {
			_ = nc.SetWriteDeadline(time.Now().Add(time.Second))
			_, _ = nc.Write(refusal)
		}
		_ = nc.Close()
		return
	}
	if s.opt.TLS != nil {
		nc = tls.Server(nc, s.opt.TLS)
	}
	s.serveNetConn(nc, addr)
}

func remoteAddr(nc net.Conn) netip.Addr {
	if a, ok := nc.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// serveNetConn starts the goroutines of an admitted connection.
func (s *Server) serveNetConn(nc net.Conn, addr netip.Addr) {
	c := &Conn{group: s.groups[s.nextGroup()]}
	c.setAddr(addr)
	l := &netLink{
		conn: c, nc: nc, wanted: true,
		room: make(chan struct{}, 1), done: make(chan struct{}), input: make(chan struct{}, 1),
	}
	c.link = l
	s.mu.Lock()
	if s.closed || !c.group.table.add(c, s.opt.HandshakeTimeout) {
		s.mu.Unlock()
		_ = nc.Close()
		s.left(addr)
		return
	}
	s.work.Add(2)
	s.mu.Unlock()
	go l.read()
	go l.drain()
}

const netBuffer = 4 << 10

func (l *netLink) read() {
	c, s := l.conn, l.conn.group.srv
	defer s.work.Done()
	buf := make([]byte, netBuffer)
	next := goOn
	for next == goOn {
		n, err := l.nc.Read(buf)
		if n > 0 {
			scratch := getScratch() // not kept while nothing comes
			next = c.input(buf[:n], scratch)
			scratch.release()
		}
		if err != nil {
			break
		}
		l.awaitWanted()
	}
	close(l.done)
	c.gone(next == toHTTP)
	if next == toHTTP {
		s.give(l.nc, *c.early, c.RemoteAddr())
		return
	}
	_ = l.nc.Close()
}

// awaitWanted returns when input is wanted, or the connection has ended.
func (l *netLink) awaitWanted() {
	for {
		l.conn.mu.Lock()
		on := l.wanted || l.conn.state == closed
		l.conn.mu.Unlock()
		if on {
			return
		}
		<-l.input
	}
}

// drain writes what waits, a queue at a time, until the connection ends.
func (l *netLink) drain() {
	c := l.conn
	defer c.group.srv.work.Done()
	for {
		select {
		case <-l.done:
			return
		case <-l.room:
		}
		scratch := getScratch()
		for l.writeHead(scratch) {
		}
		c.writable(scratch)
		scratch.release()
		if l.isFinishing() {
			l.closeWrite()
			return
		}
	}
}

func (l *netLink) isFinishing() bool {
	l.conn.mu.Lock()
	defer l.conn.mu.Unlock()
	return l.finishing
}

// closeWrite is the writing goroutine's: under TLS it writes, and may block.
func (l *netLink) closeWrite() {
	if half, ok := l.nc.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
}

// writeHead writes a bufferful from the front of the queue, and reports whether more waits.
func (l *netLink) writeHead(s *scratch) bool {
	c := l.conn
	c.mu.Lock()
	if c.out == nil || len(c.out.frames) == 0 || c.state == closed {
		c.mu.Unlock()
		return false
	}
	p := s.head(c.out)
	c.mu.Unlock()
	n, err := l.nc.Write(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.endLocked()
	}
	if c.out == nil {
		return false
	}
	c.out.written(n)
	c.wroteLocked(n)
	return len(c.out.frames) > 0
}

// write leaves the work to the writing goroutine.
func (l *netLink) write(q *queue, _ *scratch) (n int, blocked bool, err error) {
	if len(q.frames) == 0 {
		return 0, false, nil
	}
	poke(l.room)
	return 0, true, nil
}

func (l *netLink) want(input, _ bool) {
	l.wanted = input
	if input {
		poke(l.input)
	}
}

// end is called with Conn.mu held: closing a TLS connection may write, so the deadline ends both goroutines instead.
func (l *netLink) end() {
	_ = l.nc.SetDeadline(time.Unix(1, 0))
	poke(l.input)
}

// finish leaves the work to the writing goroutine.
func (l *netLink) finish() {
	l.finishing = true
	poke(l.room)
}

func (l *netLink) taking() bool {
	if l.raw == nil {
		nc := l.nc
		for {
			if outer, ok := nc.(interface{ NetConn() net.Conn }); ok {
				nc = outer.NetConn()
				continue
			}
			break
		}
		if socket, ok := nc.(syscall.Conn); ok {
			l.raw, _ = socket.SyscallConn()
		}
	}
	return l.raw != nil && takingRaw(l.raw, &l.acked)
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
