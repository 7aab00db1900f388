package streams

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"

	"github.com/jetwire/jetwire/streams/link"
	"github.com/jetwire/jetwire/streams/puback"
	"github.com/jetwire/jetwire/streams/tap"
)

// The headers and the limits of atomic batches.
const (
	headerBatch       = "Nats-Batch-Id"
	headerBatchSeq    = "Nats-Batch-Sequence"
	headerBatchCommit = "Nats-Batch-Commit"

	batchMost  = 1000 // messages
	batchBytes = 1 << 20
)

// group is what waits for a stream at one time, sent as an atomic batch: JetStream stores all of it, without another's
// message in between, or nothing. Its one answer therefore tells each message's sequence. When it is refused, as a whole,
// because of one message that may be a duplicate, each is sent again by itself, and gets its own answer.
//
// Groups are for single servers that sync before they acknowledge: they sync once for a batch, and once for each message
// otherwise. One group of a stream is on its way at a time; what comes meanwhile makes the next one. So nothing waits for
// others to come, and what is sent again keeps its place.
type group struct {
	id  string
	all []outgoing // registered
}

// together reports whether what is at the head of the queue, which is not empty, goes out in groups.
func (b *outbox) together() bool {
	s := b.queue[b.next].stream
	return s != nil && s.policy.Load().batches
}

// takeGroupLocked takes the next group, or messages that are to be sent by themselves.
func (p *publisher) takeGroupLocked(b *outbox, run []outgoing) []outgoing {
	alone := b.queue[b.next].alone
	most, bytes := batchMost, 0
	if alone {
		most = sendRun
	}
	for len(run) < most && b.next < len(b.queue) && b.queue[b.next].alone == alone {
		if bytes += len(b.queue[b.next].body); bytes > batchBytes && len(run) > 0 {
			break
		}
		run = append(run, p.popLocked(b))
	}
	b.inFlight += len(run)
	if !alone && len(run) > 1 {
		p.groups++
		g := &group{id: p.nonce + strconv.FormatUint(p.groups, 36)}
		for i := range run {
			run[i].group = g
		}
	}
	return run
}

// sendGroup sends a group whose messages are registered.
func (p *publisher) sendGroup(run []outgoing, msg *nats.Msg) {
	g := run[0].group
	g.all = append(g.all, run...)
	var id, seq [1]string
	id[0] = g.id
	for i := range run {
		p.compose(&run[i], msg)
		msg.Header[headerBatch] = id[:]
		seq[0] = strconv.Itoa(i + 1)
		msg.Header[headerBatchSeq] = seq[:]
		last := i == len(run)-1
		if msg.Reply = ""; last {
			msg.Reply = run[i].reply
			msg.Header[headerBatchCommit] = []string{"1"}
		}
		switch err := p.link.PublishMsg(msg); {
		case err == nil:
		case !last || link.NotSent(err): // without its end nothing of it is stored
			p.again(g)
			return
		default:
			p.settleGroup(g, fmt.Errorf("%w: %w", ErrTimeout, err))
		}
	}
}

// onGroup takes JetStream's answer to the group that w, which has been taken, ends.
func (p *publisher) onGroup(w pending, m *tap.Message) {
	g := w.group
	n := len(g.all)
	w.group = nil
	if len(m.Body) == 0 {
		p.eachOf(g, w, func(w pending, _ int) { p.acknowledge(w, m) })
		return
	}
	a, err := parseAck(m.Body)
	if err == nil && (a.Count != n || a.Seq < uint64(n)) {
		err = fmt.Errorf("%w: an answer for %d messages to a batch of %d", ErrTimeout, a.Count, n)
	}
	switch {
	case err == nil:
		p.eachOf(g, w, func(w pending, i int) { p.accept(w, puback.Ack{Seq: a.Seq - uint64(n-1-i)}) })
	case errors.Is(err, ErrTimeout):
		p.eachOf(g, w, func(w pending, _ int) { p.settle(w, Ack{}, err) })
	default:
		p.againWith(g, &w)
	}
}

// eachOf calls f for each message of the group that still waits; last is the one that has been taken already.
func (p *publisher) eachOf(g *group, last pending, f func(w pending, i int)) {
	for i := range g.all[:len(g.all)-1] {
		if w, ok := p.waiting.take([]byte(g.all[i].reply)); ok { // nobody was told that subject
			f(w, i)
		}
	}
	f(last, len(g.all)-1)
}

func (p *publisher) settleGroup(g *group, err error) {
	for i := range g.all {
		p.unsent(&g.all[i], err)
	}
}

// again sends each message of a group of which nothing is stored by itself, before whatever came later.
func (p *publisher) again(g *group) { p.againWith(g, nil) }

// againWith is again; last, unless nil, has been taken already.
func (p *publisher) againWith(g *group, last *pending) {
	var list []outgoing
	for i, o := range g.all {
		w, ok := p.waiting.abandon(o.reply)
		if last != nil && i == len(g.all)-1 {
			w, ok = *last, true
		}
		if ok {
			o.pending, o.reply, o.alone = w, "", true
			o.group = nil
			list = append(list, o)
		}
	}
	if len(list) == 0 {
		return
	}
	p.mu.Lock()
	b := &list[0].stream.out
	b.inFlight -= len(list)
	closed := p.closed
	if !closed {
		b.queue, b.next = append(list, b.queue[b.next:]...), 0
		p.queued += len(list)
		for i := range list {
			p.bytes += len(list[i].body)
		}
		p.readyLocked(b)
	}
	p.mu.Unlock()
	if closed {
		for _, o := range list {
			p.answer(o.pending, Ack{}, ErrClosed)
		}
	}
}
