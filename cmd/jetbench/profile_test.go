package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/bench"
)

func TestProfile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made")
	measured(t, "fanout", "--conns", "50", "--flat-out", "--profile", dir)
	page, err := os.ReadFile(filepath.Join(dir, flameFile))
	if err != nil || !strings.Contains(string(page), "transport.(*Conn).flush") {
		t.Errorf("%v: %.2000s", err, page)
	}
	if raw, err := os.ReadFile(filepath.Join(dir, profileFile)); err != nil || len(raw) < 1000 {
		t.Errorf("%d bytes of profile, %v", len(raw), err)
	}
}

func TestNoProfile(t *testing.T) {
	path, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	args := []string{"--server-binary", path, "--duration", "1s", "--warmup", "0", "--profile", t.TempDir(), "--quiet"}
	if _, log, err := jetbench(t, append([]string{"connect", "--conns", "5", "--hold", "10ms"}, args...)...); !errors.Is(err, errNoWindow) {
		t.Errorf("%v\n%s", err, log)
	}
	data := filepath.Join(t.TempDir(), "data")
	p, url, err := bench.StartProcess(t.Context(), path, []string{"serve", "--listen", "127.0.0.1:0", "--data", data}, wsAddress, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	running := append([]string{"fanout", "--conns", "5", "--rate", "100", "--url", url, "--data", data}, args[2:]...)
	if _, log, err := jetbench(t, running...); !errors.Is(err, errProfile) || !strings.Contains(err.Error(), "--api-key") {
		t.Errorf("%v\n%s", err, log)
	}
}
