package tap

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
)

// taking takes what has an even number of bytes in its subject, and remembers it.
type taking struct {
	taken []string
	rests int
	open  bool // something was taken since the last rest
}

func (t *taking) Take(m *Message) bool {
	if len(m.Subject)%2 != 0 {
		return false
	}
	t.taken = append(t.taken, fmt.Sprintf("%s|%s|%s|%s", m.Subject, m.Reply, m.Header, m.Body))
	t.open = true
	return true
}

func (t *taking) Rest() { t.rests, t.open = t.rests+1, false }

// script is a connection that brings a text in pieces.
type script struct {
	net.Conn
	text []byte
	size int
}

func (s *script) Read(p []byte) (int, error) {
	if len(s.text) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.text[:min(s.size, len(s.text))])
	s.text = s.text[n:]
	return n, nil
}

// run reads all of a text that comes in pieces, with a buffer of the reader's own size.
func run(t *testing.T, text []byte, piece, into int) (*taking, string) {
	t.Helper()
	var taker taking
	c := &conn{Conn: &script{text: text, size: piece}, taker: &taker, buf: make([]byte, bufferSize)}
	var left bytes.Buffer
	p := make([]byte, into)
	for {
		n, err := c.Read(p)
		left.Write(p[:n])
		if errors.Is(err, io.EOF) {
			break
		}
	}
	if taker.open {
		t.Fatal("the taker was not told that all is read")
	}
	return &taker, left.String()
}

const header = "NATS/1.0 100 Idle\r\nA: b\r\n\r\n"

func message(subject, reply, header, body string) string {
	if reply != "" {
		reply = " " + reply
	}
	if header == "" {
		return fmt.Sprintf("MSG %s 7%s %d\r\n%s\r\n", subject, reply, len(body), body)
	}
	return fmt.Sprintf("HMSG %s 7%s %d %d\r\n%s%s\r\n", subject, reply, len(header), len(header)+len(body), header, body)
}

func TestTakes(t *testing.T) {
	large := strings.Repeat("x", 3*bufferSize)
	text := "INFO {}\r\nPING\r\n" + message("ab", "r", "", "one") + "MSG mm 7  1\r\nm\r\n" + message("abc", "r", "", "two") + "+OK\r\n" +
		message("cd", "", header, "three") + message("cde", "", header, "MSG ab 7 1\r\nx\r\n") + message("ef", "", "", "") + message("gh", "r", header, large) +
		message("ghi", "", "", large) + "-ERR 'x'\r\n" + message("ij", "", "", "end")
	want := []string{"ab|r||one", "mm|||m", "cd||" + header + "|three", "ef|||", "gh|r|" + header + "|" + large, "ij|||end"}
	left := "INFO {}\r\nPING\r\n" + message("abc", "r", "", "two") + "+OK\r\n" + message("cde", "", header, "MSG ab 7 1\r\nx\r\n") + message("ghi", "", "", large) + "-ERR 'x'\r\n"
	for _, piece := range []int{1, 2, 7, 100, 1000, bufferSize, len(text)} {
		for _, into := range []int{1, 33, 32 << 10} {
			got, rest := run(t, []byte(text), piece, into)
			if d := cmp.Diff(want, got.taken); d != "" || rest != left {
				t.Fatalf("in pieces of %d into %d: %d bytes left, want %d; %s", piece, into, len(rest), len(left), d)
			}
		}
	}
	if got, _ := run(t, []byte(text), len(text), 32<<10); got.rests > 10 {
		t.Errorf("%d rests for a few reads", got.rests)
	}
}

// TestAlien: what is not the protocol, and all behind it, is nats.go's.
func TestAlien(t *testing.T) {
	behind := message("ab", "", "", "x")
	for _, alien := range []string{
		"\x16\x03\x01\x02\x00", "HTTP/1.1 101 Switching Protocols\r\n", "MSG\tab 7 1\r\nx\r\n", "MSG ab 7 -1\r\n", "MSG ab 7 r q s 1\r\nx\r\n",
		"MSG ab 1\r\nx\r\n", "MSG ab x 1\r\nx\r\n", "MSG ab 7 r q 1\r\nx\r\n", "MSG ab 7 1\nx\r\n", "MSG ab 7 1\r\nxx\r\n", "HMSG ab 7 9 1\r\nx\r\n", "msg ab 7 1\r\nx\r\n",
		"MSG ab 7 99999999999999999999\r\n", "MSG " + strings.Repeat("a", maxLine), "\r\n",
	} {
		for _, piece := range []int{1, 1000} {
			got, left := run(t, []byte(behind+alien+behind), piece, 100)
			if len(got.taken) != 1 || left != alien+behind {
				t.Errorf("%q in pieces of %d: %d taken, %q left", alien, piece, len(got.taken), left)
			}
		}
	}
}

func TestTooLarge(t *testing.T) {
	line := fmt.Sprintf("MSG ab 7 %d\r\n", maxMessage+1)
	got, left := run(t, append([]byte(line), "begins"...), 1000, 100)
	if len(got.taken) != 0 || left != line+"begins" {
		t.Fatal(got.taken, left)
	}
}

// FuzzConn: however the bytes come, the same is taken, and what is taken and what is left make up what came.
func FuzzConn(f *testing.F) {
	f.Add([]byte("INFO {}\r\n"+message("ab", "r", header, "x")+message("abc", "", "", "y")+"PING\r\n"), uint16(3), uint16(5))
	f.Add([]byte("HMSG a 1 2 3\r\n"), uint16(1), uint16(1))
	f.Fuzz(func(t *testing.T, text []byte, piece, into uint16) {
		all, left := run(t, text, max(len(text), 1), 1<<16)
		pieces, same := run(t, text, int(piece)+1, int(into)+1)
		if d := cmp.Diff(all.taken, pieces.taken); d != "" || left != same {
			t.Fatalf("in pieces of %d: %s", piece, d)
		}
		size := 0
		for _, m := range all.taken {
			size += len(m)
		}
		if len(left) > len(text) || len(left)+size > len(text) && len(all.taken) == 0 {
			t.Fatalf("%d bytes left of %d, %d taken", len(left), len(text), size)
		}
	})
}

// FuzzHeader holds the reading of headers to nats.go's.
func FuzzHeader(f *testing.F) {
	for _, s := range []string{header, "NATS/1.0\r\nA: b\r\nA:  c \r\na:\t\r\n\r\n", "NATS/1.0 503\r\n\r\n", "NATS/1.0\r\n: x\r\n\r\n", "NATS/1.0   408  Request Timeout \nA:b\n\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		got, status, description := nats.Header{}, "", ""
		for k, v := range Header(data).All() {
			got[string(k)] = append(got[string(k)], string(v))
		}
		s, d := Header(data).Status()
		status, description = string(s), string(d)
		want, err := nats.DecodeHeadersMsg(data)
		if err != nil {
			return
		}
		if status != "" { // nats.go adds it to what the publisher wrote
			got["Status"] = append(got["Status"], status)
		}
		if description != "" {
			got["Description"] = append(got["Description"], description)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("%q: %s", data, diff)
		}
	})
}

// TestFrom: what comes by nats.go looks as what is taken does.
func TestFrom(t *testing.T) {
	m := &nats.Msg{Subject: "a.b", Reply: "r", Header: nats.Header{"A": {"1", "2"}, "Status": {"503"}, "Description": {"No Responders"}}, Data: []byte("x")}
	got := From(m)
	status, description := got.Header.Status()
	var values []string
	for k, v := range got.Header.All() {
		if string(k) == "A" {
			values = append(values, string(v))
		}
	}
	if string(got.Subject) != "a.b" || string(got.Reply) != "r" || string(got.Body) != "x" || string(status) != "503" || string(description) != "No Responders" || fmt.Sprint(values) != "[1 2]" {
		t.Fatalf("%q %v", got, values)
	}
	if got := From(&nats.Msg{Subject: "a"}); len(got.Header) != 0 {
		t.Fatalf("%q", got)
	}
}

func TestAllocates(t *testing.T) {
	text := []byte(message("ab", "r", header, "one"))
	var m Message
	n := testing.AllocsPerRun(100, func() {
		if _, is := parse(text, &m); is != whole {
			t.Fatal("not read")
		}
		m.Header.Status()
		for k := range m.Header.All() {
			_ = k
		}
	})
	if n != 0 {
		t.Errorf("%v allocations a message", n)
	}
}

func BenchmarkParse(b *testing.B) {
	text := []byte(message("bench.room.123", "$JS.ACK.JW_bench.abcdefgh.1.123456.123456.1700000000000000000.0", "NATS/1.0\r\nJw-From: alice\r\n\r\n", strings.Repeat("x", 128)))
	var m Message
	for b.Loop() {
		parse(text, &m)
	}
}
