package index

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// TestRemoveEverything takes the entries of channels of several blocks out in a random order.
func TestRemoveEverything(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for range 20 {
		x := New(0)
		var left []uint64
		for seq := uint64(1); seq <= 2000; seq++ {
			if r.IntN(3) == 0 {
				x.Append("chat.a", seq, 0)
				left = append(left, seq)
			}
		}
		for len(left) > 0 {
			i := r.IntN(len(left))
			x.Remove("chat.a", left[i])
			left = slices.Delete(left, i, i+1)
			if got := x.After(nil, "chat.a", 0, all, 2000); !slices.Equal(got, left) {
				t.Fatalf("got %v, want %v", got, left)
			}
			if ch := x.find("chat.a"); x.entries(ch) != uint64(len(left)) {
				t.Fatalf("counted %d of %d", x.entries(ch), len(left))
			}
			if r.IntN(100) == 0 { // the newest block may be an older one by now
				seq := x.head + 1
				x.Append("chat.a", seq, 0)
				left = append(left, seq)
			}
		}
		if x.longs.live() != 0 {
			t.Fatal("an empty channel keeps blocks")
		}
	}
}

// The clock may have stepped back between what a window brings and what is there: block times must ascend all the same.
func TestSeekTimeAcrossAClockStep(t *testing.T) {
	x := New(0)
	x.Reset(1001)
	step := int64(30 * time.Second)
	for seq := uint64(1001); seq <= 5000; seq++ { // many more, so that a search begins among these
		x.Append("chat.a", seq, int64(seq)*1e6)
	}
	w := NewWindow(1, 1001)
	for seq := uint64(1); seq <= 1000; seq++ {
		w.Add("chat.a", seq, int64(seq)*1e6+step)
	}
	x.Prepend(w)
	for seq := uint64(1); seq <= 1000; seq++ {
		if got := x.SeekTime("chat.a", int64(seq)*1e6+step); got > seq || seq-got > blockEntries {
			t.Fatalf("SeekTime of %d is %d", seq, got)
		}
	}
}

func TestSeekTimeReachesFurtherBackWithEachWindow(t *testing.T) {
	x := New(0)
	hour := int64(time.Hour)
	x.Reset(100)
	x.Append("chat.a", 100, 10*hour)
	want(t, "before the rebuild", x.SeekTime("chat.a", 6*hour), 0)
	w := NewWindow(50, 100)
	w.Add("chat.a", 50, 5*hour)
	w.Add("chat.a", 60, 7*hour)
	x.Prepend(w)
	want(t, "within the window", x.SeekTime("chat.a", 6*hour), 50)
	want(t, "below it", x.SeekTime("chat.a", 4*hour), 0)
}

// TestPrependWhileTheBudgetIsReached lets appends force out what a running Prepend has joined, and looks for holes.
func TestPrependWhileTheBudgetIsReached(t *testing.T) {
	const old, size = 60_000, 12_000
	ns := names(2000)
	name := func(seq uint64) string { return ns[seq*seq%3001%2000] }
	kept, raised := 0, 0
	for round := range 12 {
		x := New(230<<10 + int64(round)<<13)
		x.bits = 8
		x.Reset(old + 1)
		head := uint64(old)
		x.between = func() {
			for range round % 4 * 100 {
				head++
				x.Append(name(head), head, 0)
			}
		}
		x.between()
		for to := x.Floor(); to > size; to = x.Floor() {
			w := NewWindow(to-size, to)
			for seq := to - size; seq < to; seq++ {
				w.Add(name(seq), seq, 0)
			}
			x.Prepend(w)
			for seq := x.Floor(); seq <= head; seq++ {
				if len(x.After(nil, name(seq), seq-1, seq, 1)) != 1 {
					t.Fatalf("round %d: %d is missing from %s, floor %d", round, seq, name(seq), x.Floor())
				}
			}
			if x.Floor() > to-size { // no room for more
				raised++
				break
			}
			kept++
		}
	}
	if kept == 0 || raised == 0 {
		t.Fatalf("%d windows kept, %d in part", kept, raised)
	}
}

// What appends forced out of a window half joined stays below the floor, even if there is room again when it is joined.
func TestFloorAfterAppendsMadeRoom(t *testing.T) {
	for range 100 {
		if x := prependedIntoRoom(); x.bytes()+100 <= x.budget {
			want(t, "entries of chat.0", len(x.After(nil, "chat.0", 0, all, 1000)), 0)
			if x.Floor() <= 100 {
				t.Fatalf("floor %d, but 1 to 100 are forgotten", x.Floor())
			}
			return
		}
	}
	t.Fatal("this shows nothing: what was joined last always needed room itself")
}

// prependedIntoRoom returns an index in which there is room again when a window has been joined, unless the names' hashes, which differ each
// time, let a table grow last.
func prependedIntoRoom() *Index {
	x := New(0)
	x.bits = 8
	x.Reset(7000)
	w := NewWindow(1, 7000)
	seq := uint64(0)
	for i := range adoptStep {
		for range 100 {
			seq++
			w.Add(fmt.Sprint("chat.", i), seq, 0)
		}
	}
	w.Add("chat.last", seq+1, 0)
	x.between = func() {
		x.budget = x.bytes()
		x.Append("chat.new", 7000, 0)
	}
	x.Prepend(w)
	return x
}

// TestResetDuringPrepend forgets the stream while a window of it is being joined.
func TestResetDuringPrepend(t *testing.T) {
	x := New(0)
	x.Reset(1000)
	w := NewWindow(1, 1000)
	for seq := uint64(1); seq < 1000; seq++ {
		w.Add(fmt.Sprint("chat.", seq), seq, 0)
	}
	x.between = func() {
		x.between = nil
		x.Reset(1000) // the floor is the same, the stream is not
	}
	x.Prepend(w)
	want(t, "floor", x.Floor(), 1000)
	channels, _ := x.Stats()
	want(t, "channels", channels, 0)
}
