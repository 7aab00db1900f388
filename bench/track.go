package bench

// channel is one channel of a run, shared by the sockets that listen to it.
type channel struct {
	name  string
	index int
}

// nowhere is the index of a channel that nothing is published to.
const nowhere = -1

// verdict is what a delivery was, judged for one subscription of one socket.
type verdict uint8

const (
	inOrder    verdict = iota
	skipped            // messages before it are missing, so far
	reordered          // it was missing until now
	duplicated         // it had been delivered already
	foreign            // its body is not bench's
)

// maxHoles bounds what a track remembers of missing messages; older ones count as lost even if they still come.
const maxHoles = 256

// hole is a range of numbers, inclusive, that have not come.
type hole struct{ from, to uint64 }

// track follows the messages of one subscription by their numbers in the payload, which run from 1 without gaps.
type track struct {
	ch       *channel
	restored bool // the server knows the subscription: it is not asked for
	late     bool // it begins while messages are published: the first to come has any number
	changing bool // it, or its end, was asked for and not answered

	next  uint64 // the number expected, 0 standing for 1
	seq   uint64 // position in the log: of the last stored message, or of the subscription
	holes []hole
	gone  uint64 // missing, and forgotten by holes
	done  int64  // when the last of the messages awaited came, in the fleet's clock; 0: not yet
	got   uint64 // sequence of the last message; of what waits to be acknowledged, where acks are sent
	asked uint64 // last ack sent
	acked uint64 // last ack answered, or what the server had stored
	first uint64 // of a late one: the lowest number that came
	since uint64 // position of the subscription
	until uint64 // of a late one: the number up to which it is judged
	wrong uint64 // messages whose seq or prev contradicts their numbers
}

// see judges one delivery.
func (t *track) see(m *push) verdict {
	if m.n == 0 {
		return foreign
	}
	if t.next == 0 {
		t.next = 1
		if t.late {
			t.first, t.next = m.n, m.n
		}
	}
	v := inOrder
	switch {
	case m.n == t.next:
		t.next++
	case m.n > t.next:
		v = skipped
		t.miss(hole{t.next, m.n - 1})
		t.next = m.n + 1
	case m.n < t.first:
		v = reordered
		if m.n+1 < t.first {
			t.miss(hole{m.n + 1, t.first - 1})
		}
		t.first = m.n
	default:
		v = duplicated
		if t.fill(m.n) {
			v = reordered
		}
	}
	if m.stored {
		t.check(m, v)
	}
	return v
}

// check holds seq and prev against the verdict: nothing was missed if and only if prev is not past the position.
func (t *track) check(m *push, v verdict) {
	contradicts := m.prev >= m.seq
	switch v {
	case inOrder:
		contradicts = contradicts || m.seq <= t.seq || m.prev > t.seq
	case skipped:
		contradicts = contradicts || m.seq <= t.seq
	case reordered, duplicated:
		contradicts = contradicts || m.seq > t.seq
	}
	if contradicts {
		t.wrong++
	}
	t.seq = max(t.seq, m.seq)
	t.got = m.seq
}

func (t *track) miss(h hole) {
	if len(t.holes) == maxHoles {
		t.gone += t.holes[0].to - t.holes[0].from + 1
		t.holes = append(t.holes[:0], t.holes[1:]...)
	}
	t.holes = append(t.holes, h)
}

// fill takes n out of the hole it is in, if it is in one.
func (t *track) fill(n uint64) bool {
	for i, h := range t.holes {
		if n < h.from || n > h.to {
			continue
		}
		switch {
		case h.from == h.to:
			t.holes = append(t.holes[:i], t.holes[i+1:]...)
		case n == h.from:
			t.holes[i].from++
		case n == h.to:
			t.holes[i].to--
		default:
			t.holes[i].to = n - 1
			t.miss(hole{n + 1, h.to})
		}
		return true
	}
	return false
}

// lost is how many of the first published messages have not come. What the server refused to take (an error reply) is
// missing on every socket and no loss.
func (t *track) lost(published, refused uint64) uint64 {
	n := t.gone
	for _, h := range t.holes {
		n += h.to - h.from + 1
	}
	if next := max(t.next, 1); next <= published {
		n += published - (next - 1)
	}
	return n - min(n, refused)
}
