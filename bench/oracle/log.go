package oracle

import (
	"fmt"
	"slices"
	"sync"
)

// channelLog is what is known of one channel's log, from answers and deliveries together.
type channelLog struct {
	// Fixed after construction.
	o    *Oracle
	name string

	// Guarded by mu.
	mu       sync.Mutex
	epoch    string // the first that was named
	remade   bool   // another one was named, and that was reported
	messages map[key]*message
	entries  []entry // by ascending sequence, all above floor
	floor    uint64  // up to here everything is forgotten
	top      uint64  // highest sequence acknowledged or delivered
	readers  map[*Reader]struct{}
	ended    []*Reader // of readers, those that get nothing any more, oldest first
}

// entry is a sequence of the log.
type entry struct {
	seq      uint64
	name     key
	m        *message // nil: nobody published it
	seen     bool     // a reader got it
	required bool     // every reader that covers it must get it; false: it was named as a violation instead
}

// key names a message within a channel.
type key struct{ from, id string }

// message is a published id.
type message struct {
	key
	seq      uint64 // its place in entries; 0: none
	answered uint64 // the sequence of its first acknowledgement; 0: none
	after    uint64 // the top when it was first published
	open     int    // attempts without an end
	refused  bool   // an attempt was refused …
	possible bool   // … and another was not
	stored   int    // acknowledgements that did not say duplicate
}

// endedReaders is how many readers of a channel that get nothing any more are still checked against late acknowledgements.
const endedReaders = 256

func (l *channelLog) violation(k Kind, seq uint64, m key, reader, what string, args ...any) {
	l.o.tally.name(Violation{k, l.name, seq, m.from, m.id, reader, fmt.Sprintf(what, args...)})
}

// at returns where seq is in entries, or would be.
func (l *channelLog) at(seq uint64) (int, bool) {
	if n := len(l.entries); n == 0 || l.entries[n-1].seq < seq {
		return n, false
	}
	return slices.BinarySearchFunc(l.entries, seq, func(e entry, seq uint64) int {
		switch {
		case e.seq < seq:
			return -1
		case e.seq > seq:
			return 1
		}
		return 0
	})
}

func (l *channelLog) find(seq uint64) *entry {
	i, ok := l.at(seq)
	if !ok {
		return nil
	}
	return &l.entries[i]
}

// insert adds an entry. A required one that readers have passed already has been missed by them: had one got it, it would be here.
func (l *channelLog) insert(e entry) *entry {
	i, _ := l.at(e.seq)
	l.entries = slices.Insert(l.entries, i, e)
	l.top = max(l.top, e.seq)
	if e.required {
		for r := range l.readers {
			if r.passed(e.seq) {
				r.miss(e)
			}
		}
	}
	return &l.entries[i]
}

// remove takes an entry away that an answer alone had claimed.
func (l *channelLog) remove(seq uint64) {
	if i, ok := l.at(seq); ok {
		l.entries = slices.Delete(l.entries, i, i+1)
	}
	for r := range l.readers {
		delete(r.missing, seq)
	}
}

// checkEpoch reports whether epoch is the log's.
func (l *channelLog) checkEpoch(epoch, reader string) bool {
	switch {
	case epoch == "" || epoch == l.epoch:
		return true
	case l.epoch == "":
		l.epoch = epoch
		return true
	case !l.remade:
		l.remade = true
		l.violation(Misplaced, 0, key{}, reader, "the epoch is %q and was %q: the log was made anew", epoch, l.epoch)
	}
	return false
}

// trim forgets what every reader has passed, but for the newest.
func (l *channelLog) trim() {
	const batch = 1024
	keep := l.o.o.Remember
	if len(l.entries) < keep+batch {
		return
	}
	passed := l.top
	for r := range l.readers {
		if r.open() || r.walks() {
			passed = min(passed, r.needs())
		}
	}
	n := 0
	for n < len(l.entries)-keep {
		e := &l.entries[n]
		if e.seq > passed || e.m != nil && e.m.open > 0 {
			break
		}
		if e.m != nil && e.m.seq == e.seq {
			delete(l.messages, e.name)
		}
		n++
	}
	if n < batch {
		return
	}
	l.floor = l.entries[n-1].seq
	l.entries = slices.Delete(l.entries, 0, n)
	l.o.tally.count(func(c *Counts) { c.Forgotten += uint64(n) })
}

// retire keeps a reader that gets nothing any more for a while.
func (l *channelLog) retire(r *Reader) {
	l.ended = append(l.ended, r)
	if len(l.ended) <= endedReaders {
		return
	}
	old := l.ended[0]
	l.ended = slices.Delete(l.ended, 0, 1)
	delete(l.readers, old)
	for _, e := range old.missing {
		l.o.tally.name(old.lost(e))
	}
}

// judge adds what is missing.
func (l *channelLog) judge(v *Verdict) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.readers {
		for _, e := range r.missing {
			v.add(r.lost(e))
		}
		if !r.open() {
			continue
		}
		i, _ := l.at(r.pos + 1)
		for _, e := range l.entries[i:] {
			if e.required {
				v.add(r.never(e))
			}
		}
	}
	for _, m := range l.messages {
		if m.answered != 0 && m.seq == 0 {
			v.add(Violation{Lost, l.name, m.answered, m.from, m.id, "", "it was acknowledged at a sequence that belongs to another message, and nobody got it"})
		}
	}
}
