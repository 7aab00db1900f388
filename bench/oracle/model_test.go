package oracle

import (
	"flag"
	"fmt"
	"slices"

	"pgregory.net/rapid"
)

// Every run tries the same programs, so that none fails by chance; -rapid.seed=0 tries others.
func init() { _ = flag.Set("rapid.seed", "1") }

// The model is a log that keeps the promise, with publishers and readers around it. It writes down what everybody was told; a test
// breaks that in one place and sees what the oracle says.

type opKind int

const (
	opPublish opKind = iota
	opAck
	opRefuse
	opUnknown
	opJoin
	opDeliver
	opLeave
	opEnd
)

type op struct {
	kind     opKind
	channel  string
	from, id string
	attempt  int
	ack      Ack
	reader   string
	start    uint64 // of a reader
	to       uint64 // of a walk
	back     bool
	d        Delivery
}

type modelMessage struct {
	from, id string
	seq      uint64 // 0: not stored
	prev     uint64
	acked    bool
	open     []int // attempts
}

type modelReader struct {
	name string
	next int // of stored
	left bool
}

type channelModel struct {
	name    string
	all     []*modelMessage
	stored  []*modelMessage
	readers []*modelReader
	top     uint64
}

type history struct {
	t        *rapid.T
	channels []*channelModel
	ops      []op
	attempts int
}

func (h *history) pick(n int, label string) int { return rapid.IntRange(0, n-1).Draw(h.t, label) }

func (h *history) publish(c *channelModel) {
	m := &modelMessage{from: fmt.Sprintf("p%d", h.pick(3, "publisher")), id: fmt.Sprintf("m%d", len(c.all))}
	c.all = append(c.all, m)
	h.try(c, m)
}

func (h *history) try(c *channelModel, m *modelMessage) {
	h.attempts++
	m.open = append(m.open, h.attempts)
	h.ops = append(h.ops, op{kind: opPublish, channel: c.name, from: m.from, id: m.id, attempt: h.attempts})
}

func (h *history) store(c *channelModel, m *modelMessage) {
	if m.seq != 0 || len(m.open) == 0 {
		return
	}
	m.prev = c.top
	c.top += 2 + 2*uint64(h.pick(3, "hole"))
	m.seq = c.top
	c.stored = append(c.stored, m)
}

// end ends one attempt in a way that the state of m allows.
func (h *history) end(c *channelModel, m *modelMessage) {
	if len(m.open) == 0 {
		return
	}
	o := op{channel: c.name, from: m.from, id: m.id, attempt: m.open[0]}
	m.open = m.open[1:]
	how := h.pick(4, "outcome")
	switch {
	case how == 0:
		o.kind = opUnknown
	case m.seq == 0:
		o.kind = opRefuse
	default:
		o.kind, o.ack = opAck, Ack{Seq: m.seq, Epoch: "e", Duplicate: m.acked}
		m.acked = true
	}
	h.ops = append(h.ops, o)
}

func (h *history) join(c *channelModel) {
	r := &modelReader{name: fmt.Sprintf("r%d", len(c.readers)), next: h.pick(len(c.stored)+1, "from")}
	c.readers = append(c.readers, r)
	o := op{kind: opJoin, channel: c.name, reader: r.name}
	if r.next > 0 {
		o.start = c.stored[r.next-1].seq
	}
	h.ops = append(h.ops, o)
}

func (h *history) deliver(c *channelModel, r *modelReader) {
	if r.left || r.next == len(c.stored) {
		return
	}
	m := c.stored[r.next]
	r.next++
	h.ops = append(h.ops, h.delivery(c, r.name, m))
}

func (h *history) delivery(c *channelModel, reader string, m *modelMessage) op {
	prev := m.prev
	if m.seq-prev > 2 { // what the gateway knows may be less
		prev = rapid.Uint64Range(m.prev, m.seq-1).Draw(h.t, "prev")
	}
	body := AppendBody(nil, c.name, m.from, m.id, h.pick(300, "size"), Form(h.pick(int(Forms), "form")))
	return op{kind: opDeliver, channel: c.name, reader: reader, d: Delivery{Seq: m.seq, Prev: prev, From: m.from, ID: m.id, Body: body}}
}

func (h *history) walk(c *channelModel, name string, back bool) {
	if c.top == 0 {
		return
	}
	h.ops = append(h.ops, op{kind: opJoin, channel: c.name, reader: name, to: c.top, back: back})
	list := slices.Clone(c.stored)
	if back {
		slices.Reverse(list)
	}
	for _, m := range list {
		h.ops = append(h.ops, h.delivery(c, name, m))
	}
	h.ops = append(h.ops, op{kind: opEnd, channel: c.name, reader: name})
}

// correct draws a history in which the promise is kept.
func correct(t *rapid.T) *history {
	h := &history{t: t}
	for i := range 1 + h.pick(2, "channels") {
		h.channels = append(h.channels, &channelModel{name: fmt.Sprintf("n.c%d", i)})
	}
	for range rapid.IntRange(10, 150).Draw(t, "steps") {
		c := h.channels[h.pick(len(h.channels), "channel")]
		step := h.pick(12, "step")
		switch {
		case step == 0 && len(c.readers) < 4:
			h.join(c)
		case step <= 3 || len(c.all) == 0:
			h.publish(c)
		case step == 4 && len(c.readers) > 0:
			r := c.readers[h.pick(len(c.readers), "reader")]
			if !r.left && h.pick(5, "leave") == 0 {
				r.left = true
				h.ops = append(h.ops, op{kind: opLeave, channel: c.name, reader: r.name})
			}
		case step <= 6:
			h.store(c, c.all[h.pick(len(c.all), "store")])
		case step == 7:
			h.try(c, c.all[h.pick(len(c.all), "retry")])
		case step <= 9:
			h.end(c, c.all[h.pick(len(c.all), "end")])
		case len(c.readers) > 0:
			h.deliver(c, c.readers[h.pick(len(c.readers), "reader")])
		}
	}
	for _, c := range h.channels {
		for _, m := range c.all {
			for len(m.open) > 0 {
				h.end(c, m)
			}
		}
		for _, r := range c.readers {
			for !r.left && r.next < len(c.stored) {
				h.deliver(c, r)
			}
		}
		h.walk(c, "forward", false)
		h.walk(c, "back", true)
	}
	return h
}

// tell tells an oracle.
func tell(o *Oracle, ops []op) {
	attempts := map[int]*Attempt{}
	readers := map[string]*Reader{}
	for _, p := range ops {
		r := readers[p.channel+" "+p.reader]
		switch p.kind {
		case opPublish:
			attempts[p.attempt] = o.Publishing(p.channel, p.from, p.id)
		case opAck:
			attempts[p.attempt].Acknowledged(p.ack)
		case opRefuse:
			attempts[p.attempt].Refused()
		case opUnknown:
			attempts[p.attempt].Unknown()
		case opJoin:
			if p.to != 0 {
				r = o.Walk(p.reader, p.channel, p.start, p.to, p.back)
			} else {
				r = o.Subscriber(p.reader, p.channel, p.start)
			}
			readers[p.channel+" "+p.reader] = r
		case opDeliver:
			r.Message(p.d)
		case opLeave:
			r.Leave()
		case opEnd:
			r.End()
		}
	}
}
