package bench

import (
	"testing"
	"time"
)

func TestScheduleRises(t *testing.T) {
	s := schedule{rate: 1000, ramp: 2 * time.Second}
	for i, want := range map[uint64]time.Duration{0: 0, 250: time.Second, 1000: 2 * time.Second, 1001: 2001 * time.Millisecond, 3000: 4 * time.Second} {
		if got := time.Duration(s.at(i)); (got - want).Abs() > time.Microsecond {
			t.Errorf("%d is due after %v, want %v", i, got, want)
		}
	}
	last := int64(-1)
	for i := range uint64(3000) {
		if at := s.at(i); at <= last {
			t.Fatalf("%d: %d after %d", i, at, last)
		} else {
			last = at
		}
	}
	if at := (schedule{rate: 50}).at(100); at != int64(2*time.Second) {
		t.Errorf("without a ramp: %d", at)
	}
}

func TestPaceIsLateAndNeverLess(t *testing.T) {
	c := newClock()
	start, n := c.now(), uint64(0)
	err := c.pace(t.Context(), schedule{rate: 1000}, start, start+int64(50*time.Millisecond), func(i uint64, at int64) error {
		if i != n || at != start+int64(i)*int64(time.Millisecond) || c.now() < at {
			t.Errorf("%d at %d", i, at)
		}
		if n++; i == 3 {
			nap(20 * time.Millisecond)
		}
		return nil
	})
	if err != nil || n != 50 {
		t.Errorf("%d, %v", n, err)
	}
}
