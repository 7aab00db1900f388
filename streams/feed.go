package streams

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sort"
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

// feed is one ordered push consumer of a stream: the tail for as long as nothing goes wrong. Unless it is said otherwise, all of it belongs to
// whoever holds tail.mu.
type feed struct {
	s        *Stream
	g        *generation
	inbox    *inbox
	subject  []byte // of the inbox; fixed
	cseq     uint64 // consumer sequence of the last message
	sseq     uint64 // stream sequence of the last message, or where it began
	batch    []*Message
	run      int           // messages in a batch, at most
	refillAt uint64        // this sequence ends the gap that made this feed necessary; 0: none
	ended    chan struct{} // closed when it is dropped

	mail mailbox
}

// startFeed makes the consumer that continues after the generation's head.
func (s *Stream) startFeed(ctx context.Context, g *generation, refillAt uint64) error {
	l := s.log
	subject := l.feed.NewInbox()
	f := &feed{s: s, g: g, subject: []byte(subject), sseq: g.head.Load(), refillAt: refillAt, run: feedRun, ended: make(chan struct{})}
	f.mail.init()
	if s.policy.Load().synced() {
		f.run = feedRunSynced
	}
	consumer := strings.TrimPrefix(subject, nats.InboxPrefix)
	s.tail.mu.Lock()
	f.refilledLocked()
	s.tail.feed, s.tail.broken = f, nil
	var err error
	if f.inbox, err = l.feed.listen(subject, consumer, f); err == nil {
		l.workers.Go(f.work)
	}
	s.tail.mu.Unlock()
	if err == nil {
		_, err = l.feed.js.CreatePushConsumer(ctx, s.name, jetstream.ConsumerConfig{
			Name:              consumer,
			DeliverSubject:    subject,
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
		close(f.ended)
		if f.inbox != nil {
			f.inbox.close()
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
		if f.mail.quiet(silence) {
			s.dropFeedLocked()
			s.tail.broken = errSilent
		}
	}
	return s.tail.broken
}

// mend makes a new feed, however often it has to try, unless the connection breaks.
func (s *Stream) mend(why error) {
	l := s.log
	for pause := retryLeast; l.ctx.Err() == nil && l.feed.Up(); pause = min(2*pause, retryMost) {
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

// work hands on what comes, until the feed is dropped or the Log closes.
func (f *feed) work() {
	for {
		select {
		case <-f.mail.came:
		case <-f.ended:
			return
		case <-f.s.log.ctx.Done():
			return
		}
		f.on(f.mail.open())
	}
}

// on takes what the consumer has pushed.
func (f *feed) on(letters []letter) {
	s := f.s
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	for i := range letters {
		if s.tail.feed != f {
			return
		}
		if l := &letters[i]; l.control != nil {
			f.controlLocked(l.control)
		} else {
			f.messageLocked(l)
		}
	}
	if s.tail.feed == f {
		f.flushLocked()
	}
}

func (f *feed) messageLocked(l *letter) {
	s := f.s
	if l.message == nil || l.cseq != f.cseq+1 || l.message.Seq <= f.sseq {
		s.log.gaps.Add(1)
		s.breakLocked(fmt.Errorf("consumer sequence %d followed %d", l.cseq, f.cseq))
		return
	}
	if l.message.Seq != f.sseq+1 { // what lay between was deleted before it could be seen here
		f.flushLocked()
		raise(&f.g.hole, l.message.Seq-1)
	}
	f.cseq, f.sseq = l.cseq, l.message.Seq
	f.batch = append(f.batch, l.message)
	if len(f.batch) >= f.run {
		f.flushLocked()
	}
}

// controlLocked takes heartbeats and flow control.
func (f *feed) controlLocked(c *control) {
	if c.reply != "" {
		_ = f.s.log.feed.Publish(c.reply, nil)
	}
	f.flushLocked()
	if c.known && c.last != f.cseq {
		f.s.log.gaps.Add(1)
		f.s.breakLocked(fmt.Errorf("consumer sequence %d is missing", c.last))
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
