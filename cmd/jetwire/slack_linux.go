package main

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Go's runtime has a thread that looks around every 20 µs while anything runs: with the kernel's usual timer slack of 50 µs that is a seventh of
// what a gateway at a tenth of its load uses. So a server has the kernel wake its threads later by up to timerSlack than they ask. Threads inherit
// their slack and Go's exist before any of this program's code: the program starts itself once more, in the same process.
//
// That happens here, on the main thread and before anything else, so that nothing is lost: no signal (the kernel gives them to the main
// thread, before or after), nothing that was read, no file.
func init() {
	if slack := slackOf(os.Args, os.Getenv(slackVariable)); slack > 0 {
		coarsenTimers(slack)
	}
}

// coarsenTimers does not return if it can be done and has not been done yet.
func coarsenTimers(slack time.Duration) {
	if slackNow() >= slack || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0) != nil || slackNow() < slack {
		return // real-time threads are given none, whatever prctl says
	}
	if self, err := os.Executable(); err == nil {
		_ = syscall.Exec(self, os.Args, os.Environ()) //nolint:gosec // it is this program, as it was called; if it fails, timers stay as fine as they were
	}
}

func slackNow() time.Duration {
	now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil {
		return 0
	}
	return time.Duration(now)
}
