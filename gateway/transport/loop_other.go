//go:build !linux

package transport

import (
	"net"
	"syscall"
)

// loop does not exist on this system: every Conn stands on a net.Conn.
type loop struct{}

func (*Server) startLoops() error { return nil }

func (*Server) acceptFDs(net.Listener) error { return net.ErrClosed }

func (*loop) close() {}

// socketsAllowed does not know the limit on this system.
func socketsAllowed() int { return 0 }

// takingRaw cannot tell on this system.
func takingRaw(syscall.RawConn, *uint32) bool { return false }
