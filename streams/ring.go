package streams

import (
	"sort"
	"sync"
)

// ring holds a stream's most recent messages, bounded by bytes.
type ring struct {
	max int64

	mu    sync.RWMutex
	buf   []*Message // a circle; len is a power of two
	start int
	n     int
	bytes int64
}

// messageOverhead is what a message costs besides channel and body, roughly: 96 bytes of its own, id and sender, and what memory is lost between.
const messageOverhead = 160

func cost(m *Message) int64 { return int64(len(m.Body)+len(m.Channel)) + messageOverhead }

func (r *ring) at(i int) *Message { return r.buf[(r.start+i)&(len(r.buf)-1)] }

// add appends messages that come after all that are there.
func (r *ring) add(batch []*Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range batch {
		if r.n == len(r.buf) {
			r.growLocked()
		}
		r.buf[(r.start+r.n)&(len(r.buf)-1)] = m
		r.n++
		r.bytes += cost(m)
	}
	for r.n > 0 && r.bytes > r.max {
		r.popLocked()
	}
}

func (r *ring) growLocked() {
	next := make([]*Message, max(64, 2*len(r.buf)))
	for i := range r.n {
		next[i] = r.at(i)
	}
	r.buf, r.start = next, 0
}

func (r *ring) popLocked() {
	r.bytes -= cost(r.at(0))
	r.buf[r.start] = nil
	r.start = (r.start + 1) & (len(r.buf) - 1)
	r.n--
}

// fill puts the messages of these sequences, where the ring has them, at their places in dst, and returns how many it had.
func (r *ring) fill(dst []*Message, seqs []uint64) (hits int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.n == 0 {
		return 0
	}
	oldest := r.at(0).Seq
	for i, seq := range seqs {
		if seq < oldest {
			continue
		}
		k := sort.Search(r.n, func(k int) bool { return r.at(k).Seq >= seq })
		if k < r.n && r.at(k).Seq == seq && r.at(k).Channel != "" {
			dst[i] = r.at(k)
			hits++
		}
	}
	return hits
}

// matchRun is how many messages match looks at before others may have the lock.
const matchRun = 1024

// match appends the messages that match a pattern, from one sequence on, and tells how far it looked, until at most; 0: the ring does not reach
// back so far. What the ring lacks in between is named by one range, 0 if there is nothing.
func (r *ring) match(dst []*Message, pattern string, from, until uint64) (found []*Message, upto, lostFrom, lostTo uint64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.n == 0 || r.at(0).Seq > from {
		return dst, 0, 0, 0
	}
	upto = from - 1
	lacks := func(from, to uint64) {
		if lostTo == 0 {
			lostFrom = from
		}
		lostTo = to
	}
	k := sort.Search(r.n, func(k int) bool { return r.at(k).Seq >= from })
	for end := min(k+matchRun, r.n); k < end; k++ {
		m := r.at(k)
		if m.Seq > upto+1 {
			lacks(upto+1, min(m.Seq-1, until))
		}
		if upto = m.Seq; upto > until {
			break
		}
		if m.Channel == "" {
			lacks(m.Seq, m.Seq)
		} else if matches(pattern, m.Channel) {
			dst = append(dst, m)
		}
	}
	return dst, min(upto, until), lostFrom, lostTo
}

// get returns one message, or nil.
func (r *ring) get(seq uint64) *Message {
	var dst [1]*Message
	r.fill(dst[:], []uint64{seq})
	return dst[0]
}

// forget drops one message.
func (r *ring) forget(seq uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := sort.Search(r.n, func(k int) bool { return r.at(k).Seq >= seq })
	if k < r.n && r.at(k).Seq == seq {
		none := &Message{Seq: seq} // without a channel
		r.bytes -= cost(r.at(k)) - cost(none)
		r.buf[(r.start+k)&(len(r.buf)-1)] = none
	}
}

// trim drops what lies before first.
func (r *ring) trim(first uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.n > 0 && r.at(0).Seq < first {
		r.popLocked()
	}
}

// clear drops everything.
func (r *ring) clear() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf, r.start, r.n, r.bytes = nil, 0, 0, 0
}

func (r *ring) size() int64 {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.bytes
}
