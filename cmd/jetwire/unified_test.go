package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jetwire/jetwire/streams/access"
)

// TestUnifiedScript runs what the unified service's README shows: its script, and the backend in it.
func TestUnifiedScript(t *testing.T) {
	const readme = "../../gateway/unified/README.md"
	backend := filepath.Join(t.TempDir(), "backend")
	source := backend + ".go"
	if err := os.WriteFile(source, []byte(fenced(t, readme, "go")), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", backend, source).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	prints(t, runScript(t, strings.ReplaceAll(fenced(t, readme, "sh"), "go run backend.go", backend)),
		`"fromUniqueId":"alice","toUniqueId":"","fromClientType":"app"`, // to the backend
		`"messageType":"ACK"`, `"messageId":"pay-`,
		`{"result":0,"description":"ok","data":{"seq":1,`,
		`"messageType":"paid"`, `"content":{"order":7,"paid":true}`,
		`"sendType":"CLIENT_TO_CLIENT"`, `"content":"order 7 is paid"`,
	)
}

// TestReadmeScript runs the script of the README, twice, as who tries it out does: with ids that do not change, the second
// run would wait for messages that are stored already.
func TestReadmeScript(t *testing.T) {
	script := fenced(t, "../../README.md", "sh")
	prints(t, runScript(t, script+"\nwait\n"+script),
		`"messageType":"ACK"`, `"messageId":"pay-`,
		`{"result":0,"description":"ok","data":{"seq":1,`,
		`"messageType":"paid"`, `"content":{"order":7,"paid":true}`,
		`"sendType":"CLIENT_TO_CLIENT"`, `"content":"order 7 is paid"`,
	)
}

func prints(t *testing.T, out string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !strings.Contains(out, want) {
			t.Errorf("it does not print %s:\n%s", want, out)
		}
	}
}

// runScript runs a script in a directory of its own, with a server at addresses of its own, and returns what it has printed.
func runScript(t *testing.T, script string) string {
	t.Helper()
	for _, tool := range []string{"sh", "curl", "openssl", "sed"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the script needs %s", tool)
		}
	}
	jetwire, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, address := t.TempDir(), freeAddress(t)
	script = strings.NewReplacer("127.0.0.1:8080", address, "127.0.0.1:4222", freeAddress(t), "jetwire serve", "jetwire serve --listen "+address).Replace(script)
	cmd := exec.Command("sh", "-e", "-c", script+"\nwait")
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + dir, "PATH=" + filepath.Dir(jetwire) + ":" + os.Getenv("PATH")}
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
	return out.String()
}

// fenced returns the first block of code in a language of a Markdown file.
func fenced(t *testing.T, file, language string) string {
	t.Helper()
	markdown, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
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
