package main

import (
	"errors"
	"log/slog"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

var errNoSlack = errors.New("the kernel gives this thread no slack: it gives none to real-time threads")

// coarsenTimers lets the kernel wake this process's threads later by up to slack than they ask. Go has a thread that looks around every
// 20 µs while anything runs: with the kernel's usual slack of 50 µs that is a seventh of what a gateway at a tenth of its load uses. Threads inherit
// their slack, and Go's exist before main: so the program starts itself once more, in the same process. Nothing may have been started before.
func coarsenTimers(slack time.Duration, log *slog.Logger) {
	runtime.LockOSThread() // it is this thread's slack that is inherited
	defer runtime.UnlockOSThread()
	now, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	if err != nil || time.Duration(now) >= slack {
		return
	}
	self, err := os.Executable()
	if err == nil {
		err = unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(slack), 0, 0, 0)
	}
	if err == nil {
		now, err = unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	}
	if err == nil && time.Duration(now) < slack {
		err = errNoSlack // it would be so again, and again
	}
	if err == nil {
		err = syscall.Exec(self, os.Args, os.Environ()) //nolint:gosec // it is this program, as it was called
	}
	log.Warn("timers stay as fine as they are, which costs CPU", "error", err)
}
