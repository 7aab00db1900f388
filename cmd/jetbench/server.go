package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/gateway/auth"
)

const (
	benchUser    = "jetbench"
	natsUser     = "jetwire"
	tokenLife    = 24 * time.Hour
	readyTimeout = 60 * time.Second
	serverModule = "github.com/jetwire/jetwire/cmd/jetwire"
)

var (
	wsAddress    = regexp.MustCompile(`ws://[^\s"']+`)
	storeAddress = regexp.MustCompile(`nats://[^\s"']+`)

	errNoToken = errors.New("--url needs --token, or --data to sign one with the server's secret")
	errDied    = errors.New("the server ended by itself")
)

// server is the server under test; what jetbench started or made for it ends with Close.
type server struct {
	target  *bench.Target
	process *bench.Process // nil: it was running already
	scratch string         // directory to remove; empty: none

	// Of a server that jetbench started.
	binary, data string
	args         []string
	metrics      string
	key          string // opens its profiler
	log          io.Writer
}

// server finds or starts the server that the flags name.
func (p *program) server(ctx context.Context, c *cli.Context) (*server, error) {
	if running(c) {
		token, err := runningToken(c.String("token"), c.String("data"))
		if err != nil {
			return nil, err
		}
		t, err := targets(ctx, c, token)
		if err == nil && c.String("data") != "" {
			t.Sign = signer(c.String("data"))
		}
		return &server{target: t, data: c.String("data"), key: c.String("api-key")}, err
	}
	s := &server{}
	if err := s.start(ctx, c, p); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// targets are the gateways that --url names.
func targets(ctx context.Context, c *cli.Context, token string) (first *bench.Target, err error) {
	urls, pids, metrics := c.StringSlice("url"), c.IntSlice("pid"), c.StringSlice("metrics")
	if len(pids) > 0 && len(pids) != len(urls) || len(metrics) > 0 && len(metrics) != len(urls) {
		return nil, fmt.Errorf("%w: --pid and --metrics are given once for each --url, in the same order, or not at all", errUsage)
	}
	for i, url := range urls {
		pid, page := 0, ""
		if len(pids) > 0 {
			pid = pids[i]
		}
		if len(metrics) > 0 {
			page = metrics[i]
		}
		t, err := bench.NewTarget(ctx, url, token, pid, page)
		if err != nil {
			return nil, err
		}
		if first == nil {
			first = t
		} else {
			first.Others = append(first.Others, t)
		}
	}
	return first, nil
}

func runningToken(token, data string) (string, error) {
	switch {
	case token != "":
		return token, nil
	case data == "":
		return "", fmt.Errorf("%w: %w", errUsage, errNoToken)
	}
	return sign(data)
}

func sign(data string) (string, error) {
	secret, err := auth.Secret(data)
	if err != nil {
		return "", err
	}
	return auth.Sign(secret, auth.Grant{User: benchUser, Expires: time.Now().Add(tokenLife).UnixMilli()})
}

// signer makes tokens of many users with the secret of a data directory.
func signer(data string) func(user string, publish []string) (string, error) {
	secret, err := auth.Secret(data)
	return func(user string, publish []string) (string, error) {
		if err != nil {
			return "", err
		}
		return auth.Sign(secret, auth.Grant{User: user, Expires: time.Now().Add(tokenLife).UnixMilli(), Patterns: &auth.Patterns{auth.Publish: publish}})
	}
}

func (s *server) start(ctx context.Context, c *cli.Context, p *program) (err error) {
	if s.scratch, err = os.MkdirTemp("", "jetbench-"); err != nil {
		return err
	}
	binary := c.String("server-binary")
	if binary == "" {
		p.progress("building the server")
		binary = filepath.Join(s.scratch, "jetwire")
		if err := build(ctx, binary); err != nil {
			return err
		}
	}
	s.binary = binary
	if pages := c.StringSlice("metrics"); len(pages) > 0 {
		s.metrics = pages[0]
	}
	if s.data = c.String("data"); s.data == "" {
		s.data = filepath.Join(s.scratch, "data")
	}
	if c.Bool("server-log") {
		s.log = p.log
	}
	list, err := classList(c)
	if err != nil {
		return err
	}
	config, err := classArgs(s.scratch, list)
	if err != nil {
		return err
	}
	s.args = slices.Concat([]string{"serve", "--listen", "127.0.0.1:0", "--data", s.data}, config, c.StringSlice("server-arg"))
	if c.String("profile") != "" {
		if s.key = c.String("api-key"); s.key == "" {
			s.key = rand.Text()
		}
		s.args = append(s.args, "--api-key", s.key)
	}
	if err := s.run(ctx); err != nil {
		return err
	}
	if token := c.String("token"); token != "" {
		s.target.Token = token
	}
	return nil
}

// run starts a process on the data that the one before left, if there was one, and waits until it is ready.
func (s *server) run(ctx context.Context) error {
	process, address, err := bench.StartProcess(ctx, s.binary, s.args, wsAddress, s.log)
	if err != nil {
		return err
	}
	s.process = process
	token, err := sign(s.data)
	if err != nil {
		return err
	}
	t, err := bench.NewTarget(ctx, address, token, process.PID(), s.metrics)
	if err != nil {
		return err
	}
	t.Sign = signer(s.data)
	if s.target == nil {
		s.target = t
	} else {
		s.target.MoveTo(t)
	}
	ctx, cancel := context.WithTimeout(s.watch(ctx), readyTimeout)
	defer cancel()
	return s.target.WaitReady(ctx)
}

// restart kills the server as SIGKILL does, and starts it again.
func (s *server) restart(ctx context.Context) error {
	if err := s.process.Kill(); err != nil {
		return err
	}
	return s.run(ctx)
}

// store connects to the NATS server within a server that jetbench started with --nats-listen.
func (s *server) store() (*bench.Store, error) {
	password, err := os.ReadFile(filepath.Join(s.data, "nats-password"))
	if err != nil {
		return nil, err
	}
	address := storeAddress.FindString(s.process.Tail())
	if address == "" {
		return nil, fmt.Errorf("the server did not say where its NATS listens; it said:\n%s", s.process.Tail())
	}
	return bench.OpenStore(address, natsUser, strings.TrimSpace(string(password)))
}

func build(ctx context.Context, path string) error {
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, serverModule).CombinedOutput()
	if err != nil {
		return fmt.Errorf("building %s: %w (--server-binary names one that is built already)\n%s", serverModule, err, out)
	}
	return nil
}

// watch returns a context that ends when a started server ends by itself.
func (s *server) watch(ctx context.Context) context.Context {
	process := s.process // restart puts another in its place
	if process == nil {
		return ctx
	}
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-process.Ended():
			cancel(fmt.Errorf("%w; the last it said:\n%s", errDied, process.Tail()))
		case <-ctx.Done():
		}
	}()
	return ctx
}

// Close ends what was started and removes what was made.
func (s *server) Close() error {
	var errs []error
	if s.process != nil {
		errs = append(errs, s.process.Stop())
	}
	if s.scratch != "" {
		errs = append(errs, os.RemoveAll(s.scratch))
	}
	return errors.Join(errs...)
}
