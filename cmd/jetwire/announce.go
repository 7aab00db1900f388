package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/config"
	"github.com/jetwire/jetwire/cmd/jetwire/internal/natsd"
	"github.com/jetwire/jetwire/gateway"
	"github.com/jetwire/jetwire/gateway/auth"
)

// server is the program `jetwire serve`: build it with its first group of fields, then run it.
type server struct {
	cfg        config.Config
	log        *slog.Logger
	out        io.Writer // what is announced goes there
	terminal   bool      // out is one
	self       string    // how to call this program in a shell
	configFile string

	// Set by start.
	unlock     func() error
	nats       *natsd.Server // nil: an external one
	verifier   *auth.Verifier
	gateway    *gateway.Gateway
	addr       net.Addr
	secretMade bool // the secret is the data directory's
}

// announcement is what a program that starts the server reads from its standard output: one line of JSON.
type announcement struct {
	Time    time.Time `json:"time"`
	Level   string    `json:"level"`
	Message string    `json:"msg"`
	Address string    `json:"address"` // HOST:PORT
	URL     string    `json:"url"`     // of the WebSocket
	Page    string    `json:"page"`
	Data    string    `json:"data"`
	NATS    string    `json:"nats,omitempty"`
	Sub     string    `json:"sub"` // commands that can be pasted into a shell
	Pub     string    `json:"pub"`
}

// announce says that the server is ready: to people on a terminal, else in one JSON line.
func (s *server) announce() error {
	a := s.announcement()
	if !s.terminal {
		line, err := json.Marshal(a)
		if err != nil {
			return err
		}
		_, err = s.out.Write(append(line, '\n'))
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\nJetwire is ready.\n\n")
	fmt.Fprintf(&b, "  page       %s\n  websocket  %s\n  data       %s\n", a.Page, a.URL, a.Data)
	if s.cfg.NATS.Listen != "" {
		fmt.Fprintf(&b, "  nats       %s, user %s, password in %s\n", a.NATS, natsd.User, s.natsPasswordFile())
	} else if a.NATS != "" {
		fmt.Fprintf(&b, "  nats       %s\n", a.NATS)
	}
	fmt.Fprintf(&b, "\nTry it in two other terminals:\n\n  %s\n  %s\n\n", a.Sub, a.Pub)
	_, err := io.WriteString(s.out, b.String())
	return err
}

func (s *server) announcement() announcement {
	ws, web := "ws", "http"
	if s.cfg.TLS.Cert != "" {
		ws, web = "wss", "https"
	}
	host := reachable(s.addr.String())
	a := announcement{
		Time: time.Now(), Level: slog.LevelInfo.String(), Message: "ready",
		Address: s.addr.String(), URL: ws + "://" + host + gateway.Path, Page: web + "://" + host + "/", Data: s.cfg.Data,
	}
	switch {
	case s.cfg.NATS.URL != "":
		a.NATS = config.Redact(s.cfg.NATS.URL)
	case s.cfg.NATS.Listen != "":
		a.NATS = "nats://" + reachable(s.nats.Addr().String())
	}
	flags := s.clientFlags(a.URL)
	a.Sub = s.self + " sub chat.lobby" + flags
	a.Pub = s.self + ` pub chat.lobby '{"hi":1}'` + flags
	return a
}

// clientFlags are what a client command on this machine needs in order to reach this server and sign for itself.
func (s *server) clientFlags(url string) string {
	var b strings.Builder
	add := func(flag, value string) { b.WriteString(" --" + flag + " " + quote(value)) }
	if url != defaultURL {
		add("url", url)
	}
	defaults, k := config.Default(), &s.cfg.Token
	claims := s.configFile != "" && len(k.Issuers)+len(k.Audiences) > 0
	if claims {
		add("config", absolute(s.configFile))
	}
	switch {
	case k.SecretFile != "":
		add("token-secret-file", absolute(k.SecretFile))
	case k.Secret != "" && os.Getenv(secretVariable) == "" && s.configFile != "" && !claims:
		add("config", absolute(s.configFile))
	case k.Secret == "" && s.cfg.Data != defaults.Data:
		add("data", absolute(s.cfg.Data))
	}
	return b.String()
}

func absolute(path string) string {
	if abs, err := filepath.Abs(path); err == nil {
		return abs
	}
	return path
}

// reachable replaces the address that stands for all by one that can be connected to.
func reachable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err == nil && ip != nil && ip.IsUnspecified() {
		return net.JoinHostPort("127.0.0.1", port)
	}
	return addr
}

// selfCommand is how to call this program in a shell: by its name if the path finds it, by `go run` if that made it.
func selfCommand() string {
	exe, err := os.Executable()
	if err != nil {
		return "jetwire"
	}
	if found, err := exec.LookPath("jetwire"); err == nil && sameFile(found, exe) {
		return "jetwire"
	}
	if strings.Contains(exe, string(filepath.Separator)+"go-build") {
		return "go run ./cmd/jetwire"
	}
	return quote(exe)
}

func sameFile(a, b string) bool {
	x, err := os.Stat(a)
	if err != nil {
		return false
	}
	y, err := os.Stat(b)
	return err == nil && os.SameFile(x, y)
}

// quote makes s one word of a POSIX shell.
func quote(s string) string {
	plain := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-./:,@%+=", r)
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !plain(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
