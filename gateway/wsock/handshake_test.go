package wsock

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
)

var shake = Handshake{
	MaxBytes:  2048,
	Path:      func(path string) bool { return path == "/ws" },
	Origin:    func(origin, host string) bool { return origin == "https://good.example" && host == "h" },
	Protocols: []string{"jetwire.v1.json", "jetwire.v1.cbor"},
}

// good holds the headers of a lawful request to shake, one a line.
var good = []string{
	"Host: h", "Upgrade: websocket", "Connection: Upgrade", "Sec-WebSocket-Version: 13",
	"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
}

// ask writes a request: good's headers, those named in changed replaced or, when empty, left out, and others added.
func ask(line string, changed ...string) string {
	out := line + "\r\n"
	used := map[string]bool{}
	for _, g := range good {
		name, _, _ := strings.Cut(g, ":")
		for _, c := range changed {
			if n, v, _ := strings.Cut(c, ":"); n == name && !used[c] {
				used[c] = true
				if g = c; strings.TrimSpace(v) == "" {
					g = ""
				}
				break
			}
		}
		if g != "" {
			out += g + "\r\n"
		}
	}
	for _, c := range changed {
		if !used[c] {
			out += c + "\r\n"
		}
	}
	return out + "\r\n"
}

const getWS = "GET /ws HTTP/1.1"

func TestHandshake(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		request string
		state   State
		status  int
		header  string // a line that the response must have
	}{
		{"RFC 6455's example", ask(getWS), Accepted, 101, "Sec-Websocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="},
		{"a query", ask("GET /ws?token=a?b HTTP/1.1"), Accepted, 101, ""},
		{"absolute form", ask("GET http://h/ws?x HTTP/1.1"), Accepted, 101, ""},
		{"any case", ask(getWS, "Upgrade: WebSocket", "Connection: keep-alive, UPGRADE"), Accepted, 101, ""},
		{"names in any case", getWS + "\r\nhost: h\r\nUPGRADE: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\nSEC-WEBSOCKET-KEY: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", Accepted, 101, ""},
		{"bare line feeds", strings.ReplaceAll(ask(getWS), "\r\n", "\n"), Accepted, 101, ""},
		{"a list of upgrades", ask(getWS, "Upgrade: h2c, websocket"), Accepted, 101, ""},
		{"two Connection lines", ask(getWS, "Connection: keep-alive", "Connection: Upgrade"), Accepted, 101, ""},
		{"extensions are not negotiated", ask(getWS, "Sec-WebSocket-Extensions: permessage-deflate"), Accepted, 101, ""},
		{"first known subprotocol", ask(getWS, "Sec-WebSocket-Protocol: x, jetwire.v1.cbor, jetwire.v1.json"), Accepted, 101, "Sec-Websocket-Protocol: jetwire.v1.cbor"},
		{"subprotocols on two lines", ask(getWS, "Sec-WebSocket-Protocol: x", "Sec-WebSocket-Protocol: jetwire.v1.json"), Accepted, 101, "Sec-Websocket-Protocol: jetwire.v1.json"},
		{"no known subprotocol", ask(getWS, "Sec-WebSocket-Protocol: x, y"), Accepted, 101, ""},
		{"an origin that is allowed", ask(getWS, "Origin: https://good.example"), Accepted, 101, ""},
		{"Content-Length 0", ask(getWS, "Content-Length: 0"), Accepted, 101, ""},

		{"another path", ask("GET /other HTTP/1.1"), NotUpgrade, 0, ""},
		{"another path, at once", "GET /other HTTP/1.1\r\nHos", NotUpgrade, 0, ""},
		{"another path, any length", "POST /other HTTP/1.1\r\nX: " + strings.Repeat("x", 5000), NotUpgrade, 0, ""},
		{"HTTP/2 with prior knowledge", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", NotUpgrade, 0, ""},
		{"no upgrade", "GET /ws HTTP/1.1\r\nHost: h\r\n\r\n", NotUpgrade, 0, ""},
		{"another upgrade", ask(getWS, "Upgrade: h2c"), NotUpgrade, 0, ""},
		{"a post", "POST /ws HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi", NotUpgrade, 0, ""},

		{"wrong version", ask(getWS, "Sec-WebSocket-Version: 8"), Refused, 426, "Sec-Websocket-Version: 13"},
		{"no version", ask(getWS, "Sec-WebSocket-Version:"), Refused, 400, ""},
		{"another method", ask("POST /ws HTTP/1.1"), Refused, 405, "Allow: GET"},
		{"HTTP/1.0", ask("GET /ws HTTP/1.0"), Refused, 505, ""},
		{"HTTP/2.0", ask("GET /ws HTTP/2.0"), Refused, 505, ""},
		{"no host", ask(getWS, "Host:"), Refused, 400, ""},
		{"no connection", ask(getWS, "Connection:"), Refused, 400, ""},
		{"wrong connection", ask(getWS, "Connection: close"), Refused, 400, ""},
		{"wrong connection twice", ask(getWS, "Connection: close", "Connection: keep-alive"), Refused, 400, ""},
		{"no key", ask(getWS, "Sec-WebSocket-Key:"), Refused, 400, ""},
		{"short key", ask(getWS, "Sec-WebSocket-Key: dGhlIHNhbXBsZQ=="), Refused, 400, ""},
		{"key that is no base64", ask(getWS, "Sec-WebSocket-Key: ************************"), Refused, 400, ""},
		{"a space before the colon", ask(getWS, "X : x"), Refused, 400, ""},
		{"two keys", ask(getWS, good[4], "Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw=="), Refused, 400, ""},
		{"host twice", ask(getWS, "Host: h", "Host: i"), Refused, 400, ""},
		{"empty subprotocol", ask(getWS, "Sec-WebSocket-Protocol: "), Refused, 400, ""},
		{"a body", ask(getWS, "Content-Length: 5"), Refused, 400, ""},
		{"a chunked body", ask(getWS, "Transfer-Encoding: chunked"), Refused, 400, ""},
		{"a folded line", ask(getWS, "X: a\r\n b"), Refused, 400, ""},
		{"a line without a colon", ask(getWS, "X"), Refused, 400, ""},
		{"origin that is not allowed", ask(getWS, "Origin: https://evil.example"), Refused, 403, ""},
		{"origin null", ask(getWS, "Origin: null"), Refused, 403, ""},
		{"two origins", ask(getWS, "Origin: https://good.example", "Origin: https://good.example"), Refused, 400, ""},
		{"TLS", "\x16\x03\x01", Refused, 400, ""},
		{"an empty line first", "\r\nGET", Refused, 400, ""},
		{"no version in the request line", "GET /ws\r\n", Refused, 400, ""},
		{"no request line", "hello\r\n", Refused, 400, ""},
		{"an endless line", "GET /" + strings.Repeat("x", 5000), Refused, 414, ""},
		{"an endless header", "GET /ws HTTP/1.1\r\nX: " + strings.Repeat("x", 5000), Refused, 431, ""},
		{"endless headers", "GET /ws HTTP/1.1\r\n" + strings.Repeat("X: x\r\n", 5000), Refused, 431, ""},

		{"nothing", "", More, 0, ""},
		{"half a line", "GET /wher", More, 0, ""},
		{"half the headers", ask(getWS)[:60], More, 0, ""},
		{"all but one byte", strings.TrimSuffix(ask(getWS), "\n"), More, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			buf := []byte(tt.request)
			st, n, response, req, err := shake.Parse(buf)
			if st != tt.state {
				t.Fatalf("state %v (%v), want %v", st, err, tt.state)
			}
			if string(buf) != tt.request {
				t.Error("Parse changed its argument")
			}
			if (req != nil) != (st == Accepted) || (err != nil) != (st == Refused) || (n != 0) != (st == Accepted) {
				t.Errorf("n %d, request %v and error %v with %v", n, req, err, st)
			}
			if st == Accepted && n != len(buf) {
				t.Errorf("took %d of %d bytes", n, len(buf))
			}
			checkHTTP(t, response, tt.status, tt.header, err)
		})
	}
}

// checkHTTP reads a response as any HTTP client does.
func checkHTTP(t *testing.T, response []byte, status int, header string, err error) {
	t.Helper()
	if status == 0 {
		if len(response) != 0 {
			t.Errorf("a response: %q", response)
		}
		return
	}
	rd := bufio.NewReader(bytes.NewReader(response))
	r, rerr := http.ReadResponse(rd, nil)
	if rerr != nil {
		t.Fatalf("%v in %q", rerr, response)
	}
	defer r.Body.Close()
	if r.StatusCode != status {
		t.Fatalf("status %s, want %d", r.Status, status)
	}
	if name, value, ok := strings.Cut(header, ": "); ok && r.Header.Get(name) != value {
		t.Errorf("%s is %q, want %q", name, r.Header.Get(name), value)
	}
	if r.Header.Get("Sec-Websocket-Extensions") != "" {
		t.Error("an extension was negotiated")
	}
	if status == http.StatusSwitchingProtocols {
		if header == "" && r.Header.Get("Sec-Websocket-Protocol") != "" {
			t.Error("a subprotocol was chosen")
		}
		return
	}
	body, _ := io.ReadAll(r.Body)
	if len(body) == 0 || r.ContentLength != int64(len(body)) || rd.Buffered() != 0 {
		t.Errorf("a body of %d bytes, %d announced", len(body), r.ContentLength)
	}
	if !r.Close {
		t.Error("the response does not say that the connection closes")
	}
	he, ok := errors.AsType[*HandshakeError](err)
	if !ok || he.Status != status || he.Reason == "" || !strings.Contains(he.Error(), he.Reason) {
		t.Errorf("error %v for status %d", err, status)
	}
}

func TestRequest(t *testing.T) {
	t.Parallel()
	head := ask("GET http://h/ws?token=t&x HTTP/1.1", "Origin: https://good.example", "authorization:  Bearer abc ",
		"Sec-WebSocket-Protocol: jetwire.v1.json", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-For: 10.0.0.2")
	frames := encode(true, text("early"))
	st, n, _, req, err := shake.Parse(append([]byte(head), frames...))
	if st != Accepted || n != len(head) {
		t.Fatalf("%v, %d of %d bytes, %v", st, n, len(head), err)
	}
	if req.Path != "/ws" || req.Query != "token=t&x" || req.Host != "h" || req.Origin != "https://good.example" ||
		req.Protocol != "jetwire.v1.json" {
		t.Errorf("%+v", req)
	}
	for name, want := range map[string]string{"Authorization": "Bearer abc", "x-forwarded-for": "10.0.0.1", "X-None": ""} {
		if got := req.Header(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

// A request in single bytes must be searched once, and its path asked about once.
func TestResumeByBytes(t *testing.T) {
	t.Parallel()
	for _, eol := range []string{"\r\n", "\n"} {
		asked := 0
		h := Handshake{Path: func(string) bool { asked++; return true }}
		request := []byte(strings.ReplaceAll(ask(getWS, "X: "+strings.Repeat("x", 3000)), "\r\n", eol))
		for n := 1; n <= len(request); n++ {
			st, took, _, _, err := h.Resume(request[:n], n-1)
			want := More
			if n == len(request) {
				want = Accepted
			}
			if st != want || st == Accepted && took != n {
				t.Fatalf("after %d of %d bytes: %v, %d taken, %v", n, len(request), st, took, err)
			}
		}
		if asked != 1 {
			t.Errorf("the path was asked about %d times", asked)
		}
	}
}

func TestZeroHandshake(t *testing.T) {
	t.Parallel()
	var h Handshake
	tests := []struct {
		request string
		state   State
	}{
		{ask("GET /anything HTTP/1.1"), Accepted},
		{ask(getWS, "Origin: http://h"), Accepted},
		{ask(getWS, "Origin: http://other"), Refused},
		{ask(getWS, "Sec-WebSocket-Protocol: any"), Accepted},
		{ask(getWS, "X: "+strings.Repeat("x", DefaultMaxHandshake)), Refused},
	}
	for _, tt := range tests {
		if st, _, _, _, err := h.Parse([]byte(tt.request)); st != tt.state {
			t.Errorf("%.60q: %v (%v), want %v", tt.request, st, err, tt.state)
		}
	}
}

func TestSameOrigin(t *testing.T) {
	t.Parallel()
	tests := []struct {
		origin, host string
		want         bool
	}{
		{"https://chat.example", "chat.example", true},
		{"https://Chat.Example", "chat.example:443", true},
		{"http://chat.example:80", "chat.example", true},
		{"http://127.0.0.1:8080", "127.0.0.1:8080", true},
		{"http://[::1]:8080", "[::1]:8080", true},
		{"https://chat.example", "chat.example:80", false},
		{"https://chat.example:8443", "chat.example", false},
		{"https://chat.example.evil", "chat.example", false},
		{"https://evil.example", "chat.example", false},
		{"null", "null", false},
		{"", "", false},
		{"file://", "", false},
	}
	for _, tt := range tests {
		if got := SameOrigin(tt.origin, tt.host); got != tt.want {
			t.Errorf("SameOrigin(%q, %q) = %v", tt.origin, tt.host, got)
		}
	}
}

// FuzzHandshake parses arbitrary bytes whole and byte by byte: the answer must be the same.
func FuzzHandshake(f *testing.F) {
	f.Add([]byte(ask(getWS) + "frames"))
	f.Add([]byte(ask(getWS, "Upgrade: h2c, websocket", "Connection: x", "Connection: upgrade")))
	f.Add([]byte(ask("POST /ws HTTP/1.1", "Origin: https://good.example", "Sec-WebSocket-Protocol: a, b")))
	f.Add([]byte("GET http://x HTTP/1.1\n\n"))
	f.Add([]byte("GET /other HTTP/1.1\r\n"))
	h := shake
	h.MaxBytes = 400
	f.Fuzz(func(t *testing.T, p []byte) {
		before := bytes.Clone(p)
		st, n, response, req, err := h.Parse(p)
		if !bytes.Equal(p, before) {
			t.Fatal("Parse changed its argument")
		}
		if st == Accepted && (n == 0 || n > len(p) || req.Path != "/ws" || req.Header("host") != req.Host) {
			t.Fatalf("accepted with n %d of %d and %+v", n, len(p), req)
		}
		if st == Accepted || st == Refused {
			if _, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(response)), nil); err != nil {
				t.Fatalf("%v in %q", err, response)
			}
		}
		for i := 1; i <= len(p); i++ {
			st2, n2, response2, _, err2 := h.Resume(p[:i], i-1)
			if st2 == More && i < len(p) {
				continue
			}
			if st2 != st || n2 != n || !bytes.Equal(response, response2) || (err == nil) != (err2 == nil) {
				t.Fatalf("whole %v, %d, %q; by bytes at %d: %v, %d, %q", st, n, response, i, st2, n2, response2)
			}
			return
		}
	})
}
