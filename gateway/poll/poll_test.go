//go:build linux

package poll

import (
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

func pair(t *testing.T) (a, b int) {
	t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fds[0]) })
	return fds[0], fds[1]
}

func start(t *testing.T) (*Poller, <-chan Event) {
	t.Helper()
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	events, ended := make(chan Event, 1024), make(chan error, 1)
	go func() {
		ended <- p.Wait(func(batch []Event) {
			for _, e := range batch {
				select {
				case events <- e:
				default: // level-triggered: an event nobody reads comes again
				}
			}
		})
	}()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("Wait ended with %v", err)
		}
	})
	return p, events
}

func TestReadableKeepsItsWholeToken(t *testing.T) {
	p, events := start(t)
	a, b := pair(t)
	defer unix.Close(b)
	const token = 0xfedcba98_76543210
	if err := p.Add(a, token, Readable); err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(b, []byte("x")); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Token != token || e.Events != Readable {
		t.Fatalf("got %+v", e)
	}
}

func TestWritableOnlyWhenWanted(t *testing.T) {
	p, events := start(t)
	a, b := pair(t)
	defer unix.Close(b)
	if err := p.Add(a, 1, Readable); err != nil {
		t.Fatal(err)
	}
	if err := p.Modify(a, 1, Readable|Writable); err != nil {
		t.Fatal(err)
	}
	if e := <-events; e.Events != Writable {
		t.Fatalf("got %+v", e)
	}
}

func TestHangupIsReportedUnasked(t *testing.T) {
	p, events := start(t)
	a, b := pair(t)
	if err := p.Add(a, 7, 0); err != nil {
		t.Fatal(err)
	}
	_ = unix.Close(b)
	if e := <-events; e.Token != 7 || e.Events&Hangup == 0 {
		t.Fatalf("got %+v", e)
	}
}

func TestManyRoundsLoseNoEdge(t *testing.T) {
	p, err := New()
	if err != nil {
		t.Fatal(err)
	}
	a, b := pair(t)
	defer unix.Close(b)
	if err := p.Add(a, 1, Readable); err != nil {
		t.Fatal(err)
	}
	got, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var buf [1]byte
		_ = p.Wait(func([]Event) {
			if n, _ := unix.Read(a, buf[:]); n == 1 {
				got <- struct{}{}
			}
		})
	}()
	for range 20_000 {
		if _, err := unix.Write(b, []byte{0}); err != nil {
			t.Fatal(err)
		}
		<-got
	}
	_ = p.Close()
	<-ended
}
