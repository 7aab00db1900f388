package oracle

import "fmt"

// Delivery is a message as a reader's application got it.
type Delivery struct {
	Seq, Prev uint64
	From, ID  string
	Body      []byte
}

// Reader is who reads one channel: a subscriber, over all its connections, or one walk through the history. Its calls must be made in the
// order of what happened to it.
type Reader struct {
	// Fixed after construction.
	l    *channelLog
	name string
	from uint64 // covers what follows
	to   uint64 // the last sequence that a walk covers; 0: a subscriber
	back bool   // the walk goes from to down

	again bool // what was not acknowledged may come again, in another run

	// Guarded by channelLog.mu.
	pos     uint64           // the last sequence it was handed or told of; going back: the least, at first to+1
	done    bool             // nothing comes any more
	missing map[uint64]entry // passed without having been delivered
	gaps    [][2]uint64      // told, if that excuses
	run     uint64           // the last sequence of the present run; if again
	floor   uint64           // up to here nothing may come again; if again
}

// Subscriber begins to read behind a sequence. It covers what comes until it leaves, or until Judge.
func (o *Oracle) Subscriber(name, channel string, from uint64) *Reader {
	return o.reader(&Reader{name: name, from: from, pos: from}, channel)
}

// Device begins to read behind a sequence as Subscriber does, but with acks: each Run may bring again what was not acknowledged before. Within a
// run nothing is left out, and nothing comes twice or in another order.
func (o *Oracle) Device(name, channel string, from uint64) *Reader {
	return o.reader(&Reader{name: name, from: from, pos: from, run: from, again: true}, channel)
}

// Run is told when the log is brought from behind a sequence on: after a connect, or because acks were missing. Up to floor nothing may come
// again: it was acknowledged, and the answer said so.
func (r *Reader) Run(from, floor uint64) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.run, r.floor = from, floor
	if from > r.pos {
		r.missBetween(r.pos, from+1)
		r.pos = from
	}
}

// Acked is told when an ack was answered in such a way that nothing up to seq may come again.
func (r *Reader) Acked(seq uint64) {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.floor = max(r.floor, seq)
}

// Walk reads the history behind from, up to to included; from the end if back is set.
func (o *Oracle) Walk(name, channel string, from, to uint64, back bool) *Reader {
	r := &Reader{name: name, from: from, to: to, back: back, pos: from}
	if back {
		r.pos = to + 1
	}
	return o.reader(r, channel)
}

func (o *Oracle) reader(r *Reader, channel string) *Reader {
	l := o.log(channel)
	r.l, r.missing = l, make(map[uint64]entry)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers[r] = struct{}{}
	return r
}

// Message is told of each message.
func (r *Reader) Message(d Delivery) {
	l, k := r.l, key{d.From, d.ID}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.o.tally.count(func(c *Counts) { c.Delivered++ })
	if d.Seq == 0 {
		l.violation(Misplaced, 0, k, r.name, "it came without a sequence")
		return
	}
	if r.to != 0 && (d.Seq <= r.from || d.Seq > r.to) {
		l.violation(Misplaced, d.Seq, k, r.name, "the walk is from %d, excluded, to %d", r.from, r.to)
		return
	}
	if d.Seq > l.floor {
		l.delivered(r, d.Seq, k)
	}
	if err := CheckBody(d.Body, l.name, d.From, d.ID); err != nil && (d.Seq <= l.floor || l.messages[k] != nil) {
		l.violation(Altered, d.Seq, k, r.name, "%v", err)
	}
	r.move(d.Seq, d.Prev, k)
	l.trim()
}

// delivered compares a delivery with the log, and learns from it.
func (l *channelLog) delivered(r *Reader, seq uint64, k key) {
	m, e := l.messages[k], l.find(seq)
	if e != nil && !e.seen && m != nil && e.name != k { // only an answer says that the place is another's
		l.violation(Misanswered, seq, e.name, "", "it was acknowledged at %d, where id %s of %s was delivered", seq, k.id, k.from)
		e.m.seq = 0
		l.remove(seq)
		e = nil
	}
	switch {
	case e != nil && e.name == k:
		if !e.seen {
			e.seen = true
			l.checkOrder(e)
		}
		return
	case m == nil:
		l.violation(Invented, seq, k, r.name, "nobody published it%s", instead(e))
	case e != nil && e.m != nil:
		l.violation(Misplaced, seq, k, r.name, "it came at a sequence that belongs to another message%s", instead(e))
	case m.seq == 0:
		m.seq = seq
		l.remove(seq)
		l.checkOrder(l.insert(entry{seq: seq, name: k, m: m, seen: true, required: true}))
		if m.refused && !m.possible && m.open == 0 {
			l.violation(Invented, seq, k, "", "it was delivered, and its publisher was told that nothing was stored")
		}
		return
	default:
		l.elsewhere(r, m, seq)
		return
	}
	if e == nil {
		l.insert(entry{seq: seq, name: k, seen: true})
	} else if e.required && !r.passed(seq) {
		r.miss(*e) // its place was taken
	}
}

func instead(e *entry) string {
	if e == nil || e.m == nil {
		return ""
	}
	return ": id " + e.name.id + " of " + e.name.from + " was expected"
}

// elsewhere is told of a message that has another place already.
func (l *channelLog) elsewhere(r *Reader, m *message, seq uint64) {
	l.remove(seq)                                // what nobody published may stand there
	if e := l.find(m.seq); e != nil && !e.seen { // only an answer says so
		l.violation(Misanswered, m.seq, m.key, "", "it was acknowledged at %d and delivered at %d", m.seq, seq)
		l.remove(m.seq)
		m.seq = seq
		l.insert(entry{seq: seq, name: m.key, m: m, seen: true, required: true})
		return
	}
	l.violation(Duplicated, seq, m.key, r.name, "it is in the log twice, at %d and at %d", m.seq, seq)
	l.insert(entry{seq: seq, name: m.key, m: m, seen: true})
}

// checkOrder is told of an entry when a reader confirms it.
func (l *channelLog) checkOrder(e *entry) {
	if e.m != nil && e.m.seq == e.seq && e.seq <= e.m.after {
		l.violation(Reordered, e.seq, e.name, "", "it was published when sequence %d was known, and stored before it", e.m.after)
	}
}

// move passes a sequence.
func (r *Reader) move(seq, prev uint64, k key) {
	l := r.l
	if r.again && (seq <= r.pos || r.run < r.pos) {
		r.repeat(seq, prev, k)
		return
	}
	if r.passed(seq) || !r.back && seq <= r.pos {
		if _, late := r.missing[seq]; late {
			delete(r.missing, seq)
			l.violation(Reordered, seq, k, r.name, "it came behind %d", r.pos)
		} else {
			l.violation(Duplicated, seq, k, r.name, "it came again, or from before the beginning (%d); the reader is at %d", r.from, r.pos)
		}
		return
	}
	i, _ := l.at(seq)
	before := uint64(0)
	for j := i - 1; j >= 0; j-- {
		if l.entries[j].required {
			before = l.entries[j].seq
			break
		}
	}
	if prev >= seq || prev < before {
		l.violation(Misplaced, seq, k, r.name, "prev is %d; the message before it is at %d", prev, before)
	}
	if r.back {
		r.missBetween(seq, r.pos)
	} else {
		r.missBetween(r.pos, seq)
	}
	r.pos, r.run = seq, seq
}

// repeat passes a sequence in a run that has not got beyond an earlier one yet.
func (r *Reader) repeat(seq, prev uint64, k key) {
	l := r.l
	switch _, late := r.missing[seq]; {
	case late:
		delete(r.missing, seq)
		l.violation(Reordered, seq, k, r.name, "it came behind %d, and an earlier run had left it out", r.pos)
	case seq <= r.run:
		l.violation(Reordered, seq, k, r.name, "it came behind %d in the same run", r.run)
		return
	case seq <= r.floor:
		l.violation(Duplicated, seq, k, r.name, "it came again; the ack of %d was answered", r.floor)
	}
	before := uint64(0)
	i, _ := l.at(r.run + 1)
	for ; i < len(l.entries) && l.entries[i].seq < seq; i++ {
		e := &l.entries[i]
		switch _, missed := r.missing[e.seq]; {
		case !e.required || missed:
			continue
		case e.seq > r.pos:
			r.miss(*e)
		case e.seq > r.floor:
			l.violation(Lost, e.seq, e.name, r.name, "a run that began again before it went on to %d without it", seq)
		}
		before = e.seq
	}
	if prev >= seq || prev < before {
		l.violation(Misplaced, seq, k, r.name, "prev is %d; the message before it is at %d", prev, before)
	}
	r.run, r.pos = seq, max(r.pos, seq)
}

// missBetween notes every entry between two sequences, both excluded, as missing.
func (r *Reader) missBetween(from, to uint64) {
	i, _ := r.l.at(from + 1)
	for ; i < len(r.l.entries) && r.l.entries[i].seq < to; i++ {
		if r.l.entries[i].required {
			r.miss(r.l.entries[i])
		}
	}
}

func (r *Reader) miss(e entry) {
	for _, g := range r.gaps {
		if g[0] <= e.seq && e.seq <= g[1] {
			r.l.o.tally.count(func(c *Counts) { c.Excused++ })
			return
		}
	}
	r.missing[e.seq] = e
}

// Gap is told when the application is told that messages are lost: all between two sequences, both included.
func (r *Reader) Gap(from, to uint64, epoch string) {
	l := r.l
	l.mu.Lock()
	defer l.mu.Unlock()
	l.o.tally.count(func(c *Counts) { c.Gaps++ })
	if !l.checkEpoch(epoch, r.name) || to <= r.pos {
		return
	}
	if l.o.o.Retention {
		r.gaps = append(r.gaps, [2]uint64{from, to})
	}
	r.missBetween(r.pos, to+1)
	r.pos = to
}

// Leave ends a subscriber: it no longer covers what comes.
func (r *Reader) Leave() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	r.finish()
}

// Missing is how many messages it has passed without having got them, as far as that is known.
func (r *Reader) Missing() int {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	return len(r.missing)
}

// End ends a walk that says it has read all. It must not be called for one that was broken off: that is Leave.
func (r *Reader) End() {
	r.l.mu.Lock()
	defer r.l.mu.Unlock()
	if r.back {
		r.missBetween(r.from, r.pos)
		r.pos = r.from + 1
	} else {
		r.missBetween(r.pos, r.to+1)
		r.pos = r.to
	}
	r.finish()
}

func (r *Reader) finish() {
	if !r.done {
		r.done = true
		r.l.retire(r)
	}
}

// open reports whether more is to come, without an end that is known.
func (r *Reader) open() bool { return !r.done && r.to == 0 }

// walks reports whether it is a walk that has not ended.
func (r *Reader) walks() bool { return !r.done && r.to != 0 }

// needs is the sequence up to which it no longer needs the log.
func (r *Reader) needs() uint64 {
	switch {
	case r.back:
		return r.from
	case r.again:
		return min(r.floor, r.run)
	}
	return r.pos
}

// passed reports whether it has covered seq.
func (r *Reader) passed(seq uint64) bool {
	if r.back {
		return r.pos <= seq && seq <= r.to
	}
	return r.from < seq && seq <= r.pos
}

func (r *Reader) lost(e entry) Violation {
	switch {
	case r.to != 0 && r.back:
		return r.violation(e, fmt.Sprintf("a walk from %d down to %d did not bring it", r.to, r.from+1))
	case r.to != 0:
		return r.violation(e, fmt.Sprintf("a walk from %d up to %d did not bring it", r.from+1, r.to))
	case r.done:
		return r.violation(e, fmt.Sprintf("the reader left at %d without having got it", r.pos))
	}
	return r.violation(e, fmt.Sprintf("the reader passed it (it is at %d) without having got it", r.pos))
}

func (r *Reader) never(e entry) Violation {
	return r.violation(e, fmt.Sprintf("the reader never got that far: it is at %d", r.pos))
}

func (r *Reader) violation(e entry, what string) Violation {
	return Violation{Lost, r.l.name, e.seq, e.name.from, e.name.id, r.name, what}
}
