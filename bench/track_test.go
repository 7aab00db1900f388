package bench

import (
	"flag"
	"testing"

	"pgregory.net/rapid"
)

// Every run tries the same programs, so that none fails by chance; -rapid.seed=0 tries others.
func init() { _ = flag.Set("rapid.seed", "1") }

func TestTrackJudges(t *testing.T) {
	type m struct{ n, seq, prev uint64 }
	for _, test := range []struct {
		name string
		got  []m
		want []verdict
		lost uint64 // of 4 published
		bad  uint64
	}{
		{"all in order", []m{{1, 11, 5}, {2, 12, 11}, {3, 15, 12}, {4, 16, 15}}, []verdict{inOrder, inOrder, inOrder, inOrder}, 0, 0},
		{"one missing", []m{{1, 11, 0}, {3, 15, 12}, {4, 16, 15}}, []verdict{inOrder, skipped, inOrder}, 1, 0},
		{"last missing", []m{{1, 11, 0}, {2, 12, 11}, {3, 15, 12}}, []verdict{inOrder, inOrder, inOrder}, 1, 0},
		{"nothing came", nil, nil, 4, 0},
		{"twice", []m{{1, 11, 0}, {1, 11, 0}, {2, 12, 11}, {3, 13, 12}, {4, 14, 13}}, []verdict{inOrder, duplicated, inOrder, inOrder, inOrder}, 0, 0},
		{"swapped", []m{{2, 12, 11}, {1, 11, 0}, {3, 13, 12}, {4, 14, 13}}, []verdict{skipped, reordered, inOrder, inOrder}, 0, 0},
		{"prev claims a loss", []m{{1, 11, 0}, {2, 14, 13}, {3, 15, 14}, {4, 16, 15}}, []verdict{inOrder, inOrder, inOrder, inOrder}, 0, 1},
		{"seq goes back", []m{{1, 11, 0}, {2, 9, 0}, {3, 15, 11}, {4, 16, 15}}, []verdict{inOrder, inOrder, inOrder, inOrder}, 0, 1},
		{"stored twice", []m{{1, 11, 0}, {1, 12, 11}, {2, 13, 12}, {3, 14, 13}, {4, 15, 14}}, []verdict{inOrder, duplicated, inOrder, inOrder, inOrder}, 0, 1},
		{"not ours", []m{{0, 11, 0}}, []verdict{foreign}, 4, 0},
	} {
		tr := track{seq: 10}
		for i, x := range test.got {
			if v := tr.see(&push{stored: true, n: x.n, seq: x.seq, prev: x.prev}); v != test.want[i] {
				t.Errorf("%s: message %d judged %d, want %d", test.name, i, v, test.want[i])
			}
		}
		if lost := tr.lost(4, 0); lost != test.lost {
			t.Errorf("%s: %d lost, want %d", test.name, lost, test.lost)
		}
		if tr.wrong != test.bad {
			t.Errorf("%s: %d wrong, want %d", test.name, tr.wrong, test.bad)
		}
	}
}

func TestTrackDoesNotCountWhatWasRefused(t *testing.T) {
	var tr track
	tr.see(&push{n: 1})
	tr.see(&push{n: 3})
	if lost := tr.lost(3, 1); lost != 0 {
		t.Errorf("%d lost", lost)
	}
}

func TestTrackForgetsOldHolesButCountsThem(t *testing.T) {
	var tr track
	const n = 2 * maxHoles
	for i := range uint64(n) {
		tr.see(&push{n: 2*i + 2})
	}
	if lost := tr.lost(2*n, 0); lost != n {
		t.Errorf("%d lost, want %d", lost, n)
	}
	if len(tr.holes) > maxHoles {
		t.Errorf("%d holes", len(tr.holes))
	}
}

// TestTrackAgainstAModel delivers a random selection, with repetitions, in a random order.
func TestTrackAgainstAModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		published := rapid.Uint64Range(1, 60).Draw(t, "published")
		order := rapid.SliceOfN(rapid.Uint64Range(1, published), 0, 100).Draw(t, "order")
		var tr track
		seen, highest := map[uint64]bool{}, uint64(0)
		for _, n := range order {
			want := inOrder
			switch {
			case seen[n]:
				want = duplicated
			case n < highest:
				want = reordered
			case n > highest+1:
				want = skipped
			}
			if got := tr.see(&push{n: n}); got != want {
				t.Fatalf("%v: %d judged %d, want %d", order, n, got, want)
			}
			seen[n], highest = true, max(highest, n)
		}
		if lost := tr.lost(published, 0); lost != published-uint64(len(seen)) {
			t.Fatalf("%v of %d: %d lost", order, published, lost)
		}
	})
}
