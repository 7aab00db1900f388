package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jetwire/jetwire/gateway/poll"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// ErrClosed is what Serve returns after Close, and Listen refuses with.
var ErrClosed = errors.New("transport: server closed")

// Server accepts sockets on one port: WebSockets for its Receivers, everything else for net/http.
type Server struct {
	opt       Options
	handshake wsock.Handshake
	limits    wsock.Limits
	http      *http.Server
	httpConns *httpListener
	groups    []*group
	loops     []*loop      // one a group; none where epoll is not used
	acceptor  *poll.Poller // of the listener, where epoll is used

	ctx  context.Context // ends when Close begins
	stop context.CancelFunc
	work sync.WaitGroup // writers, loops, the clock, reading goroutines, net/http

	refusedHandshakes, refusedConns, accepted atomic.Uint64
	onHTTP                                    atomic.Int64  // sockets that net/http has
	next                                      atomic.Uint32 // group of the next Conn

	stopping  sync.Once // of StopAccepting
	stopError error

	mu       sync.Mutex
	listener net.Listener
	count    int
	perAddr  map[netip.Addr]int // by site
	closes   map[wire.Code]uint64
	closed   bool
}

// New makes a Server and starts what it shares between sockets. Close must be called.
func New(o Options) (*Server, error) {
	o = o.withDefaults()
	if o.MaxConns <= 0 {
		o.MaxConns = socketsAllowed()
	}
	s := &Server{
		opt:     o,
		limits:  wsock.Limits{MaxMessage: o.MaxMessage, Server: true},
		perAddr: make(map[netip.Addr]int),
		closes:  make(map[wire.Code]uint64),
	}
	s.handshake = wsock.Handshake{MaxBytes: o.HandshakeBytes, Path: o.Path, Origin: o.Origin, Protocols: o.Protocols}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for i := range o.Loops {
		s.groups = append(s.groups, newGroup(s, i))
	}
	if !o.Portable && o.TLS == nil {
		if err := s.startLoops(); err != nil {
			s.stop()
			return nil, err
		}
	}
	s.startHTTP()
	for _, g := range s.groups {
		s.work.Go(g.write)
	}
	s.work.Go(s.clock)
	return s, nil
}

// Listen binds the address, "host:port", and returns what was bound; port 0 takes a free one.
func (s *Server) Listen(addr string) (net.Addr, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", addr, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.listener != nil {
		_ = l.Close()
		return nil, ErrClosed
	}
	s.listener = l
	return l.Addr(), nil
}

// Serve accepts until StopAccepting or Close, and then returns ErrClosed.
func (s *Server) Serve() error {
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	if l == nil {
		return ErrClosed
	}
	var err error
	if len(s.loops) > 0 {
		err = s.acceptFDs(l)
	} else {
		err = s.acceptConns(l)
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, poll.ErrClosed) {
		return ErrClosed
	}
	return err
}

// cannotAccept is called when descriptors or memory have run out: those that are connected go on, and accepting is tried
// again after a while.
func (s *Server) cannotAccept(err error) {
	s.opt.Logger.Error("cannot accept; raise the descriptor limit or limit connections", "error", err)
	sleep(s.ctx, 100*time.Millisecond)
}

// StopAccepting closes the listener, and HTTP connections when they have no request to answer; established WebSockets
// stay. When it returns, nothing is being accepted.
func (s *Server) StopAccepting() error {
	s.mu.Lock()
	l := s.listener
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	s.stopping.Do(func() { // mu is not held: closing waits for what is being accepted, and that takes mu
		if s.acceptor != nil {
			_ = s.acceptor.Close()
		}
		if err := l.Close(); !errors.Is(err, net.ErrClosed) {
			s.stopError = err
		}
		s.http.SetKeepAlivesEnabled(false)
	})
	return s.stopError
}

// Close ends every connection at once (after a Drain of the caller's own there should be none) and waits for all it
// started.
func (s *Server) Close() error {
	s.mu.Lock()
	again := s.closed
	s.closed = true
	s.mu.Unlock()
	if again {
		return nil
	}
	s.stop()
	err := errors.Join(s.StopAccepting(), s.stopHTTP())
	if s.acceptor != nil {
		_ = s.acceptor.Close() // also if nobody ever listened
	}
	for _, c := range s.sockets() {
		if _, alone := c.link.(*netLink); alone { // a loop ends its own
			c.Kill()
		}
	}
	for _, l := range s.loops {
		l.close()
	}
	for _, g := range s.groups {
		g.stop()
	}
	s.work.Wait()
	return err
}

// clock turns the tables.
func (s *Server) clock() {
	t := time.NewTicker(s.groups[0].table.tick)
	defer t.Stop()
	scratch := getScratch()
	defer scratch.release()
	var due []*Conn
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-t.C:
			for _, g := range s.groups {
				due = g.turn(due, scratch)
			}
		}
	}
}

// Each calls f with every established connection.
func (s *Server) Each(f func(*Conn)) {
	for _, c := range s.sockets() {
		if c.isSettled() {
			f(c)
		}
	}
}

// EndOpening ends the connections that have not made their request in full.
func (s *Server) EndOpening() {
	for _, c := range s.sockets() {
		c.endOpening()
	}
}

func (s *Server) sockets() (conns []*Conn) {
	for _, g := range s.groups {
		conns = g.table.all(conns)
	}
	return conns
}

func (s *Server) nextGroup() int { return int(s.next.Add(1)) % len(s.groups) }

// admit counts a socket in and returns nil, unless a limit is reached or the server closes: then it returns what to answer before the
// socket is closed.
func (s *Server) admit(addr netip.Addr) (refusal []byte) {
	if wait := s.opt.Connect(addr); wait > 0 {
		return fmt.Appendf(nil, tooFast, int(math.Ceil(wait.Seconds())))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed ||
		s.opt.MaxConns > 0 && s.count >= s.opt.MaxConns ||
		s.opt.MaxConnsPerAddr > 0 && s.perAddr[site(addr)] >= s.opt.MaxConnsPerAddr {
		s.refusedConns.Add(1)
		return []byte(overloaded)
	}
	s.accepted.Add(1)
	s.count++
	if s.opt.MaxConnsPerAddr > 0 {
		s.perAddr[site(addr)]++
	}
	return nil
}

// What a socket gets before it is closed: one over a limit, and one whose address connects too often.
const (
	overloaded = "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
	tooFast    = "HTTP/1.1 429 Too Many Requests\r\nRetry-After: %d\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
)

// left counts a socket out.
func (s *Server) left(addr netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count--
	if s.opt.MaxConnsPerAddr > 0 {
		at := site(addr)
		if s.perAddr[at]--; s.perAddr[at] <= 0 {
			delete(s.perAddr, at)
		}
	}
}

// site is what an address counts as: in IPv6 its /64, which is what one customer has at least, and without the zone, which a Conn does not keep.
func site(addr netip.Addr) netip.Addr {
	if p, err := addr.WithZone("").Prefix(64); err == nil && addr.Is6() {
		return p.Addr()
	}
	return addr
}

// gone is called once for each Conn, by its reading goroutine, when its socket is closed or net/http's.
func (c *Conn) gone(toHTTP bool) {
	c.group.table.remove(c)
	c.mu.Lock()
	c.state = closed
	c.dropLocked()
	code := c.code
	c.mu.Unlock()
	c.reader.Release()
	if toHTTP {
		return // counted out when net/http closes it
	}
	s := c.group.srv
	s.left(c.RemoteAddr())
	if c.recv == nil {
		return
	}
	if code == 0 {
		code = AbnormalClosure
	}
	s.mu.Lock()
	s.closes[code]++
	s.mu.Unlock()
	c.recv.Closed(c, code)
}

// Stats are counts since New, but Connections and HTTP, which are now.
type Stats struct {
	Connections        int // sockets in all
	HTTP               int // those of them that net/http has
	Accepted           uint64
	RefusedConnections uint64 // over MaxConns or MaxConnsPerAddr
	RefusedHandshakes  uint64
	Closes             map[wire.Code]uint64 // WebSockets ended, by close code
	BytesIn, BytesOut  uint64               // of WebSockets, framing included
	MessagesIn         uint64
}

// Stats returns the counts.
func (s *Server) Stats() Stats {
	st := Stats{
		Accepted:           s.accepted.Load(),
		RefusedConnections: s.refusedConns.Load(),
		RefusedHandshakes:  s.refusedHandshakes.Load(),
		Closes:             make(map[wire.Code]uint64),
	}
	for _, g := range s.groups {
		st.BytesIn += g.bytesIn.Load()
		st.BytesOut += g.bytesOut.Load()
		st.MessagesIn += g.messagesIn.Load()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st.Connections, st.HTTP = s.count, int(s.onHTTP.Load())
	for code, n := range s.closes {
		st.Closes[code] = n
	}
	return st
}
