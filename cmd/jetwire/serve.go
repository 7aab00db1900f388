package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/config"
	"github.com/jetwire/jetwire/cmd/jetwire/internal/natsd"
	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
)

// errInUse says that another server has the data directory.
var errInUse = errors.New("data directory")

// startTimeout bounds what a start waits for NATS, apart from the recovery of the embedded store.
const startTimeout = 60 * time.Second

func (p *program) serveCommand() *cli.Command {
	return &cli.Command{
		Name:  "serve",
		Usage: "run the server: gateway and, unless --nats names another one, an embedded NATS server",
		Description: "Without a configured token secret one is made in the data directory, and only this machine can connect. Any other\n" +
			"address to listen on needs a secret of your own and TLS (or --insecure-no-tls).\n\n" +
			"On Linux the kernel may delay this process's timers by a millisecond, which saves CPU at light load; " + slackVariable + "\n" +
			"(such as 200us, at most 10ms; only in the environment) sets another time, and 0 leaves timers as they are.",
		Flags: append([]cli.Flag{configFlagDef()}, settingFlags(serverSettings, dataSettings)...),
		Action: func(c *cli.Context) error {
			if _, err := arguments(c); err != nil {
				return err
			}
			cfg, err := load(c, serverSettings, dataSettings)
			if err != nil {
				return err
			}
			s := &server{
				cfg: cfg, out: p.out, terminal: p.outTerminal, self: selfCommand(), configFile: c.String(configFlag),
				log: newLogger(p.err, p.errTerminal, &cfg.Log),
			}
			return s.run(c.Context)
		},
	}
}

// run starts the server, announces it, waits until ctx ends, and ends it in order.
func (s *server) run(ctx context.Context) error {
	if err := s.start(ctx); err != nil {
		return errors.Join(err, s.close())
	}
	if err := s.announce(); err != nil {
		return errors.Join(err, s.close())
	}
	failed := make(chan error, 1)
	go func() { failed <- s.gateway.Serve() }()
	var err error
	serving := true
	select {
	case err = <-failed:
		err, serving = fmt.Errorf("serve: %w", err), false
	case <-ctx.Done():
		s.log.Info("draining", "timeout", s.cfg.DrainTimeout.String())
		drain, cancel := context.WithTimeout(context.Background(), time.Duration(s.cfg.DrainTimeout))
		if err := s.gateway.Drain(drain); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			s.log.Warn("drain", "error", err)
		}
		cancel()
	}
	err = errors.Join(err, s.close())
	if serving { // until the gateway was closed
		if end := <-failed; !errors.Is(end, gateway.ErrClosed) {
			err = errors.Join(err, end)
		}
	}
	s.log.Info("stopped")
	return err
}

// start brings the parts up, each on top of the one before. After an error close must be called as well.
func (s *server) start(ctx context.Context) error {
	if err := s.cfg.CheckListen(ctx, net.DefaultResolver.LookupIPAddr); err != nil {
		return err
	}
	if err := s.lock(); err != nil {
		return err
	}
	trust, signer, made, err := s.cfg.Trust(s.log)
	if err != nil {
		return &usageError{err}
	}
	s.secretMade = made
	nc, err := s.startNATS(ctx)
	if err != nil {
		return err
	}
	o, err := gatewayOptions(&s.cfg, signer, nc, s.syncer(), s.log)
	if err != nil {
		return err
	}
	if s.verifier, err = trust.Verifier(); err != nil {
		return &usageError{fmt.Errorf("token: %w", err)}
	}
	o.Verifier = s.verifier
	if s.nats != nil {
		o.Streams.Fault = s.nats.Fault
		fit(&o, s.nats.MaxStore())
		o.Streams.Alone = s.cfg.NATS.Listen == ""
	}
	starting, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if s.gateway, err = gateway.New(starting, o); err != nil {
		return err
	}
	s.addr, err = s.gateway.Listen(s.cfg.Listen)
	return err
}

// lock takes the data directory, if there is something in it that only one process may use.
func (s *server) lock() (err error) {
	if s.cfg.NATS.URL == "" {
		s.unlock, err = lockDir(s.cfg.Data)
	}
	return err
}

// startNATS starts the embedded server, or returns how to connect to the external one.
func (s *server) startNATS(ctx context.Context) (connect, error) {
	n := &s.cfg.NATS
	if n.URL != "" {
		return externalNATS(n.URL, n.Creds), nil
	}
	o := natsd.Options{
		Dir:       filepath.Join(s.cfg.Data, "nats"),
		Listen:    n.Listen,
		MaxBody:   largestBody(&s.cfg),
		MaxStore:  int64(n.MaxStore),
		MaxMemory: int64(n.MaxMemory),
		Logger:    s.log,
	}
	if n.Listen != "" {
		password, err := auth.MakeSecret(s.natsPasswordFile())
		if err != nil {
			return nil, err
		}
		o.Password = string(password)
	}
	var err error
	if s.nats, err = natsd.Start(ctx, o); err != nil {
		return nil, err
	}
	return s.nats.Connect, nil
}

// syncer returns what syncs the embedded store; nil: there is none, or the system has no way to.
func (s *server) syncer() func() error {
	if s.nats == nil {
		return nil
	}
	sync := s.nats.Syncer()
	if sync == nil && s.cfg.Sync {
		s.log.Warn("on this system the embedded store cannot be synced before messages are answered: a power cut may take the last ones (durability file)")
	}
	return sync
}

func (s *server) natsPasswordFile() string { return filepath.Join(s.cfg.Data, "nats-password") }

func externalNATS(url, creds string) connect {
	return func(name string, extra ...nats.Option) (*nats.Conn, error) {
		opts := []nats.Option{nats.Name(name)}
		if creds != "" {
			opts = append(opts, nats.UserCredentials(creds))
		}
		nc, err := nats.Connect(url, append(opts, extra...)...)
		if err != nil {
			return nil, fmt.Errorf("NATS at %s: %w", config.Redact(url), err)
		}
		return nc, nil
	}
}

// close ends the parts in reverse order, and tries each.
func (s *server) close() error {
	var errs []error
	if s.gateway != nil {
		errs = append(errs, s.gateway.Close())
	}
	if s.verifier != nil {
		s.verifier.Close()
	}
	if s.nats != nil {
		s.nats.Shutdown()
	}
	if s.unlock != nil {
		errs = append(errs, s.unlock())
	}
	return errors.Join(errs...)
}
