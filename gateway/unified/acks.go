package unified

import (
	"encoding/binary"

	"github.com/gobwas/ws"

	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/gateway/wsock"
)

// acks acknowledges, in the client's place, what has reached it: a ping travels behind what was sent, and its pong says that the peer has
// read as far. One ping is on its way at a time. Guarded by Socket.mu.
type acks struct {
	marks   []mark // of the channels; they are few
	ping    uint64 // the number of the last ping
	waiting bool   // for its pong
	late    bool   // for longer than a heartbeat
	again   bool   // more was sent behind it
	passed  int    // messages for others that have passed since a ping was asked for
}

// mark is how far a channel's messages have come.
type mark struct {
	channel, epoch string
	sent           uint64 // or passed over, since it is for others
	covered        uint64 // of these, what the last ping follows
	acked          uint64
}

// passedPerPing is after how many messages for others a ping asks whether the client is there: they need to be acknowledged, too. It is
// less where fewer may wait for their acks.
const passedPerPing = 64

func (a *acks) mark(channel string) *mark {
	for i := range a.marks {
		if a.marks[i].channel == channel {
			return &a.marks[i]
		}
	}
	a.marks = append(a.marks, mark{channel: channel})
	return &a.marks[len(a.marks)-1]
}

// begins notes of which epoch a channel's sequences are.
func (s *Socket) begins(channel, epoch string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.acks.mark(channel); m.epoch != epoch {
		*m = mark{channel: channel, epoch: epoch}
	}
}

// Offer implements hub.Sink: a frame with a message of the log's becomes one for the client, unless that is for others, or this
// connection has brought it before.
func (s *Socket) Offer(frame []byte) (taken, flush bool) {
	d := s.service.translate(frame)
	if d.frame == nil {
		return true, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.acks.mark(d.channel)
	if d.epoch != "" && d.epoch != m.epoch {
		*m = mark{channel: d.channel, epoch: d.epoch}
	}
	switch {
	case d.seq != 0 && d.seq <= m.sent:
		return true, false
	case d.message != nil && !s.client.takes(d.message):
		m.sent = max(m.sent, d.seq)
		if s.acks.passed++; 2*s.acks.passed < s.service.opt.MaxUnacked {
			return true, false
		}
	default:
		if taken, flush = s.conn.Offer(d.frame); !taken {
			return false, flush
		}
		m.sent = max(m.sent, d.seq)
	}
	if s.acks.waiting {
		s.acks.again = true
	} else {
		s.conn.Send(s.acks.next()) // it leaves with the message
	}
	return true, flush
}

// next is the ping that follows what was sent.
func (a *acks) next() []byte {
	a.ping++
	a.waiting, a.late, a.again, a.passed = true, false, false, 0
	for i := range a.marks {
		a.marks[i].covered = a.marks[i].sent
	}
	return wsock.AppendFrame(nil, ws.OpPing, binary.BigEndian.AppendUint64(nil, a.ping))
}

// Pong is called with the payload of each pong.
func (s *Socket) Pong(payload []byte) {
	for _, ack := range s.reached(payload) {
		s.command(wire.AppendAck(nil, 0, &ack))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.acks.again && !s.acks.waiting {
		s.conn.Send(s.acks.next())
	}
}

// reached returns what a pong acknowledges.
func (s *Socket) reached(payload []byte) (reached []wire.Ack) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &s.acks
	if !a.waiting || len(payload) != 8 || binary.BigEndian.Uint64(payload) != a.ping {
		return nil // the answer to a heartbeat, or to nothing
	}
	a.waiting = false
	for i := range a.marks {
		if m := &a.marks[i]; m.covered > m.acked {
			m.acked = m.covered
			reached = append(reached, wire.Ack{Channel: m.channel, Epoch: m.epoch, Seq: m.covered})
		}
	}
	return reached
}

// Beat is called about once in a ping interval: what is not acknowledged is asked for again, for a peer need not answer every ping
// (RFC 6455, 5.5.3).
func (s *Socket) Beat() {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &s.acks
	switch {
	case a.waiting && !a.late:
		a.late = true
	case a.waiting || a.passed > 0:
		s.conn.Send(a.next())
	}
}
