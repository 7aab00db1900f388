package bench

import (
	"errors"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

var errAgain = errors.New("not now")

// ethernetSegment is what fits an Ethernet frame. Loopback's segments of 64 KiB make the kernel give each side megabytes of buffers.
const ethernetSegment = 1460

// openStream begins a TCP connection to remote, from source if that is valid. Unless buffer is 0, it has a receive buffer of so many bytes,
// and segments as on Ethernet. The descriptor becomes writable when the
// connection is there, or has failed.
func openStream(remote netip.AddrPort, source netip.Addr, buffer int) (int, error) {
	family := unix.AF_INET
	if !remote.Addr().Is4() {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	if buffer > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_MAXSEG, ethernetSegment)
	}
	if source.IsValid() {
		// The port is chosen by connect, which knows the whole tuple; bind alone would take a port of all destinations.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
		if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(source, 0))); err != nil {
			_ = unix.Close(fd)
			return -1, os.NewSyscallError("bind", err)
		}
	}
	if err := unix.Connect(fd, sockaddr(remote)); err != nil && err != unix.EINPROGRESS {
		_ = unix.Close(fd)
		return -1, os.NewSyscallError("connect", err)
	}
	return fd, nil
}

// setBuffer changes the receive buffer.
func setBuffer(fd, bytes int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, bytes))
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connected says how a connection that openStream began ended.
func connected(fd int) error {
	code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return os.NewSyscallError("getsockopt", err)
	}
	if code != 0 {
		return os.NewSyscallError("connect", unix.Errno(code))
	}
	return nil
}

// readStream returns errAgain when nothing has arrived, and 0 at the end of the stream.
func readStream(fd int, p []byte) (int, error) {
	for {
		n, err := unix.Read(fd, p)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, errAgain
		default:
			return 0, os.NewSyscallError("read", err)
		}
	}
}

// writeStream returns errAgain when nothing fits.
func writeStream(fd int, p []byte) (int, error) {
	for {
		n, err := unix.SendmsgN(fd, p, nil, nil, unix.MSG_NOSIGNAL)
		switch err {
		case nil:
			return n, nil
		case unix.EINTR:
		case unix.EAGAIN:
			return 0, errAgain
		default:
			return 0, os.NewSyscallError("write", err)
		}
	}
}

// abort closes with a reset, so that thousands of closed connections leave no port waiting.
func abort(fd int) {
	_ = unix.SetsockoptLinger(fd, unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1})
	_ = unix.Close(fd)
}

// fileLimit returns how many descriptors this process may have.
func fileLimit() (int, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &l); err != nil {
		return 0, os.NewSyscallError("getrlimit", err)
	}
	return int(l.Cur), nil
}

// cpuClock returns the processor time that a process has used, all its threads that ever were included, to the
// nanosecond. /proc/PID/stat shows the same sum in ticks of 10 ms. pid 0 is this process.
func cpuClock(pid int) (time.Duration, error) {
	const perProcessSched = 2 // linux/posix-timers.h: CPUCLOCK_SCHED
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^pid)<<3|perProcessSched, &ts); err != nil {
		return 0, os.NewSyscallError("clock_gettime", err)
	}
	return time.Duration(ts.Nano()), nil
}

// monotonic is CLOCK_MONOTONIC, which Go's time.Since reads as well.
func monotonic() int64 {
	var ts unix.Timespec
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts)
	return ts.Nano()
}

// nap sleeps without Go's timers, which an idle scheduler rounds up to the next millisecond.
func nap(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_ = unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &ts, nil)
}

// sharpenNaps lowers the kernel's slack for the naps of the calling thread from 50 µs to 1 ns.
func sharpenNaps() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0) }
