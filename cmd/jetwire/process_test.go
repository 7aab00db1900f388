package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

const patience = 30 * time.Second

// binaryDir is where binary puts what it builds.
var binaryDir string

// binary builds jetwire once.
var binary = sync.OnceValues(func() (string, error) {
	path := filepath.Join(binaryDir, "jetwire")
	out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
})

func TestMain(m *testing.M) {
	var err error
	if binaryDir, err = os.MkdirTemp("", "jetwire-test-"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(binaryDir)
		os.Exit(code)
	}))
}

// text is output that can be read while it is written.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *text) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *text) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}

func (o *text) lines() []string {
	whole, _, _ := cutLast(o.String(), "\n")
	if whole == "" {
		return nil
	}
	return strings.Split(whole, "\n")
}

func cutLast(s, sep string) (before, after string, ok bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return "", s, false
}

// process is jetwire running as a process of its own.
type process struct {
	t         *testing.T
	cmd       *exec.Cmd
	in        io.WriteCloser
	out, errs text
	done      chan struct{} // closed when it has ended
}

// start starts jetwire with a data directory's environment.
func start(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	return startWith(t, dir, nil, args...)
}

func startWith(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Env = []string{"HOME=" + dir, "JETWIRE_DATA=" + dir, "JETWIRE_USER=alice", "PATH=" + os.Getenv("PATH")}
	p.cmd.Env = append(p.cmd.Env, env...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errs
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.done
		if t.Failed() {
			t.Logf("jetwire %s: %v\n%s%s", strings.Join(args, " "), p.cmd.ProcessState, tail(p.out.String()), tail(p.errs.String()))
		}
	})
	return p
}

func tail(s string) string { return s[max(0, len(s)-3000):] }

// end waits for the end and returns the exit code.
func (p *process) end() int {
	p.t.Helper()
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode()
	case <-time.After(patience):
		p.t.Fatalf("%v does not end", p.cmd.Args)
		return -1
	}
}

func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits until ok.
func (p *process) wait(what string, ok func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) {
		select {
		case <-p.done:
			if ok() {
				return
			}
			p.t.Fatalf("%v ended (%v) before %s:\n%s%s", p.cmd.Args[1:], p.cmd.ProcessState, what, &p.out, &p.errs)
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("%v: no %s:\n%s%s", p.cmd.Args[1:], what, &p.out, &p.errs)
		}
	}
}

func (p *process) says(s string) {
	p.t.Helper()
	p.wait(fmt.Sprintf("%q", s), func() bool { return strings.Contains(p.errs.String(), s) })
}

// serve starts a server and waits until it is ready.
func serve(t *testing.T, dir string, args ...string) (*process, announcement) {
	t.Helper()
	if !strings.Contains(strings.Join(args, " "), "--listen") {
		args = append(args, "--listen", "127.0.0.1:0")
	}
	p := start(t, dir, append([]string{"serve"}, args...)...)
	p.wait("ready line", func() bool { return len(p.out.lines()) > 0 })
	var a announcement
	if err := json.Unmarshal([]byte(p.out.lines()[0]), &a); err != nil {
		t.Fatalf("the ready line: %v: %s", err, &p.out)
	}
	return p, a
}

// do runs a client command to its end and returns its output's lines.
func do(t *testing.T, dir string, want int, args ...string) []string {
	t.Helper()
	p := start(t, dir, args...)
	p.in.Close()
	if got := p.end(); got != want {
		t.Fatalf("jetwire %s: exit code %d, want %d: %s", strings.Join(args, " "), got, want, &p.errs)
	}
	return p.out.lines()
}

func message(t *testing.T, s string) messageLine {
	t.Helper()
	var m messageLine
	if err := json.Unmarshal([]byte(s), &m); err != nil {
		t.Fatalf("%v: %s", err, s)
	}
	return m
}

func answered(t *testing.T, s string) publishLine {
	t.Helper()
	var l publishLine
	if err := json.Unmarshal([]byte(s), &l); err != nil || l.Seq == 0 {
		t.Fatalf("%v: %s", err, s)
	}
	return l
}

func interrupt(p *process) int {
	p.t.Helper()
	p.signal(os.Interrupt)
	return p.end()
}

func kill(p *process) {
	p.t.Helper()
	p.signal(syscall.SIGKILL)
	p.end()
}
