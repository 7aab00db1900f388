package wsock

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 6455 names it; nothing is secured by it
	"encoding/base64"
	"errors"
	"fmt"
)

// ErrMore is what ParseResponse returns while the response is incomplete.
var ErrMore = errors.New("websocket: the handshake's response is incomplete")

// ErrBadResponse is wrapped by what ParseResponse returns for a response that breaks HTTP or RFC 6455.
var ErrBadResponse = errors.New("websocket: bad handshake response")

// StatusError is an answer other than 101 Switching Protocols.
type StatusError struct {
	Status int
	Line   string // the status line
}

func (e *StatusError) Error() string { return "websocket handshake answered with " + e.Line }

// ClientHandshake returns the request that opens a connection, and its key for ParseResponse. path may carry a query.
// Each header is a whole line without its end, such as "Sec-WebSocket-Protocol: jetwire.v1.json".
func ClientHandshake(host, path string, header ...string) (request []byte, key string) {
	var nonce [16]byte
	_, _ = rand.Read(nonce[:]) // never fails: it ends the program rather
	key = base64.StdEncoding.EncodeToString(nonce[:])
	request = fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", path, host, key)
	for _, line := range header {
		request = append(append(request, line...), "\r\n"...)
	}
	return append(request, "\r\n"...), key
}

// ParseResponse reads the answer to ClientHandshake from all bytes received so far. Frames begin at n. The caller
// checks that protocol, empty if none was chosen, is one that it offered. Errors: ErrMore, *StatusError, ErrBadResponse.
func ParseResponse(buf []byte, key string) (n int, protocol string, err error) {
	if n = endOfHead(buf[:min(len(buf), DefaultMaxHandshake)], 0); n == 0 {
		if len(buf) >= DefaultMaxHandshake {
			return 0, "", fmt.Errorf("%w: headers too large", ErrBadResponse)
		}
		return 0, "", ErrMore
	}
	line, rest := cutLine(buf[:n])
	if len(line) < 12 || !bytes.HasPrefix(line, []byte("HTTP/1.1 ")) {
		return 0, "", fmt.Errorf("%w: no HTTP/1.1 status line", ErrBadResponse)
	}
	status := 0
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return 0, "", fmt.Errorf("%w: no HTTP/1.1 status line", ErrBadResponse)
		}
		status = 10*status + int(c-'0')
	}
	if status != 101 {
		return 0, "", &StatusError{status, string(line)}
	}
	protocol, err = checkResponse(rest, key)
	if err != nil {
		return 0, "", err
	}
	return n, protocol, nil
}

// checkResponse checks the headers of a 101 as RFC 6455, 4.1 lists it.
func checkResponse(lines []byte, key string) (protocol string, err error) {
	var upgrade, connection, accept bool
	want := acceptKey(key)
	for {
		var line []byte
		if line, lines = cutLine(lines); len(line) == 0 {
			break
		}
		name, value, ok := bytes.Cut(line, []byte{':'})
		if !ok || !allToken(name) {
			return "", fmt.Errorf("%w: malformed header", ErrBadResponse)
		}
		value = trim(value)
		switch {
		case equalFold(name, "upgrade"):
			upgrade = equalFold(value, "websocket")
		case equalFold(name, "connection"):
			connection = connection || hasToken(value, "upgrade")
		case equalFold(name, "sec-websocket-accept"):
			accept = string(value) == want
		case equalFold(name, "sec-websocket-protocol"):
			protocol = string(value)
		case equalFold(name, "sec-websocket-extensions") && len(value) > 0:
			return "", fmt.Errorf("%w: an extension that was not offered", ErrBadResponse)
		}
	}
	switch {
	case !upgrade:
		return "", fmt.Errorf("%w: no Upgrade: websocket", ErrBadResponse)
	case !connection:
		return "", fmt.Errorf("%w: no Connection: Upgrade", ErrBadResponse)
	case !accept:
		return "", fmt.Errorf("%w: wrong Sec-WebSocket-Accept", ErrBadResponse)
	}
	return protocol, nil
}

// acceptKey is what a server makes of a key (RFC 6455, 4.2.2).
func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) //nolint:gosec // as above
	return base64.StdEncoding.EncodeToString(sum[:])
}
