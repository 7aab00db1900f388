package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/natsd"
)

// synced is the durability class of files where nothing else is said.
func synced() string {
	if runtime.GOOS == "linux" {
		return "file+sync"
	}
	return "file"
}

// TestDurability: the embedded store is synced unless somebody says no, for all or for a namespace.
func TestDurability(t *testing.T) {
	for name, c := range map[string]struct {
		config string
		args   []string
		want   map[string]string
	}{
		"nothing said": {"", nil, map[string]string{"chat.x": synced(), "user.alice": synced()}},
		"some do not": {"namespaces: {fast: {sync: false}, news: {max_age: 1h}, mem: {storage: memory}}\n", nil,
			map[string]string{"chat.x": synced(), "fast.x": "file", "news.x": synced(), "mem.x": "memory"}},
		"the default does not": {"default: {sync: false}\nnamespaces: {news: {}}\n", nil,
			map[string]string{"chat.x": "file", "user.alice": "file", "news.x": synced()}},
		"none":               {"sync: false\nnamespaces: {news: {}}\n", nil, map[string]string{"chat.x": "file", "news.x": "file"}},
		"none, by the flag":  {"namespaces: {news: {}}\n", []string{"--sync=false"}, map[string]string{"chat.x": "file", "news.x": "file"}},
		"none but one":       {"sync: false\nnamespaces: {news: {sync: true}}\n", nil, map[string]string{"chat.x": "file", "news.x": "file+sync"}},
		"the flag overrules": {"sync: false\n", []string{"--sync"}, map[string]string{"chat.x": synced()}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "none but one" && runtime.GOOS != "linux" {
				t.Skip("refused")
			}
			dir := t.TempDir()
			_, a := serve(t, dir, append(c.args, "--config", write(t, "jetwire.yaml", c.config))...)
			for channel, want := range c.want {
				token := do(t, dir, 0, "token", "--user", "alice", "--publish", channel)[0]
				line := do(t, dir, 0, "pub", channel, "1", "--token", token, "--url", a.URL)[0]
				if got := answered(t, line).Durability; got != want {
					t.Errorf("%s: %s, want %s", channel, got, want)
				}
			}
		})
	}
}

// TestDurabilityOfExternalNATS: what its operator says of it is believed, and nothing is synced from here.
func TestDurabilityOfExternalNATS(t *testing.T) {
	dir := t.TempDir()
	_, a := serve(t, dir, "--nats-listen", "127.0.0.1:0")
	password, err := os.ReadFile(filepath.Join(dir, "nats-password"))
	if err != nil {
		t.Fatal(err)
	}
	url := strings.Replace(a.NATS, "nats://", "nats://"+natsd.User+":"+strings.TrimSpace(string(password))+"@", 1)
	_, a = serve(t, dir, "--nats", url, "--config", write(t, "jetwire.yaml", "namespaces: {sure: {sync: always}}\n"))
	for channel, want := range map[string]string{"chat.x": "file", "sure.x": "file+sync"} {
		line := do(t, dir, 0, "pub", channel, "1", "--url", a.URL)[0]
		if got := answered(t, line).Durability; got != want {
			t.Errorf("%s: %s, want %s", channel, got, want)
		}
	}
}
