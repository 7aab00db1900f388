package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jetwire/jetwire/streams/access"
)

// TestUnifiedScript runs what the unified service's README shows: its script, and the backend in it.
func TestUnifiedScript(t *testing.T) {
	for _, tool := range []string{"sh", "curl", "openssl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the script needs %s", tool)
		}
	}
	jetwire, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../gateway/unified/README.md")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	backend := filepath.Join(dir, "backend")
	if out, err := exec.Command("go", "build", "-o", backend, file("backend.go", fenced(t, readme, "go"))).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	script := strings.NewReplacer(
		"127.0.0.1:8080", freeAddress(t), "127.0.0.1:4222", freeAddress(t), "go run backend.go", backend,
		"jetwire serve", "jetwire serve --listen $ADDRESS",
	).Replace(fenced(t, readme, "sh"))
	cmd := exec.Command("sh", "-e", "-c", script+"\nwait")
	cmd.Dir = dir
	address := regexp.MustCompile(`http://(127[0-9.:]+)/readyz`).FindStringSubmatch(script)[1]
	cmd.Env = []string{"HOME=" + dir, "ADDRESS=" + address, "PATH=" + filepath.Dir(jetwire) + ":" + os.Getenv("PATH")}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	var out text
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }()
	select {
	case err := <-ended:
		if err != nil {
			t.Fatalf("%v:\n%s", err, &out)
		}
	case <-time.After(2 * patience):
		t.Fatalf("it does not end:\n%s", &out)
	}
	log, err := os.ReadFile(filepath.Join(dir, "server.log"))
	if err != nil || len(log) == 0 || strings.Contains(string(log)+out.String(), access.TicketPrefix) {
		t.Errorf("a token is in what was printed, or logged: %v\n%s", err, log)
	}
	for _, want := range []string{
		`"fromUniqueId":"alice","toUniqueId":"","fromClientType":"app"`, // to the backend
		`"messageType":"ACK"`, `"messageId":"pay-1"`,
		`{"result":0,"description":"ok","data":{"seq":1,`,
		`"messageType":"paid"`, `"content":{"order":7,"paid":true}`,
		`"sendType":"CLIENT_TO_CLIENT"`, `"content":"order 7 is paid"`,
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not print %s:\n%s", want, &out)
		}
	}
}

// fenced returns the first block of code in a language.
func fenced(t *testing.T, markdown []byte, language string) string {
	t.Helper()
	_, rest, ok := strings.Cut(string(markdown), "\n```"+language+"\n")
	block, _, ended := strings.Cut(rest, "\n```\n")
	if !ok || !ended {
		t.Fatalf("there is no block of %s", language)
	}
	return block
}

// freeAddress is one that nobody listened on a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return fmt.Sprint(l.Addr())
}
