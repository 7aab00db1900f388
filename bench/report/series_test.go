package report

import (
	"testing"

	"pgregory.net/rapid"
)

// TestSeriesStaysShort: however long a run, its points are few, in order, and add up to what they did before.
func TestSeriesStaysShort(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5*MaxPoints).Draw(t, "points")
		peak := rapid.IntRange(0, n-1).Draw(t, "peak")
		s := Series{Every: 1}
		for i := range n {
			p := NoPoint(Figure(i))
			p.Delivered, p.P99, p.Connections = 100, 1, i
			if i == peak {
				p.P99 = 50
			}
			if i%2 == 0 {
				p.RSS = Figure(i)
			}
			s.Add(p)
		}
		last, worst := Figure(-1), Figure(0)
		for _, p := range s.Points {
			if p.At <= last || p.Delivered != 100 || p.Published.Known() {
				t.Fatalf("%+v after %v", p, last)
			}
			last, worst = p.At, max(worst, p.P99)
		}
		if len(s.Points) > MaxPoints || last != Figure(n-1) || worst != 50 || s.Points[len(s.Points)-1].Connections != n-1 {
			t.Fatalf("%d points of %d, until %v, worst %v", len(s.Points), n, last, worst)
		}
		if n > 2*MaxPoints && !s.Points[0].RSS.Known() {
			t.Fatal("what one of two points knew is forgotten")
		}
	})
}

func TestMarksAreBounded(t *testing.T) {
	var s Series
	for i := range 2 * maxMarks {
		s.Mark(Figure(i), "x")
	}
	if len(s.Marks) != maxMarks {
		t.Error(len(s.Marks))
	}
}
