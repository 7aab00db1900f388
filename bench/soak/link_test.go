package soak

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"
)

// linked returns both ends of a connection over a link.
func linked(t *testing.T) (near, far net.Conn, l *link) {
	t.Helper()
	server, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	var b backend
	b.set(server.Addr().String())
	if l, err = newLink("x", &b); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	if near, err = net.Dial("tcp", l.addr()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { near.Close() })
	if far, err = server.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { far.Close() })
	for _, c := range []net.Conn{near, far} {
		c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return near, far, l
}

func carries(t *testing.T, from, to net.Conn) {
	t.Helper()
	sent := bytes.Repeat([]byte("0123456789"), 100)
	if _, err := from.Write(sent); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(to, got); err != nil || !bytes.Equal(got, sent) {
		t.Fatalf("%v, %q", err, got)
	}
}

func TestLinkCarries(t *testing.T) {
	near, far, _ := linked(t)
	carries(t, near, far)
	carries(t, far, near)
	near.Close()
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("the end was not carried")
	}
}

func TestACutCarriesAPart(t *testing.T) {
	near, far, l := linked(t)
	carries(t, near, far)
	done := make(chan struct{})
	go func() { l.cut(10 * time.Second / 50); close(done) }()
	for cutting := false; !cutting; {
		l.mu.Lock()
		for p := range l.pairs {
			cutting = p.cutting.Load()
		}
		l.mu.Unlock()
	}
	if _, err := far.Write(make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(near)
	if len(got) == 1000 || err == nil && len(got) == 0 {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	<-done
	l.mu.Lock()
	defer l.mu.Unlock()
}

func TestAMutedLinkHoldsBack(t *testing.T) {
	near, far, l := linked(t)
	carries(t, far, near)
	l.down.close()
	l.down.close()
	carries(t, near, far) // the other direction
	if _, err := far.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	l.down.reopen()
	near.SetReadDeadline(time.Now().Add(30 * time.Millisecond))
	if n, err := near.Read(make([]byte, 10)); err == nil {
		t.Errorf("%d bytes came through a shut gate", n)
	}
	near.SetReadDeadline(time.Now().Add(20 * time.Second))
	l.down.reopen()
	got := make([]byte, 4)
	if _, err := io.ReadFull(near, got); err != nil || string(got) != "late" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestALinkWithoutAServer(t *testing.T) {
	var b backend
	l, err := newLink("x", &b)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	c, err := net.Dial("tcp", l.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("it was kept open")
	}
}
