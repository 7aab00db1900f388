package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"
)

// ErrNoAddress is returned when a started program ended, or was silent for too long, without printing an address.
var ErrNoAddress = errors.New("bench: the started server printed no address")

const (
	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second
	tailLines    = 20 // of a program's output, kept for error messages
)

// Process is a server that runs as a process of its own, so that what it uses can be told from what the client uses.
type Process struct {
	cmd     *exec.Cmd
	ended   chan struct{} // closed once it has ended and err is set
	err     error
	address chan string

	mu   sync.Mutex
	tail []string
}

// StartProcess runs a program until it prints something that matches address, whose first submatch (or whole match) is
// returned. Everything it prints is also written to log, which may be nil. It ends when Stop is called, and is killed when
// this process dies without calling it.
func StartProcess(ctx context.Context, program string, args []string, address *regexp.Regexp, log io.Writer) (*Process, string, error) {
	p := &Process{cmd: exec.Command(program, args...), ended: make(chan struct{}), address: make(chan string, 1)}
	out, in := io.Pipe()
	p.cmd.Stdout, p.cmd.Stderr = in, in
	p.cmd.WaitDelay = 5 * time.Second // should a child of its own hold the pipe
	dieWithParent(p.cmd)

	started := make(chan error, 1)
	var scanning sync.WaitGroup
	scanning.Go(func() { p.scan(out, address, log) })
	go func() {
		lockForParentDeath() // the signal comes when this thread ends, not only when the process does
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
		}
		_ = in.Close()
		scanning.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, "", err
	}
	timeout := time.NewTimer(startTimeout)
	defer timeout.Stop()
	var why error
	select {
	case a := <-p.address:
		return p, a, nil
	case <-p.ended:
		why = p.err
	case <-timeout.C:
		why = errors.New("timeout")
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	_ = p.Stop()
	return nil, "", fmt.Errorf("%w: %s: %w\n%s", ErrNoAddress, program, why, p.Tail())
}

func (p *Process) scan(out io.Reader, address *regexp.Regexp, log io.Writer) {
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		if log != nil {
			_, _ = fmt.Fprintln(log, line)
		}
		p.mu.Lock()
		if p.tail = append(p.tail, line); len(p.tail) > tailLines {
			p.tail = p.tail[1:]
		}
		p.mu.Unlock()
		if m := address.FindStringSubmatch(line); m != nil {
			select {
			case p.address <- m[len(m)-1]:
			default: // the first is the one that counts
			}
		}
	}
	_, _ = io.Copy(io.Discard, out) // a line too long to scan must not block the program
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Ended is closed when the process has ended, be it by itself.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Tail is the last of what it printed.
func (p *Process) Tail() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.tail, "\n")
}

// Kill ends the process at once, as SIGKILL does, and waits for it.
func (p *Process) Kill() error {
	err := p.cmd.Process.Kill()
	<-p.ended
	if errors.Is(err, os.ErrProcessDone) {
		return nil
	}
	return err
}

// Stop asks the process to end, waits for it, and kills it if it takes too long.
func (p *Process) Stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		_ = p.cmd.Process.Kill()
	}
	t := time.NewTimer(stopTimeout)
	defer t.Stop()
	select {
	case <-p.ended:
		return nil
	case <-t.C:
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	return fmt.Errorf("process %d did not end within %v of SIGTERM and was killed", p.PID(), stopTimeout)
}
