// Package natstest runs a real NATS server with JetStream inside a test. It must not know anything of Jetwire.
package natstest

import (
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Server is an embedded server on a loopback port of its own. It stops when the test ends.
type Server struct {
	t    testing.TB
	opts server.Options

	mu sync.Mutex
	s  *server.Server // nil: stopped
}

// patience is how long a server may take to start.
const patience = 20 * time.Second

// Run starts a server whose data lives in a directory of the test.
func Run(t testing.TB) *Server { return RunWith(t, func(*server.Options) {}) }

// RunWith starts a server with options of the test's own.
func RunWith(t testing.TB, change func(*server.Options)) *Server {
	t.Helper()
	s := &Server{t: t, opts: server.Options{
		ServerName: "natstest",
		Host:       "127.0.0.1",
		Port:       server.RANDOM_PORT,
		JetStream:  true,
		StoreDir:   t.TempDir(),
		NoLog:      true,
		NoSigs:     true,
	}}
	change(&s.opts)
	s.start()
	t.Cleanup(s.Shutdown)
	return s
}

func (s *Server) start() {
	s.t.Helper()
	opts := s.opts
	ns, err := server.NewServer(&opts)
	if err != nil {
		s.t.Fatalf("natstest: %v", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(patience) {
		s.t.Fatal("natstest: the server does not start")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.s = ns
	if s.opts.Port == server.RANDOM_PORT {
		s.opts.Port = opts.Port
	}
}

// Shutdown stops the server, if it runs, and waits for it.
func (s *Server) Shutdown() {
	s.mu.Lock()
	ns := s.s
	s.s = nil
	s.mu.Unlock()
	if ns != nil {
		ns.Shutdown()
		ns.WaitForShutdown()
	}
}

// Restart starts the server again on the same port and data, after stopping it if it runs.
func (s *Server) Restart() {
	s.t.Helper()
	s.Shutdown()
	s.start()
}

// URL returns what clients connect to. It stays the same over restarts.
func (s *Server) URL() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return "nats://" + net.JoinHostPort(s.opts.Host, strconv.Itoa(s.opts.Port))
}

// NATS returns the running server itself; nil when it is stopped.
func (s *Server) NATS() *server.Server {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.s
}

// Connect opens a connection; it has the shape that streams.Options.Connect wants. The caller closes it.
func (s *Server) Connect(name string, extra ...nats.Option) (*nats.Conn, error) {
	return nats.Connect(s.URL(), append([]nats.Option{nats.Name(name)}, extra...)...)
}

// Conn opens a connection that lives as long as the test.
func (s *Server) Conn() *nats.Conn {
	s.t.Helper()
	nc, err := s.Connect("test")
	if err != nil {
		s.t.Fatalf("natstest: %v", err)
	}
	s.t.Cleanup(nc.Close)
	return nc
}
