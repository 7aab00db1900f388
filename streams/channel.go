package streams

import "fmt"

const (
	maxChannel  = 200
	maxIdentity = 256 // bytes of an id or a sender
	livePrefix  = "jetwire.live."
	reserved    = "jetwire"
)

// namespaceOf returns the namespace of a channel, or why it is no channel: a NATS subject of at least two tokens, printable ASCII, at most
// 200 bytes, no wildcards, no token that begins with $, and a first token of letters, digits, _ and - that is not "jetwire" and does
// not begin with _, as _INBOX and others of NATS's own do: a stream there would take what servers and clients answer each other.
func namespaceOf(channel string) (string, error) {
	if len(channel) == 0 || len(channel) > maxChannel {
		return "", fmt.Errorf("%w: it must have 1 to %d bytes", ErrBadChannel, maxChannel)
	}
	first, start := -1, 0
	for i := 0; i <= len(channel); i++ {
		if i == len(channel) || channel[i] == '.' {
			if i == start {
				return "", fmt.Errorf("%w: empty token", ErrBadChannel)
			}
			if first < 0 {
				first = i
			}
			start = i + 1
			continue
		}
		c := channel[i]
		switch {
		case c <= ' ' || c >= 0x7f || c == '*' || c == '>':
			return "", fmt.Errorf("%w: byte %q", ErrBadChannel, c)
		case c == '$' && i == start:
			return "", fmt.Errorf("%w: a token begins with $", ErrBadChannel)
		case first < 0 && !nameByte(c):
			return "", fmt.Errorf("%w: byte %q in the namespace", ErrBadChannel, c)
		}
	}
	if first == len(channel) {
		return "", fmt.Errorf("%w: a namespace alone", ErrBadChannel)
	}
	if isReserved(channel[:first]) {
		return "", fmt.Errorf("%w: the namespace %q is reserved", ErrBadChannel, channel[:first])
	}
	return channel[:first], nil
}

func nameByte(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '_' || c == '-'
}

// isReserved reports whether a namespace would be Jetwire's or NATS's own.
func isReserved(namespace string) bool { return namespace == reserved || namespace[0] == '_' }

// validNamespace reports whether a policy may have this name.
func validNamespace(s string) bool {
	if s == "" || len(s) > maxChannel-2 || isReserved(s) {
		return false
	}
	for i := range len(s) {
		if !nameByte(s[i]) {
			return false
		}
	}
	return true
}
