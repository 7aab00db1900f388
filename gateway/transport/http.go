package transport

import (
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/netip"
	"sync"
	"time"
)

// httpWriteTimeout is how long a response may take. Like the time to read a request (a HandshakeTimeout), a handler that
// needs longer extends it with an http.ResponseController.
const httpWriteTimeout = time.Minute

// startHTTP serves the connections that turn out to be plain HTTP.
func (s *Server) startHTTP() {
	s.httpConns = &httpListener{conns: make(chan net.Conn), done: s.ctx.Done()}
	s.http = &http.Server{
		Handler:           http.HandlerFunc(s.serveHTTP),
		ReadHeaderTimeout: s.opt.HandshakeTimeout,
		ReadTimeout:       s.opt.HandshakeTimeout,
		WriteTimeout:      httpWriteTimeout,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    s.opt.HandshakeBytes,
		ErrorLog:          slog.NewLogLogger(s.opt.Logger.Handler(), slog.LevelDebug),
	}
	s.work.Go(func() {
		if err := s.http.Serve(s.httpConns); !errors.Is(err, http.ErrServerClosed) && s.ctx.Err() == nil {
			s.opt.Logger.Error("HTTP ended", "error", err)
		}
	})
}

func (s *Server) stopHTTP() error { return s.http.Close() }

// serveHTTP hands a WebSocket upgrade that comes as a later request of a connection (a proxy may do that) back.
func (s *Server) serveHTTP(w http.ResponseWriter, r *http.Request) {
	upgrade := r.Header.Get("Upgrade") != "" && s.opt.Path(r.URL.EscapedPath())
	hijacker, ok := w.(http.Hijacker)
	if !upgrade || !ok {
		s.opt.HTTP.ServeHTTP(w, r)
		return
	}
	request, err := httputil.DumpRequest(r, false)
	if err != nil {
		http.Error(w, "cannot read the request", http.StatusBadRequest)
		return
	}
	conn, rw, err := hijacker.Hijack()
	if err != nil {
		s.opt.Logger.Debug("cannot take over an HTTP connection", "error", err)
		return
	}
	_ = conn.SetDeadline(time.Time{})
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ := rw.Reader.Peek(n)
		request = append(request, early...)
	}
	addr := netip.Addr{}
	if hc, ok := conn.(*httpConn); ok {
		addr = hc.addr
		hc.once.Do(func() { s.onHTTP.Add(-1) }) // it stays counted, from now on as a WebSocket
	}
	s.serveNetConn(&replayConn{Conn: conn, early: request}, addr)
}

// httpListener is the net.Listener that net/http accepts from.
type httpListener struct {
	conns chan net.Conn
	done  <-chan struct{}
}

func (l *httpListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *httpListener) Close() error   { return nil }
func (l *httpListener) Addr() net.Addr { return &net.TCPAddr{} }

// give hands a connection, with the bytes that were read from it, to net/http.
func (s *Server) give(conn net.Conn, early []byte, addr netip.Addr) {
	s.onHTTP.Add(1)
	hc := &httpConn{replayConn: replayConn{Conn: conn, early: early}, left: func() {
		s.onHTTP.Add(-1)
		s.left(addr)
	}, addr: addr}
	select {
	case s.httpConns.conns <- hc:
	case <-s.ctx.Done():
		_ = hc.Close()
	}
}

// replayConn reads early first.
type replayConn struct {
	net.Conn
	early []byte
}

// NetConn is the connection underneath.
func (c *replayConn) NetConn() net.Conn { return c.Conn }

func (c *replayConn) Read(p []byte) (int, error) {
	if len(c.early) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.early)
	c.early = c.early[n:]
	return n, nil
}

// httpConn is a socket that net/http has. It counts itself out when it is closed, unless it became a WebSocket.
type httpConn struct {
	replayConn
	addr netip.Addr
	left func()
	once sync.Once
}

func (c *httpConn) Close() error {
	c.once.Do(c.left)
	return c.Conn.Close()
}

var _ net.Conn = (*httpConn)(nil)
