package index

import (
	"runtime"
	"slices"
)

const (
	matchChannels = 512  // channels that Match looks at before others may have the lock
	matchEntries  = 4096 // or entries that it takes
)

// Found is one message that Match found.
type Found struct {
	Seq     uint64
	channel uint32
}

// Matched is what Match found.
type Matched struct {
	Found   []Found // ascending by Seq
	Through uint64  // Found holds all that match in (after, Through]
	// Dropped is the highest sequence that left one of the channels, as Dropped has it; 0: none.
	Dropped uint64
	// Full is the highest sequence before the oldest message of a channel that holds as many as SetMaxPerChannel allows, where that
	// is beyond after; 0: there is none. What the index was never told of may have left up to there.
	Full uint64
}

// Match gives the first n messages of all channels whose name matches, in (after, until], which must not be beyond the last one
// told. It takes time in proportion to the number of channels, and memory in proportion to n, but holds the lock only for
// short spells: nothing that is appended meanwhile is asked for, and what leaves a channel meanwhile is either found or counted
// in Dropped. It reports false when the index is not complete from after+1 on, or was not any more before the end.
// What has left below Trim's first is not told here.
func (x *Index) Match(match func(name []byte) bool, after, until uint64, n int) (m Matched, ok bool) {
	n = max(min(n, maxAnswer), 1)
	high := until // what lies above is not among the first n
	x.mu.Lock()
	defer x.mu.Unlock()
	resets := x.resets
	for id := uint32(1); id <= x.channels.top; {
		size := len(m.Found)
		for end := id + x.stretch; id <= x.channels.top && id < end && len(m.Found)-size < matchEntries; id++ {
			ch := x.channels.at(id)
			if ch.name == 0 || !match(x.name(ch)) {
				continue
			}
			m.Dropped = max(m.Dropped, ch.dropped, x.before(ch, x.first))
			m.Found = x.take(m.Found, id, ch, max(after+1, x.low()), high, n)
			if x.max > 0 && x.entries(ch) >= uint64(x.max) {
				if oldest := x.ascend(nil, ch, x.low(), ^uint64(0), 1); len(oldest) > 0 && oldest[0] > after+1 {
					m.Full = max(m.Full, oldest[0]-1)
				}
			}
		}
		x.mu.Unlock()
		if len(m.Found) >= 2*n {
			least(m.Found, n)
			m.Found = m.Found[:n]
			high = highest(m.Found)
		}
		runtime.Gosched() // whoever waits for the lock would seldom get it otherwise
		if x.between != nil {
			x.between()
		}
		x.mu.Lock()
		if x.resets != resets {
			return Matched{}, false
		}
	}
	if x.floor > after+1 && x.floor > x.first {
		return Matched{}, false
	}
	slices.SortFunc(m.Found, func(a, b Found) int {
		if a.Seq < b.Seq {
			return -1
		}
		return 1
	})
	m.Through = until
	if len(m.Found) >= n {
		m.Found = m.Found[:n]
		m.Through = m.Found[n-1].Seq
	}
	return m, true
}

// take appends the first n entries of a channel from lo to hi. Caller must hold mu.
func (x *Index) take(dst []Found, id uint32, ch *channel, lo, hi uint64, n int) []Found {
	var buf [blockEntries]uint64
	for n > 0 {
		seqs := x.ascend(buf[:0], ch, lo, hi, min(n, len(buf)))
		for _, seq := range seqs {
			dst = append(dst, Found{Seq: seq, channel: id})
		}
		if len(seqs) < len(buf) {
			break
		}
		n -= len(seqs)
		lo = seqs[len(seqs)-1] + 1
	}
	return dst
}

// RemoveFound is Remove for a message that Match found.
func (x *Index) RemoveFound(f Found) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if f.channel == 0 || f.channel > x.channels.top {
		return
	}
	// The number may be another channel's by now: that has other messages.
	if ch := x.channels.at(f.channel); ch.name != 0 && x.remove(ch, f.Seq) {
		ch.dropped = max(ch.dropped, f.Seq)
	}
}

// least moves the n least to the front, in any order.
func least(s []Found, n int) {
	for lo, hi := 0, len(s); hi-lo > 1; {
		pivot := s[lo+(hi-lo)/2].Seq
		i, j := lo, hi-1
		for i <= j {
			for s[i].Seq < pivot {
				i++
			}
			for s[j].Seq > pivot {
				j--
			}
			if i <= j {
				s[i], s[j] = s[j], s[i]
				i++
				j--
			}
		}
		switch {
		case n <= j:
			hi = j + 1
		case n >= i:
			lo = i
		default:
			return
		}
	}
}

func highest(s []Found) (seq uint64) {
	for i := range s {
		seq = max(seq, s[i].Seq)
	}
	return seq
}
