package main

import (
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// All threads have the slack, Go's own among them, which exist before main; and the process is still the one that was started.
func TestTimerSlack(t *testing.T) {
	for value, want := range map[string]string{"": "1000000", "0": "50000", "200us": "200000", "1h": "1000000"} {
		p := startWith(t, t.TempDir(), []string{slackVariable + "=" + value}, "serve", "--listen", "127.0.0.1:0")
		p.wait("ready line", func() bool { return len(p.out.lines()) > 0 })
		tasks, err := filepath.Glob("/proc/" + strconv.Itoa(p.cmd.Process.Pid) + "/task/*")
		if err != nil || len(tasks) < 3 {
			t.Fatalf("%d threads, %v", len(tasks), err)
		}
		for _, task := range tasks {
			slack, err := os.ReadFile("/proc/" + filepath.Base(task) + "/timerslack_ns")
			if err != nil {
				t.Skip("only root may ask for other threads' slack: ", err)
			}
			if strings.TrimSpace(string(slack)) != want {
				t.Errorf("%q: a thread has %s, not %s", value, slack, want)
			}
		}
		interrupt(p)
	}
}

// A configuration that comes through a pipe can be read only once.
func TestTimerSlackConfigFromPipe(t *testing.T) {
	p := start(t, t.TempDir(), "serve", "--config", "/dev/stdin")
	if _, err := io.WriteString(p.in, "listen: 127.0.0.2:0\n"); err != nil {
		t.Fatal(err)
	}
	p.in.Close()
	p.wait("ready line", func() bool { return len(p.out.lines()) > 0 })
	if line := p.out.lines()[0]; !strings.Contains(line, `"127.0.0.2:`) {
		t.Errorf("the configuration is lost: %s", line)
	}
	interrupt(p)
}

// Real-time threads have no slack, and are not given any: the program must not start itself again and again.
func TestTimerSlackRealTime(t *testing.T) {
	runtime.LockOSThread() // for good: the thread ends with the test
	switch err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_RR, Priority: 1}, 0); err {
	case nil:
	case unix.EPERM:
		t.Skip("may not be real-time")
	default:
		t.Fatal(err)
	}
	p, _ := serve(t, t.TempDir())
	interrupt(p)
}

// A signal that comes while the program starts, and starts itself once more, ends it.
func TestTimerSlackSignal(t *testing.T) {
	for after := time.Millisecond; after < 16*time.Millisecond; after += 500 * time.Microsecond {
		p := start(t, t.TempDir(), "serve", "--listen", "127.0.0.1:0")
		time.Sleep(after)
		p.signal(syscall.SIGTERM)
		p.end()
	}
}
