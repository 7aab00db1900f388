package unified

import (
	"encoding/json"
	"fmt"

	"github.com/jetwire/jetwire/gateway/wire"
)

// delivery is a frame of the hub's in the words of this service.
type delivery struct {
	source  []byte // the frame as it came
	channel string
	seq     uint64   // 0: it has none
	epoch   string   // of a gap: what follows is of this epoch
	message *Message // nil: it is for whoever gets it
	frame   []byte   // nil: it says nothing to a client
}

// translate returns what a frame of the hub's is to a client. For the same frame it is the same.
func (s *Service) translate(frame []byte) *delivery {
	if d := s.last.Load(); d != nil && len(d.source) == len(frame) && &d.source[0] == &frame[0] {
		return d
	}
	d := &delivery{source: frame}
	err := wire.DecodeServer(payload(frame), func(in *wire.Incoming) error {
		switch in.Kind {
		case wire.KindMessage:
			d.message = received(&in.Message)
			d.channel, d.seq, d.frame = in.Message.Channel, in.Message.Seq, textFrame(d.message)
		case wire.KindGap:
			d.gap(in.Gap, s.opt.Now().UnixMilli())
		}
		return nil
	})
	if err != nil {
		s.opt.Logger.Error("the hub said what cannot be read", "error", err)
	}
	s.last.Store(d)
	return d
}

// payload is what a whole unmasked frame carries (RFC 6455, 5.2).
func payload(frame []byte) []byte {
	switch frame[1] {
	case 126:
		return frame[4:]
	case 127:
		return frame[10:]
	}
	return frame[2:]
}

// received is the message that a body on a channel carries. A body that is none becomes the content of one. Who sent it is known to the
// gateway if that was a client, whatever the body says.
func received(w *wire.Message) *Message {
	m := &Message{}
	if m.Decode(w.Body) != nil || !m.unmistakable {
		*m = Message{Content: wire.AppendData(nil, w.Body, w.Encoding)}
	}
	if w.From != "" {
		m.Class = ClientToClient
		if wire.Namespace(w.Channel) != Namespace {
			m.FromType = ""
		}
		if m.From != w.From {
			m.From, m.FromType = w.From, ""
		}
	}
	if m.Class == 0 {
		m.Class = ServerToClient
	}
	if m.Timestamp == 0 {
		m.Timestamp = w.Time
	}
	if m.ID == "" {
		m.ID = w.ID
	}
	if m.ID == "" && w.Seq != 0 {
		m.ID = fmt.Sprintf("%s#%d", w.Channel, w.Seq)
	}
	return m
}

func (d *delivery) gap(g wire.Gap, now int64) {
	content, err := json.Marshal(g)
	if err != nil {
		content = nil // strings and numbers: it does not fail
	}
	m := &Message{Class: ServerToClient, Type: TypeGap, Timestamp: now, Content: content}
	d.channel, d.seq, d.frame = g.Channel, g.To, textFrame(m)
	if g.Reason == wire.GapEpoch {
		d.epoch = g.Epoch
	}
}
