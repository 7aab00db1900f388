package streams

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetwire/jetwire/streams/index"
	"github.com/jetwire/jetwire/streams/origin"
)

const (
	pollEvery    = 2 * time.Second
	heartbeat    = time.Second
	silence      = 5 * heartbeat / 2 // without a sign of life the tail is made again
	retryLeast   = 50 * time.Millisecond
	retryMost    = 2 * time.Second
	deleteGrace  = 250 * time.Millisecond
	idleConsumer = 10 * time.Second // after which the server forgets a consumer of ours that nobody listens to
)

var (
	errReconnected = errors.New("the connection was made again")
	errSilent      = errors.New("no heartbeat")
	errAnew        = errors.New("the stream was made anew")
)

// Stream is the open stream of one namespace.
type Stream struct {
	// Fixed after construction.
	log       *Log
	namespace string
	name      string
	budget    int64 // of the index
	kick      chan struct{}

	policy atomic.Pointer[Policy]
	gen    atomic.Pointer[generation] // written with tail.mu held
	out    outbox                     // guarded by publisher.mu

	tail struct {
		mu     sync.Mutex // held while Deliver and Reset run
		feed   *feed      // nil: none, or one whose messages are ignored
		broken error      // why a new one is needed
	}
	suspects struct {
		mu   sync.Mutex
		due  bool // look at the stream's state now
		then []func(ok bool)
	}
}

// generation is one life of a stream: what is known of one epoch.
type generation struct {
	// Fixed after construction.
	epoch  string
	born   uint64 // what was stored up to here may have left the log before it began
	index  *index.Index
	ring   ring
	cancel context.CancelFunc // of the rebuild

	head atomic.Uint64 // see Stream.Head
	// Of synced streams: what is known to be stored, and what of it has been synced.
	stored, synced atomic.Uint64
	// acked is the highest sequence that this Log has acknowledged.
	acked    atomic.Uint64
	arrivals struct {
		mu   sync.Mutex
		next chan struct{} // closed when the head moves; nil: nobody waits
	}
	// hole: the tail was not shown everything up to here, because some had been deleted by then.
	hole atomic.Uint64
	// shaky: single messages have been deleted. Where the policy limits messages per channel the index, which hears of it late or never,
	// may then have let older ones go that the log still holds.
	shaky atomic.Bool
	// sparse: where the log has no limit per channel, the rebuild found less than there must have been, up to here: messages
	// were deleted one by one, or a damaged store has lost them.
	sparse    atomic.Uint64
	plans     plans
	runs      runs
	first     atomic.Uint64 // the log's first sequence when it was last asked
	firstTime atomic.Int64  // and that message's time, the highest if there is none

	rebuild struct {
		mu    sync.Mutex
		done  bool
		moved chan struct{} // closed when a window has been joined, or the rebuild has ended
	}
}

// Namespace returns the namespace's name.
func (s *Stream) Namespace() string { return s.namespace }

// Policy returns the namespace's policy as the stream keeps it.
func (s *Stream) Policy() Policy { return *s.policy.Load() }

// Durability returns the durability class of the stream.
func (s *Stream) Durability() string { return s.policy.Load().Durability() }

// Epoch names this life of the stream. It changes when the stream is made anew, just before Options.Reset is called.
func (s *Stream) Epoch() string { return s.gen.Load().epoch }

// Head returns the highest sequence that the tail has handed, or is handing, to Deliver. By then pages contain it.
func (s *Stream) Head() uint64 { return s.gen.Load().head.Load() }

// openStream makes sure of the stream, and starts its tail and the rebuild of its index.
func (l *Log) openStream(ctx context.Context, p Policy, budget int64) (*Stream, error) {
	info, err := ensure(ctx, l.feed.js, p, l.opts.AllowShrink)
	if err != nil {
		return nil, err
	}
	s := &Stream{log: l, namespace: p.Namespace, name: StreamOf(p.Namespace), budget: budget, kick: make(chan struct{}, 1)}
	p = effective(p, info.Config)
	if p.synced() {
		if err := l.syncer.first(ctx); err != nil {
			return nil, err
		}
	}
	s.policy.Store(&p)
	s.tail.mu.Lock()
	g := s.begin(info)
	s.tail.mu.Unlock()
	if err := s.startFeed(ctx, g, 0); err != nil {
		g.cancel()
		return nil, streamError(s.name, err)
	}
	if err := l.listenLive(ctx, s); err != nil {
		g.cancel()
		return nil, err
	}
	l.pub.addBox(&s.out)
	l.workers.Go(s.run)
	return s, nil
}

// listenLive subscribes what is published at QoS 0. NATS has the subscription when it returns.
func (l *Log) listenLive(ctx context.Context, s *Stream) error {
	if _, err := l.publish.subscribe(livePrefix+s.namespace+".>", s.onLive); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	if err := l.publish.FlushWithContext(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	return nil
}

// begin starts a new generation at the stream's present end. The caller must hold tail.mu.
func (s *Stream) begin(info *jetstream.StreamInfo) *generation {
	last := info.State.LastSeq
	g := &generation{epoch: epochOf(info), index: index.New(s.budget), born: last}
	if info.State.Msgs == last {
		g.born = 0 // nothing has ever left this log
	}
	if n := info.State.NumDeleted; n > 0 && s.policy.Load().MaxPerChannel <= 0 {
		s.log.opts.Logger.Warn("messages are missing from the middle of the stream: they were deleted one by one, or a damaged store has lost them; whoever needs what stood there is told of a gap",
			"stream", s.name, "missing", n)
	}
	g.ring.max = s.log.opts.RingBytes
	g.runs.held = &s.log.rd.blocks
	g.index.SetMaxPerChannel(s.policy.Load().MaxPerChannel)
	g.index.Reset(last + 1)
	g.head.Store(last)
	g.stored.Store(last)
	g.see(info)
	g.rebuild.moved = make(chan struct{})
	ctx, cancel := context.WithCancel(s.log.ctx)
	g.cancel = cancel
	s.gen.Store(g)
	s.log.workers.Go(func() {
		defer cancel()
		s.rebuild(ctx, g, last+1)
	})
	return g
}

// epochOf names the life of a stream: when it was made and, if it has gone back since, when that was found.
func epochOf(info *jetstream.StreamInfo) string {
	epoch := strconv.FormatInt(info.Created.UnixNano(), 36)
	if life := info.Config.Metadata[lifeMark]; life != "" {
		epoch += "-" + life
	}
	return epoch
}

// see takes note of where the log begins.
func (g *generation) see(info *jetstream.StreamInfo) {
	g.plans.expire()
	first, at := max(info.State.FirstSeq, 1), info.State.FirstTime.UnixNano()
	if info.State.Msgs == 0 {
		first, at = info.State.LastSeq+1, math.MaxInt64
	}
	was := g.first.Load()
	if first < was {
		return
	}
	g.firstTime.Store(at) // before first, which is read before it
	g.first.Store(first)
	if first > was {
		g.index.Trim(first)
		g.ring.trim(first)
	}
}

// stop ends the stream's part in the tail; its goroutines end with the Log's context.
func (s *Stream) stop() {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	s.tail.feed = nil
}

// run keeps the tail alive and looks after the stream until the Log closes.
func (s *Stream) run() {
	beat := time.NewTicker(heartbeat / 2)
	defer beat.Stop()
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	defer s.checked(false)
	for {
		due := false
		select {
		case <-s.log.ctx.Done():
			return
		case <-s.kick:
		case <-beat.C:
			s.gen.Load().runs.expire()
		case <-poll.C:
			due = true
		}
		if !s.log.feed.Up() {
			s.checked(false)
			continue // feedUp kicks
		}
		if due || s.suspected() {
			s.checked(s.check() == nil)
		}
		if why := s.broken(); why != nil {
			s.mend(why)
		}
	}
}

// suspect has the stream's state looked at soon; then, unless nil, is called afterwards, with whether that was possible.
func (s *Stream) suspect(then func(ok bool)) {
	s.suspects.mu.Lock()
	s.suspects.due = true
	if then != nil {
		s.suspects.then = append(s.suspects.then, then)
	}
	s.suspects.mu.Unlock()
	s.wake()
}

func (s *Stream) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

func (s *Stream) suspected() bool {
	s.suspects.mu.Lock()
	defer s.suspects.mu.Unlock()
	return s.suspects.due
}

func (s *Stream) checked(ok bool) {
	s.suspects.mu.Lock()
	then := s.suspects.then
	s.suspects.due, s.suspects.then = false, nil
	s.suspects.mu.Unlock()
	for _, f := range then {
		f(ok)
	}
}

// check looks at the stream's state, and begins anew if it is another stream or none.
func (s *Stream) check() error {
	ctx, cancel := context.WithTimeout(s.log.ctx, requestTimeout)
	defer cancel()
	g := s.gen.Load()
	head := max(g.head.Load(), g.acked.Load()) // before the question: the answer may be older than what the tail brings meanwhile
	st, err := s.log.feed.js.Stream(ctx, s.name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		// The server forgets a stream's name before it removes the stream's files, and a stream that is made in between finds them.
		select {
		case <-time.After(deleteGrace):
		case <-ctx.Done():
		}
		st, err = s.log.feed.js.Stream(ctx, s.name)
	}
	var info *jetstream.StreamInfo
	switch {
	case err == nil:
		info = st.CachedInfo()
	case errors.Is(err, jetstream.ErrStreamNotFound):
		if info, err = ensure(ctx, s.log.feed.js, s.Policy(), false); err != nil {
			s.log.opts.Logger.Error("the stream is gone and could not be made again", "stream", s.name, "error", err)
			return err
		}
	default:
		return err
	}
	if info.State.LastSeq < head && epochOf(info) == g.epoch {
		if info, err = renew(ctx, s.log.feed.js, info.Config); err != nil {
			return err
		}
	}
	if epoch := epochOf(info); epoch != g.epoch {
		s.log.opts.Logger.Warn("the stream was made anew, or has gone back: positions in it start again", "stream", s.name, "epoch", epoch, "last", info.State.LastSeq, "was", head)
		s.reset(info)
		return nil
	}
	g.see(info)
	if p := effective(s.Policy(), info.Config); p != s.Policy() {
		s.policy.Store(&p)
		g.index.SetMaxPerChannel(p.MaxPerChannel)
	}
	return nil
}

// reset begins a new generation.
func (s *Stream) reset(info *jetstream.StreamInfo) {
	s.tail.mu.Lock()
	defer s.tail.mu.Unlock()
	s.dropFeedLocked()
	s.tail.broken = errAnew
	old := s.gen.Load()
	old.cancel()
	old.runs.finish()
	p := effective(s.Policy(), info.Config)
	s.policy.Store(&p)
	s.begin(info)
	old.moved()
	s.log.resets.Add(1)
	if f := s.log.opts.Reset; f != nil {
		f(s.namespace)
	}
}

// onLive takes messages of QoS 0 that others published.
func (s *Stream) onLive(m *nats.Msg) {
	channel := m.Subject[len(livePrefix):]
	if _, err := namespaceOf(channel); err != nil || len(m.Data) > s.policy.Load().MaxMessageSize {
		return
	}
	from, id := origin.Of(m.Header)
	s.log.opts.Deliver([]*Message{{Channel: channel, Time: time.Now().UnixNano(), ID: id, From: from, Body: m.Data}})
}

// publish checks a message and stores or sends it.
func (s *Stream) publish(p *Publication, done func(Ack, error)) {
	if err := check(p, s.policy.Load()); err != nil {
		s.log.pub.refused.Add(1)
		done(Ack{}, err)
		return
	}
	if p.QoS > 0 {
		s.log.pub.publish(s, p, done)
		return
	}
	m := &Message{Channel: p.Channel, Time: time.Now().UnixNano(), ID: p.ID, From: p.From, Body: append([]byte(nil), p.Body...)}
	if !s.log.opts.Alone {
		if err := s.log.pub.send(m); err != nil {
			s.log.pub.refused.Add(1)
			done(Ack{}, err)
			return
		}
	}
	s.log.opts.Deliver([]*Message{m})
	done(Ack{Epoch: s.Epoch(), Durability: DurabilityNone}, nil)
}
