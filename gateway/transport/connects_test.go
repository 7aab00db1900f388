package transport

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// TestConnectsTooOften: who may not connect now is told when, before anything is read, and whatever it speaks.
func TestConnectsTooOften(t *testing.T) {
	both(t, func(t *testing.T, o Options) {
		var asked atomic.Int64
		o.Connect = func(addr netip.Addr) time.Duration {
			if !addr.IsLoopback() {
				t.Errorf("asked about %v", addr)
			}
			if asked.Add(1) > 1 {
				return 1500 * time.Millisecond
			}
			return 0
		}
		s := serve(t, o)
		conn := dial(t, s.addr)
		refused := false
		d := ws.Dialer{OnStatusError: func(_ int, _ []byte, r io.Reader) {
			answer, err := http.ReadResponse(bufio.NewReader(r), nil)
			refused = err == nil && answer.StatusCode == http.StatusTooManyRequests && answer.Header.Get("Retry-After") == "2"
		}}
		if _, _, _, err := d.Dial(context.Background(), "ws://"+s.addr+"/"); !refused {
			t.Errorf("not refused with 429 and Retry-After: %v", err)
		}
		silent, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer silent.Close()
		_ = silent.SetDeadline(time.Now().Add(20 * time.Second))
		if answer, err := io.ReadAll(silent); err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 429 ")) {
			t.Errorf("who says nothing gets %q, %v", answer, err)
		}
		if err := wsutil.WriteClientBinary(conn, []byte("x")); err != nil {
			t.Fatal(err)
		}
		if got, _, err := wsutil.ReadServerData(conn); err != nil || string(got) != "x" {
			t.Errorf("the first: %q, %v", got, err)
		}
		if st := s.Stats(); st.Connections != 1 || st.Accepted != 1 {
			t.Errorf("%+v", st)
		}
	})
}

// Who has an IPv6 network had as many addresses to connect from as it liked, and what was counted with a zone was not counted out.
func TestConnectionsOfAnIPv6Network(t *testing.T) {
	s, err := New(Options{MaxConnsPerAddr: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	admitted := func(addr string) bool { return s.admit(netip.MustParseAddr(addr)) == nil }
	for _, c := range []struct {
		addr string
		want bool
	}{
		{"2001:db8::1", true}, {"2001:db8::1", false}, {"2001:db8::2", false}, {"2001:db8:0:0:ffff::", false}, {"2001:db8:0:1::1", true},
		{"192.0.2.1", true}, {"192.0.2.1", false}, {"192.0.2.2", true}, {"fe80::1%lo", true}, {"fe80::1", false},
	} {
		if got := admitted(c.addr); got != c.want {
			t.Errorf("%s: %t", c.addr, got)
		}
	}
	for _, addr := range []string{"2001:db8::1", "2001:db8:0:1::1", "192.0.2.1", "192.0.2.2", "fe80::1"} {
		s.left(netip.MustParseAddr(addr))
	}
	if len(s.perAddr) != 0 || !admitted("2001:db8::2") || !admitted("fe80::1%lo") {
		t.Errorf("left, and still counted: %v", s.perAddr)
	}
}
