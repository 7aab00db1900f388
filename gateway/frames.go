package gateway

import (
	"sync"
	"time"

	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
)

var (
	connLists = sync.Pool{New: func() any { return new([]*transport.Conn) }}
	payloads  = sync.Pool{New: func() any { b := make([]byte, 0, 1<<10); return &b }}
)

// keepPayload bounds what a buffer in the pool holds on to.
const keepPayload = 64 << 10

// frameOf makes a frame of the payload that encode appends.
func frameOf(encode func(dst []byte) []byte) []byte {
	b := payloads.Get().(*[]byte)
	*b = encode((*b)[:0])
	frame := textFrame(*b)
	if cap(*b) <= keepPayload {
		payloads.Put(b)
	}
	return frame
}

// messageFrame is the frame that carries m to every socket of a subscription.
func messageFrame(m *streams.Message, prev uint64, pattern string) []byte {
	w := wireMessage(m)
	w.Prev, w.Pattern = prev, pattern
	return frameOf(func(dst []byte) []byte { return wire.AppendMessagePush(dst, &w) })
}

func wireMessage(m *streams.Message) wire.Message {
	w := wire.Message{
		Channel: m.Channel, Seq: m.Seq, Prev: m.Prev, ID: m.ID, From: m.From,
		Body: m.Body, Encoding: wire.EncodingOf(m.Body),
	}
	if m.Seq != 0 {
		w.Time = m.Time / int64(time.Millisecond)
	}
	return w
}

// gapFrame is the frame that tells one socket of a gap.
func gapFrame(g hub.Gap) []byte {
	w := wire.Gap{Channel: g.Channel, Epoch: g.Epoch, From: g.From, To: g.To, Reason: wire.GapRetention}
	if g.NewEpoch {
		w.Reason = wire.GapEpoch
	}
	return frameOf(func(dst []byte) []byte { return wire.AppendGapPush(dst, &w) })
}
