package wsock

import (
	"bytes"
	"encoding/base64"
)

// scanned is what one pass over a request's head finds. Its slices lie in the head.
type scanned struct {
	target, host, origin, key []byte

	upgrade  bool // an Upgrade header names websocket
	unusual  bool // lawful, but in a form that ws.Upgrader does not take: see canonicalHead
	repeated bool // a header that may occur once occurs again
	body     bool // a body is announced
}

// scanHead reads a whole head. It is not ok when HTTP's grammar is broken in a way that could be read in two ways.
func scanHead(head []byte) (s scanned, ok bool) {
	line, rest := cutLine(head)
	if s.target, ok = requestTarget(line); !ok {
		return s, false
	}
	var seen struct{ host, origin, key, version, upgrade, connection bool }
	once := func(flag *bool) { s.repeated, *flag = s.repeated || *flag, true }
	for {
		if line, rest = cutLine(rest); len(line) == 0 {
			return s, true
		}
		name, value, found := bytes.Cut(line, []byte{':'})
		if !found || !allToken(name) {
			return s, false // also a folded line, and a space before the colon (RFC 9112, 5.1 and 5.2)
		}
		value = trim(value)
		switch {
		case equalFold(name, "host"):
			once(&seen.host)
			s.host = value
		case equalFold(name, "origin"):
			once(&seen.origin)
			s.origin = value
		case equalFold(name, "sec-websocket-key"):
			once(&seen.key)
			s.key = value
		case equalFold(name, "sec-websocket-version"):
			once(&seen.version)
		case equalFold(name, "upgrade"):
			s.unusual = s.unusual || seen.upgrade || !equalFold(value, "websocket")
			s.upgrade = s.upgrade || hasToken(value, "websocket")
			seen.upgrade = true
		case equalFold(name, "connection"):
			s.unusual = s.unusual || seen.connection
			seen.connection = true
		case equalFold(name, "content-length"):
			s.body = s.body || string(value) != "0"
		case equalFold(name, "transfer-encoding"):
			s.body = true
		}
	}
}

// canonicalHead rewrites a head whose Upgrade is a list, or whose Upgrade or Connection stand on several lines, into
// the form that ws.Upgrader takes: one line each. A Connection that does not name upgrade stays without it.
func canonicalHead(head []byte) []byte {
	line, rest := cutLine(head)
	out := append(append(make([]byte, 0, len(head)+64), line...), "\r\nUpgrade: websocket\r\n"...)
	connection := false
	for {
		if line, rest = cutLine(rest); len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte{':'})
		switch {
		case equalFold(name, "upgrade"):
		case equalFold(name, "connection"):
			connection = connection || hasToken(value, "upgrade")
		default:
			out = append(append(out, line...), "\r\n"...)
		}
	}
	if connection {
		out = append(out, "Connection: Upgrade\r\n"...)
	}
	return append(out, "\r\n"...)
}

// endOfHead returns where the empty line that ends a head ends, or 0. The first seen bytes hold no such end.
func endOfHead(b []byte, seen int) int {
	for i := max(0, seen-2); ; {
		j := bytes.IndexByte(b[i:], '\n')
		if j < 0 {
			return 0
		}
		i += j + 1
		switch next := b[i:]; {
		case len(next) > 0 && next[0] == '\n':
			return i + 1
		case len(next) > 1 && next[0] == '\r' && next[1] == '\n':
			return i + 2
		}
	}
}

// cutLine returns the first line without its end, LF or CRLF, and what follows.
func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte{'\n'})
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	return line, rest
}

// requestTarget returns the target of a request line of three parts whose last is an HTTP version.
func requestTarget(line []byte) ([]byte, bool) {
	method, rest, _ := bytes.Cut(line, []byte{' '})
	target, version, ok := bytes.Cut(rest, []byte{' '})
	if !ok || !allToken(method) || len(target) == 0 || len(version) != 8 {
		return nil, false
	}
	digits := version[5] >= '0' && version[5] <= '9' && version[6] == '.' && version[7] >= '0' && version[7] <= '9'
	return target, digits && string(version[:5]) == "HTTP/"
}

// splitTarget returns path and query of a target in origin form ("/ws?x") or absolute form ("http://host/ws?x").
func splitTarget(target []byte) (path, query []byte) {
	path, query, _ = bytes.Cut(target, []byte{'?'})
	if i := bytes.Index(path, []byte("://")); i > 0 && path[0] != '/' {
		path = path[i+3:]
		if i = bytes.IndexByte(path, '/'); i < 0 {
			return []byte{'/'}, query
		}
		path = path[i:]
	}
	return path, query
}

// validKey reports whether key is the base64 of 16 bytes (RFC 6455, 4.2.1).
func validKey(key []byte) bool {
	var raw [18]byte
	if len(key) != 24 {
		return false
	}
	n, err := base64.StdEncoding.Decode(raw[:], key)
	return err == nil && n == 16
}

func trim(b []byte) []byte { return bytes.Trim(b, " \t") }

// hasToken reports whether the comma-separated list holds token, in any case.
func hasToken(list []byte, token string) bool {
	for more := true; more; {
		var item []byte
		item, list, more = bytes.Cut(list, []byte{','})
		if equalFold(trim(item), token) {
			return true
		}
	}
	return false
}

// equalFold compares ASCII without case.
func equalFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i := range b {
		if lower(b[i]) != lower(s[i]) {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

func allToken(b []byte) bool {
	for _, c := range b {
		if !isToken[c] {
			return false
		}
	}
	return len(b) > 0
}

// isToken holds RFC 9110's token characters, of which methods and header names are made.
var isToken = func() (t [256]bool) {
	for c := '0'; c <= '9'; c++ {
		t[c] = true
	}
	for c := 'a'; c <= 'z'; c++ {
		t[c], t[c&^0x20] = true, true
	}
	for _, c := range "!#$%&'*+-.^_`|~" {
		t[c] = true
	}
	return t
}()
