package streams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// How many messages Deliver gets at once, at most: more where each time waits for a sync.
const (
	feedRun       = 256
	feedRunSynced = 4096
)

// feed is one ordered push consumer of a stream: the tail for as long as nothing goes wrong. All of it belongs to whoever holds tail.mu, but heard.
type feed struct {
	s        *Stream
	g        *generation
	sub      *nats.Subscription
	inbox    string
	cseq     uint64 // consumer sequence of the last message
	sseq     uint64 // stream sequence of the last message, or where it began
	batch    []*Message
	run      int          // messages in a batch, at most
	refillAt uint64       // this sequence ends the gap that made this feed necessary; 0: none
	heard    atomic.Int64 // Unix ns
}

// startFeed makes the consumer that continues after the generation's head.
func (s *Stream) startFeed(ctx context.Context, g *generation, refillAt uint64) error {
	l := s.log
	f := &feed{s: s, g: g, inbox: l.feed.nc.NewInbox(), sseq: g.head.Load(), refillAt: refillAt, run: feedRun}
	f.heard.Store(time.Now().UnixNano())
	if s.policy.Load().synced() {
		f.run = feedRunSynced
	}
	s.tail.mu.Lock()
	f.refilledLocked()
	s.tail.feed, s.tail.broken = f, nil
	sub, err := l.feed.subscribe(f.inbox, f.on)
	f.sub = sub
	s.tail.mu.Unlock()
	if err == nil {
		_, err = l.feed.js.CreatePushConsumer(ctx, s.name, jetstream.ConsumerConfig{
			DeliverSubject:    f.inbox,
			DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
			OptStartSeq:       f.sseq + 1,
			AckPolicy:         jetstream.AckNonePolicy,
			ReplayPolicy:      jetstream.ReplayInstantPolicy,
			MaxDeliver:        1,
			FlowControl:       true,
			IdleHeartbeat:     heartbeat,
			InactiveThreshold: idleConsumer,
			MemoryStorage:     true,
			Replicas:          1,
			Description:       "Jetwire tail",
		})
	}
	if err != nil {
		s.tail.mu.Lock()
		s.dropFeedLocked()
		s.tail.broken = err
		s.tail.mu.Unlock()
	}
	return err
}

// dropFeedLocked hands on what the feed has gathered and ignores what else it brings. The caller must hold tail.mu.
func (s *Stream) dropFeedLocked() {
	if f := s.tail.feed; f != nil {
		f.flushLocked()
		s.tail.feed = nil
		if f.sub != nil {
			_ = f.sub.Unsubscribe()
		}
	}
}

// restart asks for a new feed.
func (s *Stream) restart(why error) {
	s.tail.mu.Lock()
	s.breakLocked(why)
	s.tail.mu.Unlock()
}

func (s *Stream) breakLocked(why error) {
	s.dropFeedLocked()
	s.tail.broken = why
	s.wake()
}

// broken reports why a new feed is needed, if it is.
func (s *Stream) broken() error {
	if !s.tail.mu.TryLock() {
		return nil // it works
	}
	defer s.tail.mu.Unlock()
	if f := s.tail.feed; f != nil && s.tail.broken == nil {
		if n, _, _ := f.sub.Pending(); n == 0 && time.Since(time.Unix(0, f.heard.Load())) > silence {
			s.dropFeedLocked()
			s.tail.broken = errSilent
		}
	}
	return s.tail.broken
}

// mend makes a new feed, however often it has to try, unless the connection breaks.
func (s *Stream) mend(why error) {
	l := s.log
	for pause := retryLeast; l.ctx.Err() == nil && l.feed.up.Load(); pause = min(2*pause, retryMost) {
		err := s.resume()
		if err == nil {
			l.restarts.Add(1)
			l.opts.Logger.Info("the tail was made again", "stream", s.name, "because", why, "from", s.Head()+1)
			return
		}
		l.opts.Logger.Warn("the tail cannot be made", "stream", s.name, "error", err)
		select {
		case <-time.After(pause/2 + rand.N(pause)):
		case <-l.ctx.Done():
		}
	}
}

// resume continues the tail where it stands.
func (s *Stream) resume() error {
	if err := s.check(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(s.log.ctx, requestTimeout)
	defer cancel()
	st, err := s.log.feed.js.Stream(ctx, s.name)
	if err != nil {
		return err
	}
	info, g := st.CachedInfo(), s.gen.Load()
	if epochOf(info) != g.epoch || info.State.LastSeq < g.head.Load() {
		return fmt.Errorf("stream %s has just been made anew", s.name)
	}
	if first := g.first.Load(); first > g.head.Load()+1 {
		raise(&g.hole, first-1)
	}
	return s.startFeed(ctx, g, info.State.LastSeq)
}

// raise makes v at least to, and returns by how much it rose.
func raise(v *atomic.Uint64, to uint64) uint64 {
	for {
		was := v.Load()
		if was >= to {
			return 0
		}
		if v.CompareAndSwap(was, to) {
			return to - was
		}
	}
}

// on takes what the consumer pushes.
func (f *feed) on(m *nats.Msg) {
	s := f.s
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	if s.tail.feed != f {
		return
	}
	f.heard.Store(time.Now().UnixNano())
	if m.Subject == f.inbox {
		f.controlLocked(m)
		return
	}
	at, ok := parseAckSubject(m.Reply)
	if !ok || at.cseq != f.cseq+1 || at.sseq <= f.sseq {
		s.log.gaps.Add(1)
		s.breakLocked(fmt.Errorf("consumer sequence %d followed %d", at.cseq, f.cseq))
		return
	}
	if at.sseq != f.sseq+1 { // what lay between was deleted before it could be seen here
		f.flushLocked()
		raise(&f.g.hole, at.sseq-1)
	}
	f.cseq, f.sseq = at.cseq, at.sseq
	from, id := identity(m.Header)
	f.batch = append(f.batch, &Message{Channel: m.Subject, Seq: at.sseq, Time: at.time, ID: id, From: from, Body: m.Data})
	if len(f.batch) >= f.run || f.lastLocked() {
		f.flushLocked()
	}
}

// lastLocked reports whether nothing more waits behind the message in hand, which counts until the callback returns.
func (f *feed) lastLocked() bool {
	n, _, _ := f.sub.Pending()
	return n <= 1
}

// controlLocked takes heartbeats and flow control.
func (f *feed) controlLocked(m *nats.Msg) {
	nc := f.s.log.feed.nc
	if m.Reply != "" {
		_ = nc.Publish(m.Reply, nil)
	} else if v := m.Header["Nats-Consumer-Stalled"]; len(v) > 0 {
		_ = nc.Publish(v[0], nil)
	}
	f.flushLocked()
	if v := m.Header["Nats-Last-Consumer"]; len(v) > 0 {
		if last, err := strconv.ParseUint(v[0], 10, 64); err == nil && last != f.cseq {
			f.s.log.gaps.Add(1)
			f.s.breakLocked(fmt.Errorf("consumer sequence %d is missing", last))
		}
	}
}

// flushLocked hands on what has been gathered; where that is promised, what has been synced at once and the rest when it has.
func (f *feed) flushLocked() {
	synced := f.s.policy.Load().synced()
	for rest := f.batch; len(rest) > 0; {
		n := len(rest)
		if synced {
			if n = f.synced(rest); n == 0 {
				break // the Log closes
			}
		}
		f.deliverLocked(rest[:n])
		rest = rest[n:]
	}
	clear(f.batch)
	f.batch = f.batch[:0]
}

// synced returns how many messages of the batch have been synced. If none has, it waits for all of them; 0: the Log closes.
func (f *feed) synced(batch []*Message) int {
	upTo := f.g.synced.Load()
	if n := sort.Search(len(batch), func(i int) bool { return batch[i].Seq > upTo }); n > 0 {
		return n
	}
	if !f.s.log.syncer.wait(f.g, batch[len(batch)-1].Seq) {
		return 0
	}
	return len(batch)
}

// deliverLocked hands messages on: first to the index and the ring, then the head, then Deliver.
func (f *feed) deliverLocked(batch []*Message) {
	g, l := f.g, f.s.log
	hole := g.hole.Load()
	for _, m := range batch {
		m.Prev = g.index.Append(m.Channel, m.Seq, m.Time)
		if m.Prev < hole {
			m.Prev = hole
		}
	}
	g.ring.add(batch)
	g.head.Store(batch[len(batch)-1].Seq)
	g.moved()
	f.refilledLocked()
	l.delivered.Add(uint64(len(batch)))
	l.opts.Deliver(batch)
}

func (f *feed) refilledLocked() {
	if f.refillAt > 0 && f.g.head.Load() >= f.refillAt {
		f.refillAt = 0
		f.s.log.refills.Add(1)
	}
}

// place is where a consumer's message stands.
type place struct {
	sseq, cseq uint64
	time       int64 // Unix ns
	pending    uint64
}

// parseAckSubject reads $JS.ACK.<stream>.<consumer>.<delivered>.<sseq>.<cseq>.<time>.<pending>, or with <domain>.<account>.
// before the stream and possibly more tokens at the end.
func parseAckSubject(s string) (p place, ok bool) {
	rest, ok := strings.CutPrefix(s, "$JS.ACK.")
	if !ok {
		return p, false
	}
	skip := 3
	if strings.Count(rest, ".") >= 8 {
		skip = 5
	}
	for range skip {
		if _, rest, ok = strings.Cut(rest, "."); !ok {
			return p, false
		}
	}
	var n [4]uint64
	for i := range n {
		var token string
		token, rest, ok = strings.Cut(rest, ".")
		v, err := strconv.ParseUint(token, 10, 64)
		if err != nil || !ok && i < 3 {
			return p, false
		}
		n[i] = v
	}
	return place{n[0], n[1], int64(n[2]), n[3]}, true
}
