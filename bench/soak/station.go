package soak

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jetwire/jetwire/bench/oracle"
	"github.com/jetwire/jetwire/gateway/wire"
)

// station is one connection of a gadget.
type station struct {
	*socket
	g       *gadget
	life    context.Context // of the gadget, until it is stopped
	quit    chan struct{}   // closed when the connection has ended
	why     error           // set before
	waiting sync.WaitGroup

	// Guarded by gadget.mu.
	replies  map[uint64]func(*wire.Incoming)
	nextID   uint64
	sent     map[string]uint64 // by subscription: the greatest ack sent here
	answered map[string]uint64 // … and answered
	inFlight map[string]bool   // an ack is on its way
}

// beginRun begins to read behind since, and nothing up to floor again. The gadget's mu must be held.
func (s *gadgetSub) beginRun(epoch string, since, floor uint64) {
	s.epoch, s.run = epoch, since
	for _, r := range s.readers {
		r.Run(since, floor)
	}
}

// subscribeLocked asks for a subscription: without a device from where it was, else from the beginning.
func (st *station) subscribeLocked(text []byte, s *gadgetSub) []byte {
	w := wire.Subscribe{Channel: s.name, QoS: st.g.qos, Resume: true}
	if !st.g.durable {
		w.Since, w.Epoch = s.run, s.epoch
	}
	id := st.replyLocked(func(in *wire.Incoming) {
		if in.Kind == wire.KindError {
			if in.Error.Code.Comeback() != wire.Later {
				st.g.fail("subscribe to %s was refused: %v", s.name, &in.Error)
			}
			st.close()
			return
		}
		s.asked = true
		if s.epoch == "" {
			s.epoch = in.Subscribe.Epoch
		}
		if st.g.durable {
			s.base = w.Since
			s.beginRun(in.Subscribe.Epoch, w.Since, s.floor)
		}
	})
	return wire.AppendSubscribe(text, id, &w)
}

// replyLocked makes the id of a command whose answer f gets, with the gadget's mu held.
func (st *station) replyLocked(f func(*wire.Incoming)) uint64 {
	st.nextID++
	st.replies[st.nextID] = f
	return st.nextID
}

// serve handles what comes until the connection ends.
func (st *station) serve(ctx context.Context) error {
	defer context.AfterFunc(ctx, st.close)()
	if st.g.durable {
		st.waiting.Go(st.acknowledge)
	}
	var err error
	for err == nil {
		err = st.read(st.incoming)
	}
	st.close()
	st.why = err
	close(st.quit)
	st.waiting.Wait()
	return err
}

func (st *station) incoming(in *wire.Incoming) error {
	if in.Kind == wire.KindMessage {
		st.g.held.wait()
	}
	g := st.g
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case in.ID != 0:
		if f := st.replies[in.ID]; f != nil {
			delete(st.replies, in.ID)
			f(in)
		}
		return nil
	case g.at != st:
		return nil // a newer connection counts
	}
	switch in.Kind {
	case wire.KindMessage:
		return st.messageLocked(&in.Message)
	case wire.KindGap:
		g.fail("it was told of a gap: %+v", in.Gap)
		if s := g.sub(in.Gap.Channel); s != nil {
			s.run, s.epoch = max(s.run, in.Gap.To), in.Gap.Epoch
		}
	case wire.KindUnsubscribed:
		g.fail("%s was ended: %v", in.Unsubscribed.Channel, &in.Unsubscribed.Error)
	case wire.KindError:
		g.fail("an error without a command: %v", &in.Error)
	}
	return nil
}

var errMissing = errors.New("a message is missing")

func (st *station) messageLocked(m *wire.Message) error {
	g := st.g
	name := m.Channel
	if m.Pattern != "" {
		name = m.Pattern
	}
	s := g.sub(name)
	if s == nil {
		g.fail("a message of %s came, which it has not subscribed to (channel %s)", name, m.Channel)
		return nil
	}
	reader := s.readers[m.Channel]
	if reader == nil {
		g.fail("%s brought a message of %s, which does not match", name, m.Channel)
		return nil
	}
	switch {
	case m.Seq <= s.run && !g.durable:
		return nil // it has it already
	case m.Seq <= s.run: // back to what was acknowledged
		if m.Prev > s.acked {
			g.fail("%s went back from %d to %d, whose prev is %d: beyond what was acknowledged (%d)", name, s.run, m.Seq, m.Prev, s.acked)
		}
		g.tell("%s went back from %d to %d (prev %d); acks sent up to %d, answered up to %d", name, s.run, m.Seq, m.Prev, s.acked, st.answered[name])
		g.r.count(Counters{Rewinds: 1})
		s.beginRun(s.epoch, min(m.Prev, s.run), max(s.floor, st.answered[name]))
	case m.Prev > s.run && m.Prev <= st.sent[name]: // while it was sent again, what it had acknowledged was noted
		g.tell("%s went on from %d to %d (prev %d), which it had acknowledged", name, s.run, m.Seq, m.Prev)
		s.beginRun(s.epoch, m.Prev, max(s.floor, st.answered[name]))
	case m.Prev > s.run:
		g.r.o.Progress(fmt.Sprintf("%s: a message of %s is missing: position %d, prev %d, seq %d", g.name, name, s.run, m.Prev, m.Seq))
		g.r.count(Counters{Repairs: 1})
		return errMissing
	}
	reader.Message(oracle.Delivery{Seq: m.Seq, Prev: m.Prev, From: m.From, ID: m.ID, Body: m.Body})
	s.run = m.Seq
	return nil
}

// acknowledge sends acks for what was handled, now and then.
func (st *station) acknowledge() {
	for {
		st.g.mu.Lock()
		pause := between(st.g.rng, time.Millisecond, 150*time.Millisecond)
		st.g.mu.Unlock()
		t := time.NewTimer(pause)
		select {
		case <-st.quit:
			t.Stop()
			return
		case <-t.C:
		}
		if !st.g.held.waitFor(st.quit) || !st.g.lapse.waitFor(st.quit) {
			return
		}
		st.g.mu.Lock()
		text := st.acksLocked()
		st.g.mu.Unlock()
		if text != nil && st.send(text) != nil {
			st.close()
			return
		}
	}
}

// acksLocked makes an ack of each subscription that has come further, one at a time.
func (st *station) acksLocked() (text []byte) {
	g := st.g
	if g.at != st {
		return nil
	}
	for _, s := range g.subs {
		if !s.asked || st.inFlight[s.name] || s.run <= max(st.sent[s.name], s.base) {
			continue
		}
		seq := s.run
		st.inFlight[s.name], st.sent[s.name], s.acked = true, seq, max(s.acked, seq)
		id := st.replyLocked(func(in *wire.Incoming) { st.answeredLocked(s, seq, in) })
		text = wire.AppendAck(text, id, &wire.Ack{Channel: s.name, Seq: seq, Epoch: s.epoch})
	}
	return text
}

func (st *station) answeredLocked(s *gadgetSub, seq uint64, in *wire.Incoming) {
	g := st.g
	delete(st.inFlight, s.name)
	if in.Kind == wire.KindError {
		g.tell("the ack of %s at %d was refused: %v", s.name, seq, &in.Error)
		switch {
		case in.Error.Code == wire.TakenOver: // its close frame is on the way, and that is judged
		case in.Error.Code.Comeback() == wire.Later:
			st.sent[s.name] = 0
		case g.at != st: // it was fenced
		default:
			g.fail("the ack of %s at %d was refused: %v", s.name, seq, &in.Error)
		}
		return
	}
	g.tell("the ack of %s at %d was answered (the connection counts: %v)", s.name, seq, g.at == st)
	g.r.count(Counters{Acks: 1})
	if g.qosOf(s) == wire.ExactlyOnce {
		s.floor = max(s.floor, seq)
	}
	if g.at != st {
		return // the newer connection's runs have begun without it
	}
	if g.qosOf(s) == wire.AtLeastOnce {
		s.settled = append(s.settled, settledAck{seq, time.Now()})
	}
	st.answered[s.name] = seq
	for _, r := range s.readers {
		r.Acked(seq)
	}
}

// outlasts waits for the connection's end, and says whether it has not come within takeoverTime.
func (st *station) outlasts(ctx context.Context) bool {
	deadline := time.NewTimer(takeoverTime)
	defer deadline.Stop()
	select {
	case <-st.quit:
	case <-ctx.Done():
	case <-deadline.C:
		return true
	}
	return false
}
