package wsock

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/gobwas/ws"
)

// DefaultMaxHandshake is what a Handshake without MaxBytes reads of a request, in bytes.
const DefaultMaxHandshake = 8 << 10

// Handshake says which upgrade requests are accepted. It is not changed by use and can be shared.
type Handshake struct {
	MaxBytes  int                            // of request line and headers; 0: DefaultMaxHandshake
	Path      func(path string) bool         // of the request target, without the query, not unescaped; nil: all
	Origin    func(origin, host string) bool // asked only when there is an Origin header; nil: SameOrigin
	Protocols []string                       // subprotocols known here; the client's first choice among them is taken
}

// State is what Parse found.
type State uint8

// The states.
const (
	More       State = iota // the headers are incomplete: call again when there is more
	NotUpgrade              // not for this Handshake: hand all bytes read to net/http
	Accepted                // send the response; frames begin at n
	Refused                 // send the response, which says why, and close
)

func (s State) String() string {
	return [...]string{"more", "not an upgrade", "accepted", "refused"}[s]
}

// Request is an accepted handshake. Its strings are its own.
type Request struct {
	Path     string // of the request target, not unescaped
	Query    string // after the question mark
	Host     string
	Origin   string
	Protocol string // the subprotocol chosen; empty: none
	head     []byte
}

// Header returns the value of the first header of that name. It reads from the bytes given to Parse, so it may be
// called only until they are overwritten.
func (r *Request) Header(name string) string {
	lines := r.head
	for len(lines) > 0 {
		var line []byte
		line, lines = cutLine(lines)
		if k, v, ok := bytes.Cut(line, []byte{':'}); ok && equalFold(k, name) {
			return string(trim(v))
		}
	}
	return ""
}

// HandshakeError says why a handshake was refused, and with which HTTP status.
type HandshakeError struct {
	Status int
	Reason string
}

func (e *HandshakeError) Error() string {
	return fmt.Sprintf("websocket handshake refused with %d: %s", e.Status, e.Reason)
}

// Parse looks at all bytes that a connection has brought so far and changes none of them. With Accepted, n is the size
// of the request: what follows it is frames. response is set with Accepted and Refused, req with Accepted, and err, a
// *HandshakeError, with Refused.
func (h *Handshake) Parse(buf []byte) (st State, n int, response []byte, req *Request, err error) {
	return h.Resume(buf, 0)
}

// Resume is Parse for a caller that has seen More for the first seen bytes of buf: it does not search those again.
func (h *Handshake) Resume(buf []byte, seen int) (st State, n int, response []byte, req *Request, err error) {
	if len(buf) == 0 {
		return More, 0, nil, nil, nil
	}
	limit := h.MaxBytes
	if limit <= 0 {
		limit = DefaultMaxHandshake
	}
	head := buf[:min(len(buf), limit)]
	seen = min(max(seen, 0), len(head))
	if !isToken[head[0]] {
		return refuse(http.StatusBadRequest, "not an HTTP request")
	}
	nl := bytes.IndexByte(head[seen:], '\n')
	if nl >= 0 && bytes.LastIndexByte(head[:seen], '\n') < 0 {
		// The request line has just become complete: whatever is not for this Handshake leaves now.
		line, _ := cutLine(head)
		target, ok := requestTarget(line)
		if !ok {
			return refuse(http.StatusBadRequest, "malformed request line")
		}
		if path, _ := splitTarget(target); h.Path != nil && !h.Path(string(path)) {
			return NotUpgrade, 0, nil, nil, nil
		}
	}
	if nl >= 0 {
		n = endOfHead(head, seen)
	}
	if n == 0 {
		if len(buf) < limit {
			return More, 0, nil, nil, nil
		}
		if bytes.IndexByte(head, '\n') < 0 {
			return refuse(http.StatusRequestURITooLong, "request line too long")
		}
		return refuse(http.StatusRequestHeaderFieldsTooLarge, "headers too large")
	}
	return h.decide(buf[:n])
}

// decide answers a whole request.
func (h *Handshake) decide(head []byte) (State, int, []byte, *Request, error) {
	s, ok := scanHead(head)
	switch {
	case !ok:
		return refuse(http.StatusBadRequest, "malformed header")
	case !s.upgrade:
		return NotUpgrade, 0, nil, nil, nil
	case s.repeated:
		return refuse(http.StatusBadRequest, "a header that may occur once was repeated")
	case s.body:
		return refuse(http.StatusBadRequest, "a handshake has no body")
	case s.key != nil && !validKey(s.key):
		return refuse(http.StatusBadRequest, `handshake error: bad "Sec-WebSocket-Key" header`)
	case s.origin != nil && !h.originAllowed(string(s.origin), string(s.host)):
		return refuse(http.StatusForbidden, "origin not allowed")
	}
	c := exchange{in: head}
	if s.unusual {
		c.in = canonicalHead(head)
	}
	u := ws.Upgrader{}
	if len(h.Protocols) > 0 {
		u.Protocol = h.knows
	}
	hs, err := u.Upgrade(&c)
	if err != nil {
		return refusedBy(err, c.out)
	}
	path, query := splitTarget(s.target)
	req := &Request{
		Path: string(path), Query: string(query), Host: string(s.host), Origin: string(s.origin),
		Protocol: hs.Protocol, head: head,
	}
	return Accepted, len(head), c.out, req, nil
}

func (h *Handshake) originAllowed(origin, host string) bool {
	if h.Origin != nil {
		return h.Origin(origin, host)
	}
	return SameOrigin(origin, host)
}

func (h *Handshake) knows(p []byte) bool {
	for _, known := range h.Protocols {
		if string(p) == known {
			return true
		}
	}
	return false
}

// SameOrigin reports whether a page of that origin was served by that host, as a browser compares them: the scheme's
// own port may be left out on either side.
func SameOrigin(origin, host string) bool {
	scheme, rest, ok := strings.Cut(origin, "://")
	if !ok || rest == "" {
		return false // "null": a file, a sandbox, a redirect
	}
	port := ":80"
	if strings.EqualFold(scheme, "https") {
		port = ":443"
	}
	return strings.EqualFold(strings.TrimSuffix(rest, port), strings.TrimSuffix(host, port))
}

// exchange is the connection that ws.Upgrader sees: the request's bytes, copied out because Upgrader writes to what it
// reads, and the response.
type exchange struct{ in, out []byte }

func (c *exchange) Read(p []byte) (int, error) {
	if len(c.in) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.in)
	c.in = c.in[n:]
	return n, nil
}

func (c *exchange) Write(p []byte) (int, error) {
	c.out = append(c.out, p...)
	return len(p), nil
}

// refuse is the refusal of a request before Upgrader has seen it.
func refuse(status int, reason string) (State, int, []byte, *Request, error) {
	response := fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nConnection: close\r\n"+
		"Content-Type: text/plain; charset=utf-8\r\nContent-Length: %d\r\n\r\n%s",
		status, http.StatusText(status), len(reason), reason)
	return Refused, 0, response, nil, &HandshakeError{status, reason}
}

// refusedBy is Upgrader's refusal, with the headers that HTTP wants beside those that it wrote.
func refusedBy(err error, written []byte) (State, int, []byte, *Request, error) {
	rejected, ok := errors.AsType[*ws.ConnectionRejectedError](err)
	if !ok || len(written) == 0 {
		return refuse(http.StatusBadRequest, "malformed HTTP request")
	}
	line, rest, _ := bytes.Cut(written, []byte("\r\n"))
	extra := "\r\nConnection: close\r\n"
	if rejected.StatusCode() == http.StatusMethodNotAllowed {
		extra += "Allow: GET\r\n"
	}
	response := append(append(append([]byte(nil), line...), extra...), rest...)
	return Refused, 0, response, nil, &HandshakeError{rejected.StatusCode(), rejected.Error()}
}
