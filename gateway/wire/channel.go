package wire

import (
	"strconv"
	"strings"
)

// reservedNamespace is the first token of subjects that Jetwire uses for itself.
const reservedNamespace = "jetwire"

// ValidChannel checks s against the grammar of channel names; what it returns is nil or an *Error with BadChannel.
//
//	channel   = namespace 1*("." token)           ; at most MaxChannel bytes, "jetwire" is no namespace
//	namespace = 1*(ALPHA / DIGIT / "_" / "-")     ; not beginning with "_"
//	token     = 1*char                            ; not beginning with "$"
//	char      = %x21-7E except "." "*" ">"
func ValidChannel(s string) error {
	if why := checkChannel(s); why != "" {
		return BadChannel.With(why)
	}
	return nil
}

func checkChannel(s string) string {
	if why := checkSubject(s, false); why != "" {
		return "channel: " + why
	}
	return ""
}

// ValidPattern checks s against the grammar of patterns: a channel name in which any token may be "*" and the last one ">".
// ">" alone matches every channel.
func ValidPattern(s string) error {
	if why := checkPattern(s); why != "" {
		return BadChannel.With(why)
	}
	return nil
}

func checkPattern(s string) string {
	if s == ">" {
		return ""
	}
	if why := checkSubject(s, true); why != "" {
		return "pattern: " + why
	}
	return ""
}

// IsPattern reports whether a valid channel or pattern is a pattern.
func IsPattern(s string) bool { return strings.ContainsAny(s, "*>") }

// ValidSubscription checks what a subscription may name: a channel, or a pattern whose first token, the namespace, is no wildcard.
// What it returns is nil or an *Error with BadChannel.
func ValidSubscription(s string) error {
	if why := checkSubscription(s); why != "" {
		return BadChannel.With(why)
	}
	return nil
}

func checkSubscription(s string) string {
	switch {
	case !IsPattern(s):
		return checkChannel(s)
	case s[0] == '*' || s[0] == '>':
		return "pattern: the first token is the namespace and cannot be a wildcard in a subscription"
	}
	return checkPattern(s)
}

func checkSubject(s string, pattern bool) string {
	switch {
	case s == "":
		return "it is empty"
	case len(s) > MaxChannel:
		return "it is longer than 200 bytes"
	}
	tokens := 0
	for rest, more := s, true; more; tokens++ {
		var token string
		token, rest, more = strings.Cut(rest, ".")
		if why := checkToken(token, tokens == 0, pattern, !more); why != "" {
			return why
		}
	}
	if tokens < 2 {
		return "a namespace alone is no channel; at least two tokens, joined by a dot, are needed"
	}
	return ""
}

func checkToken(t string, first, pattern, last bool) string {
	switch {
	case t == "":
		return "a token is empty"
	case pattern && (t == "*" || t == ">" && last):
		return ""
	case t[0] == '$':
		return "a token begins with $"
	case first && t == reservedNamespace:
		return "the namespace jetwire is reserved"
	case first && t[0] == '_': // such as _INBOX, where NATS's answers go
		return "a namespace that begins with _ is NATS's own"
	}
	for i := range len(t) {
		c := t[i]
		switch {
		case c <= ' ' || c >= 0x7f:
			return "only printable ASCII without spaces is allowed"
		case c == '*' || c == '>':
			if pattern {
				return "* must be a token of its own, and > the last one"
			}
			return "* and > are not allowed"
		case first && !nameByte(c):
			return "the first token, the namespace, may hold only letters, digits, _ and -"
		}
	}
	return ""
}

func nameByte(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_' || c == '-'
}

// ValidID checks a message id: 1 to MaxID bytes of printable ASCII without spaces, so that it survives a NATS header.
// What it returns is nil or an *Error with BadRequest.
func ValidID(s string) error {
	if why := checkPrintable(s, MaxID); why != "" {
		return BadRequest.With("id: " + why)
	}
	return nil
}

// ValidDevice checks a device id: 1 to MaxDevice bytes of printable ASCII without spaces. What it returns is nil or an
// *Error with BadRequest.
func ValidDevice(s string) error {
	if why := checkPrintable(s, MaxDevice); why != "" {
		return BadRequest.With("device: " + why)
	}
	return nil
}

func checkPrintable(s string, most int) string {
	if s == "" || len(s) > most {
		return "1 to " + strconv.Itoa(most) + " bytes are needed"
	}
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f {
			return "only printable ASCII without spaces is allowed"
		}
	}
	return ""
}

// Match reports whether a valid pattern matches a valid channel: "*" stands for one token, a final ">" for one or more.
func Match(pattern, channel string) bool {
	for {
		p, pRest, pMore := strings.Cut(pattern, ".")
		if p == ">" && !pMore {
			return true
		}
		c, cRest, cMore := strings.Cut(channel, ".")
		if p != "*" && p != c {
			return false
		}
		if !pMore || !cMore {
			return pMore == cMore
		}
		pattern, channel = pRest, cRest
	}
}

// Covers reports whether everything that the subscription s brings, be it a channel or a pattern, matches the pattern. Both are valid.
func Covers(pattern, s string) bool {
	if strings.HasSuffix(s, ">") && !strings.HasSuffix(pattern, ">") {
		return false // a final > stands for any number of tokens, which only another > matches
	}
	return Match(pattern, s)
}

// Namespace returns the first token of a channel.
func Namespace(channel string) string {
	ns, _, _ := strings.Cut(channel, ".")
	return ns
}
