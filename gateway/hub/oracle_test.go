package hub

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jetwire/jetwire/streams"
)

// modelFrame is what the model's frames say.
type modelFrame struct {
	Channel    string
	Pattern    string
	Epoch      string // of the log that held the message, or the gap's
	Seq, Prev  uint64
	Live       int // number of a message at QoS 0
	Gap        bool
	From, To   uint64
	NewEpoch   bool
	unreadable error
}

func messageFrame(m *streams.Message, prev uint64, pattern string) []byte {
	f := modelFrame{Channel: m.Channel, Pattern: pattern, Epoch: m.ID, Seq: m.Seq, Prev: prev}
	if m.Seq == 0 {
		f.Live = int(m.Time)
	}
	return f.bytes()
}

func gapFrame(g Gap) []byte {
	return modelFrame{Channel: g.Channel, Epoch: g.Epoch, Gap: true, From: g.From, To: g.To, NewEpoch: g.NewEpoch}.bytes()
}

func (f modelFrame) bytes() []byte {
	b, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return b
}

// subscription is the name of the subscription that a frame is for.
func (f modelFrame) subscription() string {
	if f.Pattern != "" {
		return f.Pattern
	}
	return f.Channel
}

func readFrame(b []byte) (f modelFrame) {
	f.unreadable = json.Unmarshal(b, &f)
	return f
}

// modelSink is a socket: a bounded queue, which somebody drains.
type modelSink struct {
	w *world

	mu      sync.Mutex
	room    int // frames that may wait
	waiting int
	dirty   bool // a flush is owed
	owed    bool // a frame was refused
	frames  int  // taken
	subs    map[string]*oracle
}

// Offer implements Sink.
func (s *modelSink) Offer(frame []byte) (taken, flush bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting >= s.room {
		s.owed = true
		return false, false
	}
	s.waiting++
	s.frames++
	flush = !s.dirty
	s.dirty = true
	f := readFrame(frame)
	if o := s.subs[f.subscription()]; o == nil {
		s.w.violation("a frame came without a subscription: %+v", f)
	} else if err := o.take(f); err != nil {
		s.w.violation("%v %+v: %w", o, f, err)
	}
	return true, flush
}

// drain empties the queue and tells the cursors, if they wait for that.
func (s *modelSink) drain() {
	s.mu.Lock()
	owed := s.owed
	s.waiting, s.owed = 0, false
	var cursors []*Cursor
	for _, c := range names {
		if o := s.subs[c]; o != nil && (owed || o.held) {
			o.held = false
			cursors = append(cursors, o.cursor)
		}
	}
	s.mu.Unlock()
	for _, c := range cursors {
		c.Drained()
	}
}

// oracle is one subscription as a client that follows PROTOCOL.md sees it. It judges every frame.
type oracle struct {
	channel string
	log     *modelLog
	lossy   bool
	cursor  *Cursor

	// Guarded by the sink's mu.
	epoch   string // of the position
	pos     uint64
	live    int  // number of the last message at QoS 0
	beyond  bool // it was asked for behind the end of the log: a gap is due although the epoch is the same
	early   bool // it was asked for between the change of the epoch and Reset, which may tell of it once more
	attachs int  // calls of attached
	held    bool // nothing may come yet

	// Of those that acknowledge:
	acks     bool
	acked    uint64
	top      uint64   // the highest position in this epoch
	sent     []uint64 // and not acknowledged
	progress time.Time
	again    int // times that it was sent again from acked on
}

func (o *oracle) String() string {
	return fmt.Sprintf("[%s lossy=%v at %s/%d]", o.channel, o.lossy, o.epoch, o.pos)
}

func (o *oracle) take(f modelFrame) error {
	switch {
	case f.unreadable != nil:
		return f.unreadable
	case o.attachs != 1:
		return fmt.Errorf("attached was called %d times before the first frame", o.attachs)
	case o.held:
		return fmt.Errorf("a frame for a subscription that is held")
	case f.Live > 0:
		if f.Live <= o.live {
			return fmt.Errorf("QoS 0 message %d came after %d", f.Live, o.live)
		}
		o.live = f.Live
		return nil
	case f.Gap:
		return o.takeGap(f)
	case o.lossy:
		if f.Epoch < o.epoch || f.Epoch == o.epoch && f.Seq <= o.pos {
			return fmt.Errorf("out of order")
		}
	case f.Epoch != o.epoch:
		return fmt.Errorf("a message of another epoch, without a gap")
	case f.Seq <= o.pos && o.acks && f.Seq > o.acked && f.Prev <= o.acked:
		if time.Since(o.progress) < ackWait {
			return fmt.Errorf("sent again after %v", time.Since(o.progress))
		}
		o.pos, o.sent = o.acked, nil
		o.again++
		return o.take(f)
	case f.Seq <= o.pos:
		return fmt.Errorf("a duplicate, or out of order")
	case f.Prev > o.pos:
		return fmt.Errorf("prev shows a loss that no gap named")
	default:
		if err := o.nothingBetween(f.Seq); err != nil {
			return err
		}
	}
	o.epoch, o.pos = f.Epoch, f.Seq
	if o.acks {
		o.top = max(o.top, o.pos)
		if o.sent = append(o.sent, o.pos); len(o.sent) == 1 {
			o.progress = time.Now()
		}
		if len(o.sent) > maxUnacked {
			return fmt.Errorf("%v wait for acks", o.sent)
		}
	}
	return nil
}

// ack acknowledges a position, and checks what the cursor says to that.
func (o *oracle) ack(mu *sync.Mutex, epoch string, seq uint64) error {
	mu.Lock()
	var want error
	switch {
	case o.lossy:
		want = ErrNoAcks
	case epoch != "" && epoch != o.epoch:
		want = ErrWrongEpoch
	case seq < o.acked:
		want = ErrAckBehind
	case seq > max(o.top, o.pos):
		want = ErrAckAhead
	case seq > o.acked:
		o.acked, o.progress = seq, time.Now()
		o.sent = slices.DeleteFunc(o.sent, func(s uint64) bool { return s <= seq })
		o.pos = max(o.pos, seq)
	}
	mu.Unlock() // what the ack lets come may come before it returns
	if err := o.cursor.Ack(epoch, seq); err != want {
		return fmt.Errorf("%v: ack of %s/%d: %v, want %v", o, epoch, seq, err, want)
	}
	return nil
}

// nothingBetween checks that the channel never held anything between the position and before.
func (o *oracle) nothingBetween(before uint64) error {
	o.log.mu.Lock()
	defer o.log.mu.Unlock()
	if epochName(o.log.life) != o.epoch {
		return nil // it cannot be known any more
	}
	if held, left := o.log.channelSeqs(o.channel, o.pos, before); len(held)+len(left) > 0 {
		return fmt.Errorf("silent loss: held %s, left %s", sequences(held), sequences(left))
	}
	return nil
}

func (o *oracle) takeGap(f modelFrame) error {
	if o.lossy {
		return fmt.Errorf("a gap at QoS 0")
	}
	if f.NewEpoch {
		if f.Epoch == o.epoch && !o.beyond && !o.early {
			return fmt.Errorf("a gap to the epoch that it has")
		}
		if f.Epoch < o.epoch && o.epoch != otherEpoch {
			return fmt.Errorf("a gap to an older epoch")
		}
		o.epoch, o.pos, o.beyond = f.Epoch, 0, false
		o.acked, o.top, o.sent = 0, 0, nil
		return nil
	}
	if o.acks && f.From <= o.pos && f.From > o.acked && time.Since(o.progress) >= ackWait { // what is to be sent again is lost
		o.pos, o.sent = o.acked, nil
	}
	switch {
	case f.Epoch != o.epoch:
		return fmt.Errorf("a gap of another epoch")
	case f.From <= o.pos || f.To < f.From:
		return fmt.Errorf("a gap that is empty, or behind the position")
	}
	if err := o.nothingBetween(f.From); err != nil {
		return err
	}
	o.log.mu.Lock()
	defer o.log.mu.Unlock()
	if epochName(o.log.life) == o.epoch {
		if held, _ := o.log.channelSeqs(o.channel, f.From-1, f.To+1); len(held) > 0 {
			return fmt.Errorf("the log holds %s, which the gap calls lost", sequences(held))
		}
	}
	o.pos, o.top = f.To, max(o.top, f.To)
	return nil
}

// complete checks that everything was delivered.
func (o *oracle) complete(final bool) error {
	o.log.mu.Lock()
	life, last := o.log.life, o.log.last()
	held, _ := o.log.channelSeqs(o.channel, 0, last+1)
	o.log.mu.Unlock()
	if o.lossy {
		if newest := slices.Max(append(held, 0)); final && o.pos != newest {
			return fmt.Errorf("%v missed the newest message, %d", o, newest)
		}
		return nil
	}
	if o.epoch != epochName(life) {
		return fmt.Errorf("%v is not in epoch %d", o, life)
	}
	if err := o.nothingBetween(last + 1); err != nil {
		return fmt.Errorf("%v at the end: %w", o, err)
	}
	return nil
}
