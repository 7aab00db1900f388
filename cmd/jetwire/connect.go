package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"os/user"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/client"
)

const (
	defaultURL     = "ws://127.0.0.1:8080/ws"
	defaultTimeout = 10 * time.Second
	ownTokenLife   = time.Hour // of the tokens that client commands sign for themselves; a new one is made for each connection
)

// clientFlags are those of every client command.
func clientFlags(more ...cli.Flag) []cli.Flag {
	common := []cli.Flag{
		&cli.StringFlag{Name: "url", Usage: "`URL` of the server's WebSocket", Value: defaultURL, EnvVars: []string{"JETWIRE_URL"}},
		&cli.StringFlag{Name: "token", Usage: "`TOKEN` to connect with; without one, the command signs for itself with the secret of a server on this machine", EnvVars: []string{"JETWIRE_TOKEN"}},
		&cli.StringFlag{Name: "user", Usage: "`NAME` to sign for (default: the name of the system's user)", EnvVars: []string{"JETWIRE_USER"}},
		&cli.BoolFlag{Name: "anonymous", Usage: "connect without a token, which opens what namespaces open to anyone"},
		&cli.DurationFlag{Name: "timeout", Usage: "how long to wait for the connection and for an answer", Value: defaultTimeout, EnvVars: []string{"JETWIRE_TIMEOUT"}},
		&cli.BoolFlag{Name: "json", Usage: "print one JSON object a line even on a terminal"},
		configFlagDef(),
	}
	return append(append(more, common...), settingFlags(dataSettings)...)
}

// once connects, does one thing with the arguments, which have these names, and leaves. ctx ends with the command's timeout.
func (p *program) once(c *cli.Context, do func(ctx context.Context, cl *client.Client, args []string, pr *printer) error, names ...string) error {
	args, err := arguments(c, names...)
	if err != nil {
		return err
	}
	cl, err := p.dial(c, "")
	if err != nil {
		return err
	}
	defer func() { _ = cl.Close() }()
	ctx, cancel := context.WithTimeout(c.Context, c.Duration("timeout"))
	defer cancel()
	pr := p.printer(c)
	return errors.Join(do(ctx, cl, args, pr), pr.flush())
}

// dial connects as the flags say, as a device if one is named. The first attempt must succeed; afterwards the client comes back by itself.
func (p *program) dial(c *cli.Context, device string) (*client.Client, error) {
	timeout := c.Duration("timeout")
	if timeout <= 0 {
		return nil, usagef("--timeout must be positive")
	}
	token, err := tokenSource(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context, timeout)
	defer cancel()
	var cl atomic.Pointer[client.Client]
	var lost atomic.Bool
	conn, err := client.Dial(ctx, client.Options{
		URL: c.String("url"), Token: token, Name: "jetwire-cli/" + version(), FailFast: true, Device: device,
		ConnectTimeout: timeout, ReplyTimeout: timeout,
		OnState: func(s client.State) {
			switch {
			case s == client.BackingOff && cl.Load() != nil && !lost.Swap(true):
				p.note("connection lost, trying again: %v", cl.Load().LastError())
			case s == client.Connected && lost.Swap(false):
				p.note("connected again")
			}
		},
	})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.String("url"), err)
	}
	cl.Store(conn)
	return conn, nil
}

// note tells people something that is not output.
func (p *program) note(format string, args ...any) {
	fmt.Fprintln(p.err, visible(fmt.Sprintf("jetwire: "+format, args...)))
}

// tokenSource returns what gives a token for each connection; nil: there is to be none.
func tokenSource(c *cli.Context) (func(context.Context) (string, error), error) {
	if c.Bool("anonymous") {
		return nil, nil
	}
	if token := c.String("token"); token != "" {
		return func(context.Context) (string, error) { return token, nil }, nil
	}
	u, err := url.Parse(c.String("url"))
	if err != nil || u.Host == "" {
		return nil, usagef("--url: want ws://HOST:PORT/ws or wss://…")
	}
	signer, err := ownSigner(c, u.Hostname())
	if err != nil {
		return nil, err
	}
	name, err := ownName(c)
	if err != nil {
		return nil, err
	}
	return func(context.Context) (string, error) {
		return signer.Sign(auth.Grant{User: name, Expires: time.Now().Add(ownTokenLife).UnixMilli()})
	}, nil
}

// ownSigner signs with the secret of a server on this machine. It makes none, and a token signed with it goes to another
// machine only if the secret was named.
func ownSigner(c *cli.Context, host string) (*auth.Signer, error) {
	cfg, err := load(c, dataSettings)
	if err != nil {
		return nil, err
	}
	ip := net.ParseIP(host)
	if local := host == "localhost" || ip != nil && ip.IsLoopback(); !local && !cfg.HasSecret() && !c.IsSet("data") {
		return nil, usagef("%s is another machine: give --token (or JETWIRE_TOKEN), or name the secret", host)
	}
	if !cfg.HasKeys() {
		if _, err := os.Stat(filepath.Join(cfg.Data, auth.SecretFile)); errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("no token: give --token (or JETWIRE_TOKEN), or with --data the data directory of a server on this machine (%s holds no secret)", cfg.Data)
		}
	}
	secret, err := cfg.Secret()
	if err != nil {
		return nil, &usageError{err}
	}
	return cfg.Signer(secret), nil
}

func ownName(c *cli.Context) (string, error) {
	name := c.String("user")
	if name == "" {
		if u, err := user.Current(); err == nil {
			name = u.Username
		}
	}
	if err := auth.CheckUser(name); err != nil {
		return "", usagef("--user: the name %w", err)
	}
	return name, nil
}
