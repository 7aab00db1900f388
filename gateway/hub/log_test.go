package hub

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/jetwire/jetwire/streams"
)

// modelLog is a namespace's stream, its tail and its index, as streams describes them, without NATS.
type modelLog struct {
	mu      sync.Mutex
	life    int                // number of the epoch
	stored  []*streams.Message // all that this epoch ever held, ascending: index i is sequence i+1
	removed map[uint64]bool
	first   uint64            // what lies before has left the log
	head    uint64            // the tail has come so far
	before  map[string]uint64 // channel -> the last sequence that the tail has seen
	hole    uint64            // up to here the tail was not shown everything: what follows on any channel does not know what it was
	failing bool
	rand    *rand.Rand    // how long reads take
	slow    time.Duration // at most
}

func newModelLog(seed uint64, slow time.Duration) *modelLog {
	l := &modelLog{rand: rand.New(rand.NewPCG(seed, 1)), slow: slow}
	l.begin(0)
	return l
}

func epochName(life int) string { return fmt.Sprintf("e%04d", life) }

// begin makes the stream anew. The caller holds mu, or nobody else has l.
func (l *modelLog) begin(life int) {
	l.life, l.stored, l.removed, l.before = life, nil, map[uint64]bool{}, map[string]uint64{}
	l.first, l.head, l.hole = 1, 0, 0
}

func (l *modelLog) Epoch() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return epochName(l.life)
}

func (l *modelLog) Head() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.head
}

func (l *modelLog) last() uint64 { return uint64(len(l.stored)) }

// store appends a message, which the tail has still to bring.
func (l *modelLog) store(channel string) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.storeLocked(channel)
}

func (l *modelLog) storeLocked(channel string) uint64 {
	m := &streams.Message{Channel: channel, Seq: l.last() + 1, ID: epochName(l.life)}
	l.stored = append(l.stored, m)
	return m.Seq
}

// anew makes the stream anew, with messages in it already.
func (l *modelLog) anew(channels []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begin(l.life + 1)
	for _, c := range channels {
		l.before[c] = l.storeLocked(c)
	}
	l.head = l.last()
}

// tail takes up to n messages that were stored, raises the head, and returns what Deliver gets. Those for which omit
// returns true the tail has lost; messages that have left the log meanwhile it was never shown.
func (l *modelLog) tail(n int, omit func() bool) []*streams.Message {
	l.mu.Lock()
	defer l.mu.Unlock()
	var batch []*streams.Message
	for ; n > 0 && l.head < l.last(); n-- {
		m := *l.stored[l.head]
		l.head++
		if l.removed[m.Seq] || m.Seq < l.first {
			l.hole = m.Seq
			continue
		}
		m.Prev = max(l.before[m.Channel], l.hole)
		l.before[m.Channel] = m.Seq
		if omit() { // the tail cannot know of which channel
			l.hole = m.Seq
			continue
		}
		batch = append(batch, &m)
	}
	return batch
}

func (l *modelLog) remove(seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if seq >= 1 && seq <= l.last() {
		l.removed[seq] = true
	}
}

func (l *modelLog) trim(n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.first = min(l.first+n, l.last()+1)
}

func (l *modelLog) gone(seq uint64) bool { return seq < l.first || l.removed[seq] }

// Page implements Log. It may take its time before and after it looks.
func (l *modelLog) Page(_ context.Context, r streams.PageRequest) (streams.Page, error) {
	l.pause()
	p, err := l.page(r)
	l.pause()
	if err == nil && l.Epoch() != p.epoch {
		return streams.Page{}, streams.ErrWrongEpoch
	}
	return p.Page, err
}

func (l *modelLog) pause() {
	l.mu.Lock()
	var d time.Duration
	if l.slow > 0 {
		d = time.Duration(l.rand.Int64N(int64(l.slow)))
	}
	l.mu.Unlock()
	time.Sleep(d)
}

type modelPage struct {
	streams.Page
	epoch string
}

func (l *modelLog) page(r streams.PageRequest) (modelPage, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := modelPage{epoch: epochName(l.life)}
	until := l.head
	switch {
	case l.failing:
		return p, streams.ErrUnavailable
	case r.After > l.last():
		return p, streams.ErrWrongEpoch
	case r.After >= until:
		p.Through = max(until, r.After)
		return p, nil
	}
	p.Through = until
	prev := r.After
	for _, m := range l.stored[r.After:until] {
		if !matches(r.Channel, m.Channel) || l.gone(m.Seq) {
			continue
		}
		if len(p.Messages) == r.Limit {
			p.More, p.Through = true, m.Seq-1
			break
		}
		c := *m
		c.Prev, prev = prev, m.Seq
		p.Messages = append(p.Messages, &c)
	}
	// As the index has it: the highest sequence that ever left the channel, and the front of the stream. Neither knows
	// what of the channel is still there below, nor where this page ends.
	to := uint64(0)
	for _, m := range l.stored[:until] {
		if matches(r.Channel, m.Channel) && l.removed[m.Seq] {
			to = m.Seq
		}
	}
	to = min(max(to, l.first-1), until)
	if to > r.After {
		p.LostFrom, p.LostTo = r.After+1, to
	}
	return p, nil
}

// matches is the model's own: "a.>" and "a.*" are the patterns, of namespaces whose channels have two tokens.
func matches(name, channel string) bool {
	return name == channel || streams.IsPattern(name) && name[:2] == channel[:2]
}

// channelSeqs returns the sequences of all that the channel, or those of the pattern, held in this epoch in (after, before).
func (l *modelLog) channelSeqs(channel string, after, before uint64) (held, left []uint64) {
	for _, m := range l.stored[min(after, l.last()):min(max(before, 1)-1, l.last())] {
		switch {
		case !matches(channel, m.Channel):
		case l.gone(m.Seq):
			left = append(left, m.Seq)
		default:
			held = append(held, m.Seq)
		}
	}
	return held, left
}

var _ Log = (*modelLog)(nil)

// sequences shows some of a list that may be long.
func sequences(s []uint64) string {
	if len(s) > 8 {
		return fmt.Sprintf("%v… (%d)", slices.Clone(s[:8]), len(s))
	}
	return fmt.Sprint(s)
}
