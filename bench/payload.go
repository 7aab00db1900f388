package bench

import (
	"bytes"
	"strconv"
)

// MinPayload is the least body a message can have: it carries when it was meant to be sent, and its number.
const MinPayload = len(`{"t":,"n":,"p":""}`) + 19 + 10

// appendPayload appends a body of size bytes (more only if the numbers are longer than 29 digits in all): when the message
// was meant to be sent, in nanoseconds of this process's clock, and its number in its channel, from 1.
func appendPayload(dst []byte, sent int64, n uint64, size int) []byte {
	from := len(dst)
	dst = append(dst, `{"t":`...)
	dst = strconv.AppendInt(dst, sent, 10)
	dst = append(dst, `,"n":`...)
	dst = strconv.AppendUint(dst, n, 10)
	dst = append(dst, `,"p":"`...)
	for len(dst)-from < size-2 {
		dst = append(dst, padding[:min(len(padding), size-2-(len(dst)-from))]...)
	}
	return append(dst, `"}`...)
}

const padding = "the quick brown fox jumps over the lazy dog and runs on into the woods; "

// scanPayload reads what appendPayload wrote, and returns what follows it.
func scanPayload(p []byte) (sent int64, n uint64, rest []byte, ok bool) {
	p, ok = after(p, `{"t":`)
	if !ok {
		return 0, 0, nil, false
	}
	t, p, ok := digits(p)
	if !ok || t > 1<<62 {
		return 0, 0, nil, false
	}
	if p, ok = after(p, `,"n":`); !ok {
		return 0, 0, nil, false
	}
	if n, p, ok = digits(p); !ok {
		return 0, 0, nil, false
	}
	if p, ok = after(p, `,"p":"`); !ok {
		return 0, 0, nil, false
	}
	end := bytes.IndexByte(p, '"')
	if end < 0 || end > 0 && p[end-1] == '\\' {
		return 0, 0, nil, false
	}
	rest, ok = after(p[end:], `"}`)
	return int64(t), n, rest, ok
}
