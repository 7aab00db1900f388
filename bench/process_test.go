package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const childVar = "JETBENCH_TEST_CHILD"

// maybeChild plays the server that the tests of Process start.
func maybeChild() bool {
	switch os.Getenv(childVar) {
	case "":
		return false
	case "serve":
		ended := make(chan os.Signal, 1)
		signal.Notify(ended, syscall.SIGTERM)
		fmt.Println("starting")
		fmt.Println("listening on ws://127.0.0.1:4242/ws")
		<-ended
		fmt.Println("bye")
	case "work":
		if err := Work(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	case "fail":
		fmt.Println("cannot listen: no luck")
		os.Exit(3)
	}
	return true
}

func startChild(t *testing.T, role string) (*Process, string, error) {
	t.Helper()
	t.Setenv(childVar, role)
	return StartProcess(t.Context(), os.Args[0], nil, regexp.MustCompile(`ws://\S+`), nil)
}

func TestProcess(t *testing.T) {
	p, address, err := startChild(t, "serve")
	if err != nil {
		t.Fatal(err)
	}
	if address != "ws://127.0.0.1:4242/ws" {
		t.Errorf("address %q", address)
	}
	if err := unix.Kill(p.PID(), 0); err != nil {
		t.Errorf("process %d: %v", p.PID(), err)
	}
	if err := errors.Join(p.Stop(), p.Stop()); err != nil {
		t.Error(err)
	}
	if !strings.HasSuffix(p.Tail(), "bye") {
		t.Errorf("it was not asked to end: %q", p.Tail())
	}
	select {
	case <-p.Ended():
	default:
		t.Error("not ended")
	}
}

func TestProcessThatFails(t *testing.T) {
	_, _, err := startChild(t, "fail")
	if !errors.Is(err, ErrNoAddress) || !strings.Contains(err.Error(), "no luck") {
		t.Errorf("got %v", err)
	}
}

func TestProcessThatIsNone(t *testing.T) {
	if _, _, err := StartProcess(t.Context(), "/no/such/program", nil, regexp.MustCompile(`x`), nil); err == nil {
		t.Error("started")
	}
}
