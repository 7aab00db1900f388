package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const all = ^uint64(0)

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func TestPrevOfACompleteIndex(t *testing.T) {
	x := New(0)
	want(t, "first of a", x.Append("chat.a", 1, 0), 0)
	want(t, "first of b", x.Append("chat.b", 2, 0), 0)
	want(t, "second of a", x.Append("chat.a", 5, 0), 1)
	want(t, "Prev(5)", x.Prev("chat.a", 5), 1)
	want(t, "told again", x.Append("chat.a", 5, 0), 1)
	want(t, "what told again added", x.After(nil, "chat.a", 0, all, 9), []uint64{1, 5})
	x.Remove("chat.a", 1)
	want(t, "Prev(5) after 1 was removed", x.Prev("chat.a", 5), 1)
	want(t, "Dropped", x.Dropped("chat.a"), 1)
	x.Remove("chat.b", 2)
	want(t, "Prev on a channel that lost all", x.Prev("chat.b", 9), 2)
	want(t, "Append to it", x.Append("chat.b", 9, 0), 2)
}

func TestPrevBeforeAndAfterTheRebuild(t *testing.T) {
	x := New(0)
	x.Reset(100)
	want(t, "bound", x.Append("chat.a", 105, 0), 99)
	want(t, "Prev of what is below", x.Prev("chat.a", 50), 49)
	w := NewWindow(60, 100)
	w.Add("chat.a", 70, 0)
	w.Add("chat.b", 71, 0)
	x.Prepend(w)
	want(t, "floor", x.Floor(), 60)
	want(t, "exact", x.Prev("chat.a", 105), 70)
	want(t, "a channel that was seen in the window only", x.Append("chat.b", 106, 0), 71)
	want(t, "bound of another", x.Append("chat.c", 107, 0), 59)
	x.Prepend(NewWindow(10, 40)) // does not end at the floor
	want(t, "floor after a window that does not fit", x.Floor(), 60)
	x.Trim(60)
	want(t, "exact once the log begins at the floor", x.Prev("chat.c", 107), 0)
}

// A channel that is full may have lost messages before the index was told of any: 0 would hide that.
func TestPrevOfTheOldestOfAFullChannel(t *testing.T) {
	x := New(0)
	x.SetMaxPerChannel(2)
	x.Reset(10)
	x.Append("chat.a", 12, 0)
	x.Prepend(NewWindow(1, 10))
	want(t, "not full", x.Prev("chat.a", 12), 0)
	x.Append("chat.a", 13, 0)
	want(t, "full", x.Prev("chat.a", 12), 11)
	x.Append("chat.a", 15, 0)
	want(t, "what was seen to leave", x.Prev("chat.a", 13), 12)
	want(t, "Dropped", x.Dropped("chat.a"), 12)
}

func TestSeekTimeIsCloseWithManyBlocks(t *testing.T) {
	x := New(0)
	for seq := uint64(1); seq <= 10_000; seq++ {
		at := int64(seq) * 1000
		if seq == 5000 {
			at += 1_000_000 // the clock jumped ahead once
		}
		x.Append("chat.a", seq, at)
	}
	for _, seq := range []uint64{1, 2, 1000, 4999, 7000, 9999, 10_000} {
		got := x.SeekTime("chat.a", int64(seq)*1000)
		if early := seq - got; got > seq || early > blockEntries && (seq <= 5000 || seq > 6000+blockEntries) && early > 2000 {
			t.Errorf("SeekTime of %d is %d", seq, got)
		}
	}
	want(t, "after all", x.SeekTime("chat.a", 1<<40), 10_001)
	want(t, "unknown channel", x.SeekTime("chat.b", 0), 10_001)
	x.Reset(20_000)
	want(t, "knowing nothing", x.SeekTime("chat.a", 1<<40), 0)
	x.Append("chat.b", 20_000, int64(time.Hour))
	want(t, "within the slack of what is not known", x.SeekTime("chat.a", int64(time.Hour+ClockSlack)), 0)
	want(t, "past it", x.SeekTime("chat.a", int64(time.Hour+ClockSlack)+1), 20_001)
}

func TestNamesBeyondTheGrammarAreNotKept(t *testing.T) {
	x := New(0)
	long := strings.Repeat("x", maxName+1)
	want(t, "Append", x.Append(long, 7, 0), 6)
	want(t, "After", len(x.After(nil, long, 0, all, 9)), 0)
	want(t, "SeekTime", x.SeekTime(long, 0), 0)
	x.Append(long[1:], 8, 0)
	want(t, "the longest kept", x.After(nil, long[1:], 0, all, 9), []uint64{8})
}

// TestBudget fills an index far past its budget, and then empties it.
func TestBudget(t *testing.T) {
	const budget = 128 << 10
	for _, c := range []struct{ channels, keep int }{{1, 0}, {50, 0}, {3000, 0}, {1 << 30, 0}, {3000, 3}, {3, 50}} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			x := New(budget)
			x.SetMaxPerChannel(int64(c.keep))
			r := rand.New(rand.NewPCG(5, 6))
			last := map[string][]uint64{}
			var highest int64
			const total = 300_000
			for seq := uint64(1); seq <= total; seq++ {
				name := fmt.Sprintf("chat.%d", r.IntN(c.channels))
				x.Append(name, seq, 0)
				last[name] = append(last[name], seq)
				_, bytes := x.Stats()
				highest = max(highest, bytes)
			}
			if highest > budget+(150<<bucketBits) {
				t.Fatalf("held %d bytes", highest)
			}
			floor := x.Floor()
			if floor > total || floor == 1 && c.channels > 3 {
				t.Fatalf("floor %d", floor)
			}
			for name, seqs := range last {
				i, _ := slices.BinarySearch(seqs, floor)
				if c.keep > 0 {
					i = max(i, len(seqs)-c.keep)
				}
				known := seqs[i:]
				if got := x.After(nil, name, 0, all, total); !slices.Equal(got, known) {
					t.Fatalf("%s: %d known above %d, want %d", name, len(got), floor, len(known))
				}
			}
			x.Trim(total + 1)
			x.Trim((total>>bucketBits + 1) << bucketBits)
			if channels, _ := x.Stats(); channels != 0 {
				t.Fatalf("%d channels left", channels)
			}
			if x.arena.used != 0 || x.channels.live() != 0 || x.longs.live() != 0 {
				t.Fatalf("left: %d bytes, %d channels, %d long", x.arena.used, x.channels.live(), x.longs.live())
			}
		})
	}
}

// TestAppendDoesNotAllocate gates the hot path; what grows is amortised.
func TestAppendDoesNotAllocate(t *testing.T) {
	x := New(0)
	ns := names(1000)
	seq := uint64(0)
	n := testing.AllocsPerRun(100_000, func() {
		seq++
		x.Append(ns[seq%1000], seq, int64(seq))
	})
	want(t, "allocations", n, 0)
}

// TestConcurrently appends, rebuilds, trims, removes and reads at once, and then compares what is left.
func TestConcurrently(t *testing.T) {
	const old, total = 20_000, 40_000
	ns := names(300)
	name := func(seq uint64) string { return ns[seq*seq%307%300] }
	x := New(0)
	x.Reset(old + 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		for seq := uint64(old + 1); seq <= total; seq++ {
			x.Append(name(seq), seq, int64(seq))
		}
	})
	wg.Go(func() {
		for to := uint64(old + 1); to > 1; to -= 500 {
			w := NewWindow(to-500, to)
			for seq := to - 500; seq < to; seq++ {
				w.Add(name(seq), seq, int64(seq))
			}
			x.Prepend(w)
		}
	})
	wg.Go(func() {
		for first := uint64(1); first <= 1000; first += 10 {
			x.Trim(first)
			x.SetMaxPerChannel(0)
			x.Remove(name(old+first), old+first)
		}
	})
	for range 2 {
		wg.Go(func() {
			var buf []uint64
			for i := uint64(0); i < 20_000; i++ {
				c := ns[i%300]
				buf = x.After(buf[:0], c, i, all, 50)
				if !slices.IsSorted(buf) {
					t.Errorf("After(%s): %v", c, buf)
				}
				buf = x.Before(buf[:0], c, 0, all, 50)
				for k, s := range buf {
					if name(s) != c || k > 0 && s >= buf[k-1] {
						t.Errorf("Before(%s): %v", c, buf)
					}
				}
				x.SeekTime(c, int64(i))
				x.Dropped(c)
				x.Stats()
				if seq := x.Floor() + i; x.Prev(c, seq) >= seq {
					t.Errorf("Prev(%s, %d) is not below", c, seq)
				}
			}
		})
	}
	wg.Wait()
	want(t, "floor", x.Floor(), 1)
	known := map[string][]uint64{}
	for seq := uint64(1); seq <= total; seq++ {
		if removed := seq > old && seq <= old+1000 && (seq-old)%10 == 1 && !slices.Contains(x.After(nil, name(seq), seq-1, seq, 1), seq); seq >= 991 && !removed {
			known[name(seq)] = append(known[name(seq)], seq)
		}
	}
	for c, seqs := range known {
		if got := x.After(nil, c, 0, all, total); !slices.Equal(got, seqs) {
			t.Fatalf("%s: %d known, want %d", c, len(got), len(seqs))
		}
	}
}
