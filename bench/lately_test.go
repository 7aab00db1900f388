package bench

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// TestLatelyAgreesWithSorting holds quantiles against those of the sorted list.
func TestLatelyAgreesWithSorting(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(rapid.Int64Range(0, 1<<62), 1, 200).Draw(t, "durations")
		var l, part lately
		for i, d := range list {
			if part.record(d); i%7 == 0 {
				l.take(&part)
			}
		}
		l.take(&part)
		slices.Sort(list)
		for _, share := range []float64{0, 0.5, 0.99, 1} {
			want := float64(list[int(share*float64(len(list)-1))]) / 1e3
			if got := float64(l.at(share)); got < want*(1-1.0/16) || got > want*(1+1.0/16) {
				t.Fatalf("%v of %v: %v, want about %v", share, list, got, want)
			}
		}
		if part.at(0.5).Known() {
			t.Fatal("it was not emptied")
		}
	})
}
