package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/jetwire/jetwire/bench/flame"
)

// Files that --profile writes.
const (
	profileFile = "cpu.pprof"
	flameFile   = "flame.html"
)

const mostProfile = 64 << 20

var (
	errNoWindow = errors.New("--profile: this scenario measures for no fixed time; fanout, rooms, publish and mixed do")
	errProfile  = errors.New("--profile")
)

// profiler takes a CPU profile of a server for as long as a scenario measures it, the first time that it does. With no dir it does nothing.
type profiler struct {
	dir, title string
	url, key   string

	once   sync.Once
	taken  chan struct{} // closed when what follows is there; nil: nothing was measured yet
	text   []byte
	failed error
}

func (s *server) profiler(c *cli.Context) *profiler {
	address := strings.Replace(s.target.URL, "ws://", "http://", 1)
	host, _, _ := strings.Cut(strings.TrimPrefix(address, "http://"), "/")
	return &profiler{dir: c.String("profile"), title: "jetbench " + c.Command.Name, url: "http://" + host + "/debug/pprof/profile", key: s.key}
}

// begin is bench.Load's Measuring.
func (p *profiler) begin(d time.Duration) {
	if p.dir == "" {
		return
	}
	p.once.Do(func() {
		p.taken = make(chan struct{})
		go func() {
			defer close(p.taken)
			p.text, p.failed = p.fetch(d)
		}()
	})
}

func (p *profiler) fetch(d time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(context.Background(), d+time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s?seconds=%d", p.url, max(1, int(d.Seconds()))), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(res.Body, mostProfile))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", res.Status, bytes.TrimSpace(text))
	}
	return text, err
}

// end waits for the profile and, if it is wanted, writes it and draws it.
func (p *profiler) end(wanted bool) error {
	if p.dir == "" {
		return nil
	}
	if p.taken == nil {
		return errNoWindow
	}
	<-p.taken
	if !wanted {
		return nil
	}
	if p.failed != nil {
		return fmt.Errorf("%w: %w", errProfile, p.failed)
	}
	var page bytes.Buffer
	err := flame.Draw(&page, bytes.NewReader(p.text), p.title)
	if err == nil {
		err = os.MkdirAll(p.dir, 0o750)
	}
	if err == nil {
		err = errors.Join(
			os.WriteFile(filepath.Join(p.dir, profileFile), p.text, 0o600),
			os.WriteFile(filepath.Join(p.dir, flameFile), page.Bytes(), 0o600))
	}
	if err != nil {
		return fmt.Errorf("%w: %w", errProfile, err)
	}
	return nil
}
