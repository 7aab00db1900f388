package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/config"
	"github.com/jetwire/jetwire/gateway/auth"
	"github.com/jetwire/jetwire/gateway/client"
	"github.com/jetwire/jetwire/gateway/wire"
)

// result is how one run in this process ended.
type result struct {
	out, err string
	code     int
}

// run runs jetwire in this process, away from the environment of whoever runs the tests.
func run(t *testing.T, args ...string) result {
	t.Helper()
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); strings.HasPrefix(name, "JETWIRE_") && !set[name] {
			t.Setenv(name, "") // so that it is put back
			_ = os.Unsetenv(name)
		}
	}
	var out, errs bytes.Buffer
	p := &program{in: strings.NewReader(""), out: &out, err: &errs}
	err := p.run(t.Context(), append([]string{"jetwire"}, args...))
	r := result{out.String(), errs.String(), exitCode(err)}
	if err != nil {
		r.err += err.Error()
	}
	return r
}

// set are the variables that a test has set for run.
var set = map[string]bool{}

func setenv(t *testing.T, name, value string) {
	t.Setenv(name, value)
	set[name] = true
	t.Cleanup(func() { delete(set, name) })
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// show returns the configuration that `config show` prints.
func show(t *testing.T, args ...string) config.Config {
	t.Helper()
	r := run(t, append([]string{"config", "show"}, args...)...)
	if r.code != 0 {
		t.Fatalf("%d: %s", r.code, r.err)
	}
	var c config.Config
	if err := yaml.UnmarshalWithOptions([]byte(r.out), &c, yaml.Strict()); err != nil {
		t.Fatalf("%v in\n%s", err, r.out)
	}
	return c
}

func TestFlagsBeforeEnvironmentBeforeFile(t *testing.T) {
	file := write(t, "jetwire.yaml", "listen: 127.0.0.1:1\nlimits: {ping_interval: 1s, queue_bytes: 64KiB, connections: 1}\norigins: [https://a.example]\nportable: true\n")
	c := show(t, "--config", file)
	if c.Listen != "127.0.0.1:1" || c.Limits.PingInterval != config.Duration(time.Second) || !c.Portable || c.Limits.QueueBytes != 64<<10 {
		t.Errorf("the file: %+v", c)
	}
	setenv(t, "JETWIRE_CONFIG", file)
	setenv(t, "JETWIRE_LISTEN", "127.0.0.1:2")
	setenv(t, "JETWIRE_PING_INTERVAL", "2s")
	setenv(t, "JETWIRE_QUEUE_BYTES", "128KiB")
	setenv(t, "JETWIRE_MAX_CONNECTIONS", "2")
	setenv(t, "JETWIRE_ORIGINS", "https://b.example,https://c.example")
	setenv(t, "JETWIRE_API_KEY", "0123456789abcdef,0123456789abcdeg")
	setenv(t, "JETWIRE_PORTABLE", "false")
	setenv(t, "JETWIRE_LOG_LEVEL", "") // an empty variable says nothing
	c = show(t)
	if c.Listen != "127.0.0.1:2" || c.Limits.PingInterval != config.Duration(2*time.Second) || c.Portable || c.Limits.QueueBytes != 128<<10 ||
		c.Limits.Connections != 2 || len(c.API.Keys) != 2 || strings.Join(c.Origins, " ") != "https://b.example https://c.example" || c.Log.Level != "info" {
		t.Errorf("the environment: %+v", c)
	}
	c = show(t, "--listen", "127.0.0.1:3", "--ping-interval=3s", "--queue-bytes", "256KiB", "--max-connections", "3", "--origins", "https://d.example", "--portable")
	if c.Listen != "127.0.0.1:3" || c.Limits.PingInterval != config.Duration(3*time.Second) || !c.Portable || c.Limits.QueueBytes != 256<<10 ||
		c.Limits.Connections != 3 || strings.Join(c.Origins, " ") != "https://d.example" {
		t.Errorf("the flags: %+v", c)
	}
}

// TestEverySettingReachesItsField: each flag changes exactly the value that it names.
func TestEverySettingReachesItsField(t *testing.T) {
	for _, s := range append(append([]setting{}, serverSettings...), dataSettings...) {
		var c config.Config
		switch p := s.field(&c).(type) {
		case *bool:
			*p = true
		case *int:
			*p = 4711
		case *float64:
			*p = 4711
		case *string:
			*p = "x"
		case *[]string:
			*p = []string{"x"}
		case *[]config.APIKey:
			*p = config.APIKeys("x")
		case *config.Size:
			*p = 4711
		case *config.Duration:
			*p = 4711
		default:
			t.Errorf("%s: a type that apply does not know", s.name)
		}
		for _, other := range append(append([]setting{}, serverSettings...), dataSettings...) {
			v := deref(other.field(&c))
			changed := v != false && v != 0 && v != 0.0 && v != "" && v != config.Size(0) && v != config.Duration(0)
			if s.name != other.name && changed {
				t.Errorf("%s and %s have the same field", s.name, other.name)
			}
		}
	}
}

func TestSecretPrecedence(t *testing.T) {
	const a, b, c = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb", "cccccccccccccccccccccccccccccccccccc"
	file := write(t, "jetwire.yaml", "token: {secret: "+a+"}\n")
	signedWith := func(secret, token string) bool {
		v, err := auth.NewVerifier([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		_, err = v.Verify(strings.TrimSpace(token), time.Now())
		return err == nil
	}
	if r := run(t, "token", "--user", "alice", "--config", file); !signedWith(a, r.out) {
		t.Errorf("the file's secret: %+v", r)
	}
	setenv(t, secretVariable, b)
	if r := run(t, "token", "--user", "alice", "--config", file); !signedWith(b, r.out) {
		t.Errorf("the environment's secret: %+v", r)
	}
	if r := run(t, "token", "--user", "alice", "--config", file, "--token-secret-file", write(t, "secret", c)); !signedWith(c, r.out) {
		t.Errorf("the flag's secret: %+v", r)
	}
	if r := run(t, "config", "show", "--config", file); strings.Contains(r.out+r.err, a) || strings.Contains(r.out+r.err, b) {
		t.Error("config show shows a secret")
	}
}

func TestToken(t *testing.T) {
	dir := t.TempDir()
	r := run(t, "token", "--data", dir, "--user", "alice", "--ttl", "15m", "--id", "t1",
		"--subscribe", "chat.>", "--subscribe", "user.{user}", "--publish", "a.b,c", "--history", "")
	if r.code != 0 || strings.Count(r.out, "\n") != 1 || r.err != "" {
		t.Fatalf("%+v", r)
	}
	secret, err := auth.Secret(dir)
	if err != nil {
		t.Fatal(err)
	}
	v, err := auth.NewVerifier(secret)
	if err != nil {
		t.Fatal(err)
	}
	g, err := v.Verify(strings.TrimSpace(r.out), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	life := time.Until(time.UnixMilli(g.Expires))
	if g.User != "alice" || g.TokenID != "t1" || life > 15*time.Minute || life < 14*time.Minute ||
		fmt.Sprint(g.Patterns[auth.Subscribe]) != "[chat.> user.alice]" || fmt.Sprint(g.Patterns[auth.Publish]) != "[a.b,c]" || g.Patterns[auth.History] == nil || len(g.Patterns[auth.History]) != 0 {
		t.Errorf("%+v", g)
	}
	r = run(t, "token", "--data", dir, "--user", "alice", "--ttl", "0")
	if g, err := v.Verify(strings.TrimSpace(r.out), time.Now()); err != nil || g.Expires != 0 || g.Patterns != nil {
		t.Errorf("%+v, %v", g, err)
	}
}

func TestUsageErrors(t *testing.T) {
	for _, c := range []struct{ line, says string }{
		{"", "a command is needed"},
		{"nonsense", "no such command"},
		{"config nonsense", "no such command"},
		{"serve --nonsense", "nonsense"},
		{"serve extra", "unexpected argument"},
		{"serve --max-message lots", "lots"},
		{"serve --ping-interval 5", "duration"},
		{"serve --tls-cert x", "cert and key"},
		{"serve --config /no/such/file", "/no/such/file"},
		{"serve --listen :0", "secret of your own"},
		{"serve --listen 0.0.0.0:0 --insecure-no-tls", "secret of your own"},
		{"config check --listen 0.0.0.0:8080", "TLS"},
		{"config check --tls-cert /no/cert --tls-key /no/key", "/no/cert"},
		{"config check --token-secret-file /no/secret", "/no/secret"},
		{"token", "--user is missing"},
		{"token --user alice --subscribe a..b", "pattern"},
		{"token --user a.b --subscribe user.{user}", "{user}"},
		{"sub", "CHANNEL is missing"},
		{"sub a.b c.d --since 3", "one CHANNEL"},
		{"sub --device x --since 3", "one CHANNEL"},
		{"sub a.b *.c", "namespace"},
		{"sub a.b --device é", "--device"},
		{"sub a.b --qos 3", "--qos"},
		{"sub a.b --qos x", "qos"},
		{"sub a.b --count -1", "negative"},
		{"sub a.b --since 1 --qos 0", "--since"},
		{"sub a.b --epoch x", "--since"},
		{"sub a.b", "no token"},
		{"sub a.b --url wss://chat.example.com/ws", "another machine"},
		{"sub a.b --url nonsense", "--url"},
		{"pub a.b", "DATA is missing"},
		{"pub a.b - --id x", "--id"},
		{"history a.b --last 0", "--last"},
		{"history a.b --last 5 --since 3", "--last"},
		{"history a.b --limit -1", "--limit"},
		{"history a.b --until 0", "--until"},
		{"history a.b --since-time yesterday", "--since-time"},
	} {
		args, dir := strings.Fields(c.line), t.TempDir()
		if len(args) > 0 && args[0] != "config" && !strings.Contains(c.line, "example.com") && c.line != "nonsense" {
			args = append(args, "--data", dir)
		}
		if r := run(t, args...); r.code != exitUsage || !strings.Contains(r.err, c.says) {
			t.Errorf("jetwire %s: %d: %s", c.line, r.code, r.err)
		}
		if _, err := os.Stat(filepath.Join(dir, "nats")); err == nil {
			t.Errorf("jetwire %s: a server was started", c.line)
		}
	}
}

func TestUnreachableServer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	l.Close()
	for _, line := range []string{"sub a.b", "pub a.b x", "history a.b", "presence a.b"} {
		r := run(t, append(strings.Fields(line), "--token", "x", "--url", "ws://"+addr+"/ws")...)
		if r.code != exitUnavailable || !strings.Contains(r.err, addr) {
			t.Errorf("%s: %+v", line, r)
		}
	}
}

func TestExitCodes(t *testing.T) {
	for _, c := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("x"), 1},
		{usagef("x"), 2},
		{fmt.Errorf("x: %w", usagef("x")), 2},
		{config.ErrUnsafe, 2},
		{wire.PermissionDenied.Err(), 3},
		{wire.BadToken.Err(), 3},
		{&client.CloseError{Code: wire.ExpiredToken}, 3},
		{&client.CloseError{Code: wire.Revoked}, 3},
		{wire.Disconnected.With("a backend has ended this subscription"), 3},
		{wire.BadChannel.Err(), 2},
		{wire.UnknownNamespace.Err(), 1},
		{wire.StoreFull.Err(), 1},
		{wire.Unavailable.Err(), 4},
		{wire.Draining.Err(), 4},
		{client.ErrNotConnected, 4},
		{fmt.Errorf("%w: %w", client.ErrOutcomeUnknown, context.DeadlineExceeded), 4},
		{context.DeadlineExceeded, 4},
		{&net.OpError{Op: "dial", Err: errors.New("refused")}, 4},
		{&os.PathError{Op: "write", Err: syscall.ENOSPC}, 1},
		{errInterrupted, 130},
		{errors.Join(errInterrupted, errors.New("x")), 130},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%v: %d, want %d", c.err, got, c.want)
		}
	}
}

func TestPrinter(t *testing.T) {
	stored := &client.Message{Channel: "chat.lobby", Seq: 7, Prev: 5, ID: "m1", Time: time.Now().UnixMilli(), From: "alice", Body: []byte("{\"hi\":\n 1, \"<\":12345678901234567890}")}
	live := &client.Message{Channel: "chat.lobby", Body: []byte("a\x1b[2Jb\u202e")}
	binary := &client.Message{Channel: "chat.lobby", Pattern: "chat.*", Seq: 8, Body: []byte{0xff, 0}}
	print := func(terminal bool) string {
		var out bytes.Buffer
		p := &program{out: &out, outTerminal: terminal, err: &bytes.Buffer{}}
		var pr *printer
		app := &cli.App{Flags: []cli.Flag{&cli.BoolFlag{Name: "json"}}, Action: func(c *cli.Context) error { pr = p.printer(c); return nil }}
		if err := app.Run([]string{"x"}); err != nil {
			t.Fatal(err)
		}
		err := errors.Join(pr.message(stored), pr.message(live), pr.message(binary),
			pr.gap(client.Gap{Channel: "chat.lobby", Epoch: "e", From: 1, To: 4, Reason: wire.GapRetention}),
			pr.published("chat.lobby", client.PublishReply{Seq: 9, Epoch: "e", Durability: "file"}),
			pr.published("chat.lobby", client.PublishReply{Durability: "none"}), pr.flush())
		if err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	want := `{"channel":"chat.lobby","seq":7,"prev":5,"id":"m1","time":` + fmt.Sprint(stored.Time) + `,"from":"alice","data":{"hi":1,"<":12345678901234567890}}
{"channel":"chat.lobby","seq":0,"prev":0,"id":"","time":0,"from":"","data":"a\u001b[2Jb` + "\u202e" + `","encoding":"text"}
{"channel":"chat.lobby","pattern":"chat.*","seq":8,"prev":0,"id":"","time":0,"from":"","data":"/wA=","encoding":"base64"}
{"gap":{"channel":"chat.lobby","epoch":"e","from":1,"to":4,"reason":"retention"}}
{"channel":"chat.lobby","seq":9,"epoch":"e","duplicate":false,"durability":"file"}
{"channel":"chat.lobby","seq":0,"epoch":"","duplicate":false,"durability":"none"}
`
	got := print(false)
	for i, line := range strings.Split(strings.TrimSpace(got), "\n") {
		if !json.Valid([]byte(line)) {
			t.Errorf("line %d is no JSON: %s", i, line)
		}
	}
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	people := print(true)
	for _, s := range []string{"#7", "alice", "#9 (file)", `a\x1b[2Jb\u202e`, "(2 bytes)"} {
		if !strings.Contains(people, s) {
			t.Errorf("for people: %q lacks %q", people, s)
		}
	}
	if strings.ContainsAny(people, "\x1b\u202e") {
		t.Errorf("a message commands the terminal: %q", people)
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"/a/b-c.d": "/a/b-c.d", "a b": "'a b'", "": "''", "it's": `'it'\''s'`, "$x": "'$x'"} {
		if got := quote(in); got != want {
			t.Errorf("%s: %s", in, got)
		}
	}
}

func TestLockNamesTheHolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	unlock, err := lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(dir); !errors.Is(err, errInUse) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Errorf("%v", err)
	}
	if err := unlock(); err != nil {
		t.Fatal(err)
	}
	unlock, err = lockDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := unlock(); err != nil {
		t.Error(err)
	}
}
