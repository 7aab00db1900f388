package hub

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jetwire/jetwire/streams"
)

// acked is a cursor with acknowledgements on a log of the channel a.x, in a bubble of its own.
type acked struct {
	t    *testing.T
	hub  *Hub
	log  *modelLog
	sink *recorder
	c    *Cursor
}

func withAcks(t *testing.T, stored int, run func(*acked)) {
	synctest.Test(t, func(t *testing.T) {
		a := &acked{t: t, log: newModelLog(1, 0), sink: &recorder{room: 1 << 20}}
		a.hub = New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}, AckWait: ackWait, MaxUnacked: maxUnacked})
		defer a.hub.Close()
		for range stored {
			a.log.store("a.x")
		}
		a.c = a.hub.Subscribe(Request{Channel: "a.x", Log: a.log, Sink: a.sink, Acked: true, Resume: true}, nothing)
		a.tail()
		run(a)
	})
}

func (a *acked) tail() {
	a.hub.Deliver(a.log.tail(1<<20, func() bool { return false }))
	synctest.Wait()
}

func (a *acked) setRoom(n int) {
	a.sink.mu.Lock()
	defer a.sink.mu.Unlock()
	a.sink.room = n
}

// want checks what came since it was last asked.
func (a *acked) want(seqs ...uint64) {
	a.t.Helper()
	synctest.Wait()
	if got := a.sink.seqs(); !slices.Equal(got, seqs) {
		a.t.Fatalf("got %v, want %v", got, seqs)
	}
	a.sink.mu.Lock()
	a.sink.frames = nil
	a.sink.mu.Unlock()
}

func (a *acked) ack(seq uint64, want error) {
	a.t.Helper()
	if err := a.c.Ack("", seq); !errors.Is(err, want) {
		a.t.Fatalf("ack of %d: %v, want %v", seq, err, want)
	}
}

func TestUnackedIsSentAgain(t *testing.T) {
	withAcks(t, 3, func(a *acked) {
		a.want(1, 2, 3)
		time.Sleep(ackWait - time.Millisecond)
		a.want()
		time.Sleep(ackWait/rewindEvery + time.Millisecond)
		a.want(1, 2, 3)
		a.ack(2, nil)
		time.Sleep(ackWait + ackWait/rewindEvery)
		a.want(3)
		a.ack(3, nil)
		time.Sleep(10 * ackWait)
		a.want()
		a.log.store("a.x") // the live path, too
		a.tail()
		a.want(4)
		time.Sleep(ackWait + ackWait/rewindEvery)
		a.want(4)
		if st := a.hub.Stats(); st.Redelivered != 3 {
			t.Errorf("%+v", st)
		}
	})
}

// Who acknowledges now and then is not sent anything twice, however long it takes.
func TestProgressHoldsOffRedelivery(t *testing.T) {
	withAcks(t, 4, func(a *acked) {
		a.want(1, 2, 3, 4)
		for seq := uint64(1); seq <= 4; seq++ {
			time.Sleep(ackWait - time.Millisecond)
			a.ack(seq, nil)
		}
		a.want()
	})
}

func TestOnlySoMuchIsOnItsWay(t *testing.T) {
	withAcks(t, 9, func(a *acked) {
		a.want(1, 2, 3, 4)
		time.Sleep(ackWait + ackWait/rewindEvery)
		a.want(1, 2, 3, 4)
		a.ack(1, nil)
		a.want(5)
		a.ack(5, nil)
		a.want(6, 7, 8, 9)
		a.log.store("a.x")
		a.tail()
		a.want() // on the live path neither
		a.ack(9, nil)
		a.want(10)
	})
}

// What was sent before a rewind may be acknowledged behind it, and is then not sent again.
func TestLateAck(t *testing.T) {
	withAcks(t, 3, func(a *acked) {
		a.want(1, 2, 3)
		a.setRoom(0)
		time.Sleep(ackWait + ackWait/rewindEvery) // it went back, but the socket takes nothing
		a.ack(3, nil)
		a.setRoom(9)
		a.c.Drained()
		a.want()
		a.ack(2, ErrAckBehind)
		a.ack(4, ErrAckAhead)
	})
}

func TestBadAcksChangeNothing(t *testing.T) {
	withAcks(t, 2, func(a *acked) {
		a.want(1, 2)
		a.ack(1, nil)
		a.ack(3, ErrAckAhead)
		a.ack(0, ErrAckBehind)
		if err := a.c.Ack(otherEpoch, 2); !errors.Is(err, ErrWrongEpoch) {
			t.Error(err)
		}
		if epoch, seq := a.c.Acked(); seq != 1 || epoch != epochName(0) {
			t.Errorf("acknowledged: %s/%d", epoch, seq)
		}
	})
}

// Positions of the old epoch mean nothing in a new one.
func TestAcksEndWithTheEpoch(t *testing.T) {
	withAcks(t, 2, func(a *acked) {
		a.want(1, 2)
		a.ack(2, nil)
		a.log.anew([]string{"a.x"})
		a.hub.Reset("a")
		a.want(0, 1) // the gap, and what the new epoch holds
		if err := a.c.Ack(epochName(0), 1); !errors.Is(err, ErrWrongEpoch) {
			t.Error(err)
		}
		a.ack(2, ErrAckAhead)
		a.ack(1, nil)
	})
}

// Whoever is restored before it has acknowledged anything of the new epoch is told of the gap again: it may not have had it.
func TestOldPositionCountsUntilTheFirstAck(t *testing.T) {
	withAcks(t, 2, func(a *acked) {
		a.want(1, 2)
		a.ack(2, nil)
		position := func(epoch string, seq uint64) {
			t.Helper()
			if e, s := a.c.Acked(); e != epoch || s != seq {
				t.Fatalf("acknowledged: %s/%d, want %s/%d", e, s, epoch, seq)
			}
		}
		for life := 1; life <= 2; life++ {
			a.log.anew([]string{"a.x"})
			a.hub.Reset("a")
			a.want(0, 1)
			position(epochName(0), 2)
		}
		a.c.Cancel()
		a.c = a.hub.Subscribe(Request{Channel: "a.x", Log: a.log, Sink: a.sink, Acked: true, Resume: true, Since: 2, Epoch: epochName(0)}, nothing)
		a.want(0, 1)
		position(epochName(0), 2)
		a.ack(2, ErrAckAhead)
		position(epochName(0), 2)
		a.ack(1, nil)
		position(epochName(2), 1)
		a.hub.Reset("a") // the store came back with less of the same epoch
		position(epochName(2), 0)
	})
}

func TestHeldUntilDrained(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}})
		defer h.Close()
		l, sink := newModelLog(1, 0), &recorder{room: 9}
		c := h.Subscribe(Request{Channel: "a.x", Log: l, Sink: sink, Held: true}, nothing)
		l.store("a.x")
		h.Deliver(l.tail(1, func() bool { return false }))
		synctest.Wait()
		if got := sink.seqs(); len(got) > 0 {
			t.Fatalf("got %v", got)
		}
		c.Drained()
		synctest.Wait()
		if got := sink.seqs(); !slices.Equal(got, []uint64{1}) {
			t.Fatalf("got %v", got)
		}
	})
}

// At QoS 0 a full socket skips; the newest of what it missed comes when it has room again.
func TestNewestWins(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}})
		defer h.Close()
		sink := &recorder{room: 1}
		c := h.Subscribe(Request{Channel: "a.x", Log: &fixedLog{epoch: always("e")}, Sink: sink, Lossy: true}, nothing)
		for seq := uint64(1); seq <= 4; seq++ {
			h.Deliver([]*streams.Message{{Channel: "a.x", Seq: seq, Prev: seq - 1}})
		}
		sink.mu.Lock()
		sink.room = 9
		sink.mu.Unlock()
		c.Drained()
		c.Drained()
		synctest.Wait()
		if got := sink.seqs(); !slices.Equal(got, []uint64{1, 4}) {
			t.Errorf("got %v", got)
		}
		if st := h.Stats(); st.Skipped != 3 || c.topic.newest != nil {
			t.Errorf("%+v", st)
		}
	})
}

func TestStrictNamespaceClosesSlowSockets(t *testing.T) {
	var slow []Sink
	h := New(Options{Message: messageFrame, Gap: gapFrame, Flush: func([]Sink) {}, TooSlow: func(s Sink) { slow = append(slow, s) }})
	t.Cleanup(h.Close)
	patient, strict := &recorder{}, &recorder{}
	l := &fixedLog{epoch: always("e")}
	h.Subscribe(Request{Channel: "a.x", Log: l, Sink: patient}, nothing)
	h.Subscribe(Request{Channel: "a.x", Log: l, Sink: strict, Strict: true}, nothing)
	h.Deliver([]*streams.Message{{Channel: "a.x", Seq: 1}})
	if len(slow) != 1 || slow[0] != strict {
		t.Errorf("closed: %v", slow)
	}
}
