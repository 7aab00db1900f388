// Package natsd runs a NATS server with JetStream inside the process.
//
// Invariants: the server listens on loopback unless told otherwise, and nobody connects without a password; what was
// acknowledged is in Dir even if the process is killed; Start returns only when every stream has been recovered.
//
// The package knows NATS. It must not know channels, namespaces or configuration files.
package natsd

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// ServerName is stable, since JetStream keeps it with what it stores.
const ServerName = "jetwire"

// User is who other programs are; the process itself has a user and a password that nobody else knows.
const User = "jetwire"

// The server's limits.
const (
	headerRoom   = 64 << 10 // bytes of a payload beyond a body: headers, and the protocol's own messages
	minPayload   = 1 << 20  // NATS's default
	readyTimeout = 10 * time.Second
	stillAfter   = 5 * time.Second // how often a long recovery is reported
)

// Options says where the server keeps its streams and who may reach it. Dir is required.
type Options struct {
	Dir       string       // of JetStream's files
	Listen    string       // HOST:PORT for other programs; empty: loopback, a free port, and no user for others
	Password  string       // of User; required with Listen
	MaxBody   int          // bytes of the largest message body
	MaxStore  int64        // bytes on disk; 0: three quarters of what is free
	MaxMemory int64        // bytes of memory streams; 0: three quarters of the machine's
	Logger    *slog.Logger // nil: discard
}

// Server is a running NATS server.
type Server struct {
	ns       *server.Server
	password string
	log      *slog.Logger
	store    store
	faults   faults
	once     sync.Once
}

// Start runs a server and waits until it accepts connections. If ctx ends meanwhile, the server is stopped as soon as
// the stream that is being recovered is done.
func Start(ctx context.Context, o Options) (*Server, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{password: rand.Text(), log: o.Logger}
	opts, err := s.options(o)
	if err != nil {
		return nil, err
	}
	if s.store, err = openStore(o.Dir); err != nil {
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	if s.ns, err = server.NewServer(opts); err != nil {
		s.store.close()
		return nil, fmt.Errorf("embedded NATS: %w", err)
	}
	l := &logger{log: o.Logger.With("part", "nats")}
	s.ns.SetLoggerV2(l, false, false, false)
	stop := l.reportRecovery(stillAfter)
	s.ns.Start()
	stop()
	err = l.fatal()
	switch {
	case err != nil:
	case ctx.Err() != nil:
		err = context.Cause(ctx)
	case !s.ns.ReadyForConnections(readyTimeout):
		err = errors.New("it did not come up in time")
	default:
		s.watchStores()
		return s, nil
	}
	s.Shutdown()
	return nil, fmt.Errorf("embedded NATS: %w", err)
}

func (s *Server) options(o Options) (*server.Options, error) {
	opts := &server.Options{
		ServerName:         ServerName,
		Host:               "127.0.0.1",
		Port:               server.RANDOM_PORT,
		JetStream:          true,
		StoreDir:           o.Dir,
		JetStreamMaxStore:  o.MaxStore,
		JetStreamMaxMemory: o.MaxMemory,
		MaxPayload:         int32(min(max(minPayload, o.MaxBody+headerRoom), 1<<30)),
		NoSigs:             true,
		Users:              []*server.User{{Username: User + "-gateway", Password: s.password}},
		// Since 2.15 a stream has at most 1,000 consumers unless it is told otherwise.
		JetStreamLimits: server.JSLimitOpts{DefaultMaxConsumers: -1},
	}
	if o.Listen == "" {
		return opts, nil
	}
	host, port, err := net.SplitHostPort(o.Listen)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS: listen: %w", err)
	}
	if opts.Port, err = strconv.Atoi(port); err != nil || opts.Port < 0 || opts.Port > 65535 {
		return nil, fmt.Errorf("embedded NATS: listen: %q is no port", port)
	}
	if opts.Port == 0 {
		opts.Port = server.RANDOM_PORT
	}
	if opts.Host = host; host == "" {
		opts.Host = "0.0.0.0"
	}
	if o.Password == "" {
		return nil, errors.New("embedded NATS: listen: a password is needed")
	}
	opts.Users = append(opts.Users, &server.User{Username: User, Password: o.Password})
	return opts, nil
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.ns.Addr() }

// Connect opens a connection over loopback TCP, which carries a fan-out faster than the in-process pipe.
func (s *Server) Connect(name string, extra ...nats.Option) (*nats.Conn, error) {
	opts := append([]nats.Option{nats.Name(name), nats.UserInfo(User+"-gateway", s.password)}, extra...)
	return nats.Connect("nats://"+s.reachable(), opts...)
}

// reachable is the address at which this process reaches the server.
func (s *Server) reachable() string {
	addr := s.ns.Addr()
	if a, ok := addr.(*net.TCPAddr); ok && a.IP.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", strconv.Itoa(a.Port))
	}
	return addr.String()
}

// Syncer returns a function that makes everything stored so far survive a power cut; nil where the system has none.
// It must not be called after Shutdown.
func (s *Server) Syncer() func() error { return s.store.syncer() }

// MaxStore is how many bytes on disk the server may use.
func (s *Server) MaxStore() int64 { return s.ns.JetStreamConfig().MaxStore }

// Shutdown stops the server and waits for it; its streams are flushed. It may be called more than once.
func (s *Server) Shutdown() {
	s.once.Do(func() {
		if s.faults.stop != nil {
			close(s.faults.stop)
			<-s.faults.done
		}
		s.ns.Shutdown()
		s.ns.WaitForShutdown()
		s.store.close()
	})
}
