package poll

import (
	"os"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// Poller is one epoll instance. Add, Modify, Remove and Close may be called from any goroutine; Wait from one at a time.
type Poller struct {
	file *os.File // owns the epoll descriptor
	raw  syscall.RawConn
	epfd int

	closed atomic.Bool
}

// New opens a Poller. Close releases it.
func New() (*Poller, error) {
	epfd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if err := unix.SetNonblock(epfd, true); err != nil {
		_ = unix.Close(epfd)
		return nil, os.NewSyscallError("fcntl", err)
	}
	file := os.NewFile(uintptr(epfd), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &Poller{file: file, raw: raw, epfd: epfd}, nil
}

// Add begins to report fd, level-triggered, under token.
func (p *Poller) Add(fd int, token uint64, want Events) error {
	return p.control(unix.EPOLL_CTL_ADD, fd, token, want)
}

// Modify changes what is wanted of fd. The token must be given again.
func (p *Poller) Modify(fd int, token uint64, want Events) error {
	return p.control(unix.EPOLL_CTL_MOD, fd, token, want)
}

// Remove stops reporting fd; closing fd does the same. Events already taken by a running Wait may still be delivered.
func (p *Poller) Remove(fd int) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epfd, unix.EPOLL_CTL_DEL, fd, nil))
}

func (p *Poller) control(op, fd int, token uint64, want Events) error {
	ev := unix.EpollEvent{Fd: int32(token), Pad: int32(token >> 32)}
	if want&Readable != 0 {
		ev.Events |= unix.EPOLLIN | unix.EPOLLRDHUP
	}
	if want&Writable != 0 {
		ev.Events |= unix.EPOLLOUT
	}
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.epfd, op, fd, &ev))
}

// Wait calls ready with each batch of events until the Poller is closed, and then returns ErrClosed. The slice is valid
// until ready returns.
func (p *Poller) Wait(ready func([]Event)) error {
	var (
		raw    [BatchSize]unix.EpollEvent
		events [BatchSize]Event
		n      int
		failed error
	)
	// The runtime watches the epoll descriptor edge-triggered: poll is asked again until it has nothing.
	poll := func(fd uintptr) bool {
		for {
			n, failed = unix.EpollWait(int(fd), raw[:], 0)
			if failed != unix.EINTR {
				return n != 0 || failed != nil
			}
		}
	}
	for {
		if err := p.raw.Read(poll); err != nil {
			if p.closed.Load() {
				return ErrClosed
			}
			return err
		}
		if failed != nil {
			return os.NewSyscallError("epoll_wait", failed)
		}
		for i := range raw[:n] {
			events[i] = Event{
				Token:  uint64(uint32(raw[i].Fd)) | uint64(uint32(raw[i].Pad))<<32,
				Events: fromEpoll(raw[i].Events),
			}
		}
		ready(events[:n])
	}
}

func fromEpoll(e uint32) (ev Events) {
	if e&(unix.EPOLLIN|unix.EPOLLRDHUP) != 0 {
		ev |= Readable
	}
	if e&unix.EPOLLOUT != 0 {
		ev |= Writable
	}
	if e&(unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		ev |= Hangup
	}
	return ev
}

// Close ends Wait and releases the epoll descriptor. The descriptors that were added stay open.
func (p *Poller) Close() error {
	p.closed.Store(true)
	return p.file.Close()
}
