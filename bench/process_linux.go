package bench

import (
	"os/exec"
	"runtime"
	"syscall"
)

// dieWithParent puts the process in a group of its own, so that a terminal's Ctrl-C reaches it only through Stop, and has
// the kernel kill it should this process die.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

func lockForParentDeath() { runtime.LockOSThread() }
