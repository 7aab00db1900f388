package streams

// place is where a consumer's message stands.
type place struct {
	sseq, cseq uint64
	time       int64 // Unix ns
	pending    uint64
}

const ackPrefix = "$JS.ACK."

// parseAckSubject reads $JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>, or with <domain>.<account>.
// before the stream and possibly more tokens at the end.
func parseAckSubject[T string | []byte](s T) (p place, ok bool) {
	_, at := consumerIn(s)
	at = tokenEnd(s, at+1) // how often it was delivered
	var n [4]uint64
	for i := range n {
		from := min(at+1, len(s))
		at = tokenEnd(s, from)
		if n[i], ok = decimal(s[from:at]); !ok {
			return p, false
		}
	}
	return place{n[0], n[1], int64(n[2]), n[3]}, true
}

// consumerIn returns where the consumer's name begins and ends in such a subject; nothing lies behind the end of another one.
func consumerIn[T string | []byte](s T) (from, to int) {
	if len(s) < len(ackPrefix) || string(s[:len(ackPrefix)]) != ackPrefix {
		return len(s), len(s)
	}
	dots := 0
	for i := len(ackPrefix); i < len(s); i++ {
		if s[i] == '.' {
			dots++
		}
	}
	from = len(ackPrefix)
	if dots >= 8 {
		from = tokenEnd(s, tokenEnd(s, from)+1) + 1
	}
	from = min(tokenEnd(s, from)+1, len(s))
	return from, tokenEnd(s, from)
}

// tokenEnd returns where the token ends that begins at a place.
func tokenEnd[T string | []byte](s T, at int) int {
	for at < len(s) && s[at] != '.' {
		at++
	}
	return min(at, len(s))
}

// decimal reads a number.
func decimal[T string | []byte](s T) (n uint64, ok bool) {
	for i := range len(s) {
		d := uint64(s[i] - '0')
		if d > 9 || n > (1<<64-1-d)/10 {
			return 0, false
		}
		n = n*10 + d
	}
	return n, len(s) > 0
}
