package oracle

// Ack is the answer to a publish.
type Ack struct {
	Seq       uint64
	Epoch     string
	Duplicate bool
}

// Attempt is one publish from its call until its end, which is exactly one of Acknowledged, Refused and Unknown.
type Attempt struct {
	l *channelLog
	m *message
}

// Publishing is told before a message is sent. The id names it among what from publishes on the channel; a further call for the same id is a
// retry, which must begin before the id may be forgotten: while another attempt is open, or before Options.Remember others were stored.
func (o *Oracle) Publishing(channel, from, id string) *Attempt {
	l := o.log(channel)
	l.mu.Lock()
	defer l.mu.Unlock()
	k := key{from, id}
	m := l.messages[k]
	if m == nil {
		m = &message{key: k, after: l.top}
		l.messages[k] = m
		o.tally.count(func(c *Counts) { c.Published++ })
	}
	m.open++
	o.tally.count(func(c *Counts) { c.Attempts++ })
	return &Attempt{l, m}
}

// Refused is told when the publisher was answered that nothing was stored.
func (a *Attempt) Refused() {
	l, m := a.l, a.m
	l.mu.Lock()
	defer l.mu.Unlock()
	m.open--
	m.refused = true
	l.o.tally.count(func(c *Counts) { c.Refused++ })
	if m.seq != 0 && m.open == 0 && !m.possible {
		l.violation(Invented, m.seq, m.key, "", "it was delivered, and its publisher was told that nothing was stored")
	}
}

// Unknown is told when the publisher does not know whether the message was stored.
func (a *Attempt) Unknown() {
	a.l.mu.Lock()
	defer a.l.mu.Unlock()
	a.m.open--
	a.m.possible = true
	a.l.o.tally.count(func(c *Counts) { c.Unknown++ })
}

// Acknowledged is told when the publisher was answered that the message is stored.
func (a *Attempt) Acknowledged(ack Ack) {
	l, m := a.l, a.m
	l.mu.Lock()
	defer l.mu.Unlock()
	m.open--
	m.possible = true
	l.o.tally.count(func(c *Counts) {
		c.Acknowledged++
		if ack.Duplicate {
			c.Duplicates++
		}
	})
	if ack.Seq == 0 {
		l.violation(Misanswered, 0, m.key, "", "it was acknowledged without a sequence")
		return
	}
	if !l.checkEpoch(ack.Epoch, "") {
		return
	}
	if !ack.Duplicate {
		m.stored++
	}
	switch {
	case m.answered == 0:
		m.answered = ack.Seq
		l.acknowledged(m)
	case ack.Seq != m.answered && ack.Duplicate:
		l.violation(Misanswered, ack.Seq, m.key, "", "a retry was answered duplicate at %d; the first answer was %d", ack.Seq, m.answered)
	case ack.Seq != m.answered && l.find(ack.Seq) == nil && ack.Seq > l.floor:
		l.violation(Duplicated, ack.Seq, m.key, "", "a retry was stored again; the first answer was %d", m.answered)
		l.insert(entry{seq: ack.Seq, name: m.key, m: m})
	case ack.Seq != m.answered:
		l.violation(Misanswered, ack.Seq, m.key, "", "a retry was answered %d, not duplicate; the first answer was %d", ack.Seq, m.answered)
	case m.stored > 1 && !ack.Duplicate:
		l.violation(Misanswered, ack.Seq, m.key, "", "a retry was answered with the first sequence but not as a duplicate")
	}
	l.trim()
}

// acknowledged places a message where its first acknowledgement says.
func (l *channelLog) acknowledged(m *message) {
	seq := m.answered
	if m.seq == seq {
		return
	}
	if m.seq != 0 {
		l.violation(Misanswered, seq, m.key, "", "it was acknowledged at %d and delivered at %d", seq, m.seq)
		return
	}
	if seq <= l.floor {
		l.violation(Misanswered, seq, m.key, "", "it was acknowledged at %d; everybody has passed that and nobody got it", seq)
		return
	}
	switch e := l.find(seq); {
	case e == nil:
		m.seq = seq
		l.insert(entry{seq: seq, name: m.key, m: m, required: true})
	case e.m == nil: // what nobody published stood there
		m.seq = seq
		l.remove(seq)
		l.insert(entry{seq: seq, name: m.key, m: m, required: true})
	default:
		l.violation(Misanswered, seq, m.key, "", "it was acknowledged at %d, which is id %s of %s", seq, e.name.id, e.name.from)
	}
}
