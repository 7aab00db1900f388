package streams

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"
)

// storm reads channels at once, one of so many, from their beginnings, and returns what it got.
func storm(t testing.TB, s *Stream, channels, of int) []Page {
	t.Helper()
	const readers = 16 // as the hub has
	pages := make([]Page, channels)
	var wg sync.WaitGroup
	for first := range readers {
		wg.Go(func() {
			for i := first * of; i < channels; i += readers * of {
				p, err := s.Page(context.Background(), PageRequest{Channel: fmt.Sprintf("chat.c%d", i), Limit: 1000})
				if err != nil {
					t.Error(err)
					return
				}
				pages[i] = p
			}
		})
	}
	wg.Wait()
	return pages
}

// TestBlocks checks that what many cursors want together is read by blocks, and is the same as what was delivered.
func TestBlocks(t *testing.T) {
	for _, c := range []struct {
		name            string
		channels, count int
		size            int
		blocks          bool
	}{
		{"all want all", 1000, 10_000, 1, true},
		{"large messages", 500, 5000, 4 << 10, true}, // a block takes several runs
		{"each a little", blockLeast / 4, 3 * blockLeast / 4, 1, false},
		{"few, each a lot", blockPages / 4, 6 * blockLeast, 1, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, func(o *Options) { o.RingBytes = 1 })
			s := fillDense(t, r, c.channels, c.count, c.size)
			st, err := r.js().Stream(t.Context(), s.name)
			if err != nil {
				t.Fatal(err)
			}
			gone := map[uint64]bool{}
			for seq := uint64(50); seq < uint64(c.count); seq += 1500 {
				gone[seq] = true
				if err := st.DeleteMsg(t.Context(), seq); err != nil {
					t.Fatal(err)
				}
			}
			pages := storm(t, s, c.channels, 1)
			at := make([]int, c.channels)
			for _, m := range r.delivered() {
				i := int(m.Seq-1) % c.channels
				p := pages[i]
				if gone[m.Seq] {
					if p.LostFrom > m.Seq || p.LostTo < m.Seq {
						t.Errorf("%d is gone, and %d to %d are reported lost", m.Seq, p.LostFrom, p.LostTo)
					}
					continue
				}
				if at[i] >= len(p.Messages) {
					t.Fatalf("%d is missing", m.Seq)
				}
				if g := p.Messages[at[i]]; g.Channel != m.Channel || g.Seq != m.Seq || g.From != m.From || g.Time != m.Time || len(g.Body) != len(m.Body) || g.Prev >= m.Seq {
					t.Fatalf("read %+v, delivered %+v", g, m)
				}
				at[i]++
			}
			for i, p := range pages {
				if at[i] != len(p.Messages) || p.More {
					t.Errorf("channel %d: %d read of %d", i, len(p.Messages), at[i])
				}
			}
			stats := r.log.Stats()
			if (stats.RunReads > 0) != c.blocks {
				t.Errorf("%d messages were read in blocks", stats.RunReads)
			}
			if c.blocks && stats.DirectGets > uint64(c.count)/2 {
				t.Errorf("%d messages were read one by one", stats.DirectGets)
			}
			checkHeld(t, r.log, &s.gen.Load().runs)
			eventually(t, "what nobody uses to be dropped", func() bool { return r.log.rd.blocks.Load() == 0 })
		})
	}
}

// checkHeld checks that the blocks are counted as what they hold.
func checkHeld(t *testing.T, l *Log, x *runs) {
	t.Helper()
	x.mu.Lock()
	defer x.mu.Unlock()
	held := int64(0)
	for _, r := range x.list {
		bytes := int64(0)
		for _, m := range r.messages {
			bytes += cost(m)
		}
		if bytes != r.bytes || bytes > 2*runBytes {
			t.Errorf("a block of %d bytes is counted as %d", bytes, r.bytes)
		}
		held += bytes
	}
	if n := l.rd.blocks.Load(); n != held || n > maxBlocksBytes {
		t.Errorf("the blocks hold %d bytes, counted are %d", held, n)
	}
}

// TestBlocksAreBounded checks that the blocks of all streams stay within their bytes, that those used last stay, and that no more are read for a while
// when those that went were hardly used.
func TestBlocksAreBounded(t *testing.T) {
	l := &Log{ctx: t.Context()}
	l.rd = newReader(l)
	x, other := runs{held: &l.rd.blocks}, runs{held: &l.rd.blocks}
	const most = maxBlocksBytes / runBytes
	read := func(x *runs, number uint64) *run {
		seqs := make([]uint64, blockLeast)
		for i := range seqs {
			seqs[i] = number*blockLength + uint64(i)
		}
		have := make([]*Message, len(seqs))
		x.demand = demand{}
		for page := range blockPages {
			if x.want(have, seqs) != (page == blockPages-1) {
				t.Fatalf("page %d decides otherwise", page)
			}
		}
		r, busy := x.beginBlock(have, seqs, 1<<40)
		if busy != nil {
			t.Fatal("somebody else reads it")
		}
		if r == nil {
			return nil
		}
		if again, busy := x.beginBlock(have, seqs, 1<<40); again != nil || busy != r {
			t.Fatal("a block is read twice")
		}
		var messages []*Message
		for i := range uint64(blockLength) {
			messages = append(messages, &Message{Seq: number*blockLength + i})
		}
		x.end(r, messages, runBytes)
		return r
	}
	for n := range uint64(most) {
		if r := read(&x, n+1); r == nil {
			t.Fatalf("there was no room for block %d", n)
		}
		if n > 0 && x.fill(make([]*Message, 1), []uint64{blockLength}) != 1 { // the first is used all the time
			t.Fatal("the first block is gone")
		}
	}
	if read(&other, 1) != nil || len(other.list) > 0 {
		t.Error("another stream got more than there is")
	}
	if read(&x, most+1) == nil || len(x.list) != most || l.rd.blocks.Load() != maxBlocksBytes {
		t.Errorf("%d blocks, %d bytes", len(x.list), l.rd.blocks.Load())
	}
	if x.fill(make([]*Message, 1), []uint64{blockLength}) != 1 {
		t.Error("the block that was in use is gone")
	}
	if read(&x, most+2) != nil {
		t.Error("blocks are read in the place of others that were hardly used")
	}
	x.finish()
	x.off = time.Time{}
	if l.rd.blocks.Load() != 0 || read(&x, 1) != nil {
		t.Error("blocks of a stream that was made anew")
	}
	for n := range 2 * maxDemand {
		x.want([]*Message{nil}, []uint64{uint64(n) * blockLength})
	}
	if n := len(x.demand.blocks); n > maxDemand {
		t.Errorf("%d blocks are counted", n)
	}
}

// BenchmarkStorm lets cursors on all channels, or one of so many, read the stream together, none of it in the ring.
func BenchmarkStorm(b *testing.B) {
	const channels, count = 10_000, 200_000
	r := newRig(b, func(o *Options) { o.RingBytes, o.Deliver = 1, func([]*Message) {} })
	s := fillDense(b, r, channels, count, 128)
	x := &s.gen.Load().runs
	for _, of := range []int{1, 2, 5, 10} {
		for _, use := range []bool{false, true} {
			b.Run(fmt.Sprintf("1/%d,blocks=%v", of, use), func(b *testing.B) {
				used, before := cpu(), r.log.Stats()
				for b.Loop() {
					x.clear()
					x.mu.Lock()
					x.off, x.demand = time.Time{}, demand{}
					if !use {
						x.off = time.Now().Add(time.Hour)
					}
					x.mu.Unlock()
					storm(b, s, channels, of)
				}
				total, after := float64(b.N*count/of), r.log.Stats()
				b.ReportMetric(total/b.Elapsed().Seconds(), "msgs/s")
				b.ReportMetric(float64((cpu()-used).Microseconds())/total, "cpu-µs/msg")
				b.ReportMetric(float64(after.DirectGets-before.DirectGets)/total, "gets/msg")
				b.ReportMetric(float64(after.RunReads-before.RunReads)/total, "run-reads/msg")
			})
		}
	}
}
