package bench

import (
	"errors"
	"testing"
)

func TestParseSizes(t *testing.T) {
	for text, mean := range map[string]int{"128": 128, "64-1024": 544, "128:90,4096:10": 524, "100-200:1, 300-500:3": 337} {
		s, err := ParseSizes(text)
		if err != nil || s.Mean() != mean {
			t.Errorf("%s: %d on average, %v", text, s.Mean(), err)
		}
	}
	for _, text := range []string{"", "x", "5", "128:", "128:0", "200-100", "100-", "-100", "128,", "128:1:2", "9000000", "128:2000000"} {
		if s, err := ParseSizes(text); !errors.Is(err, ErrSizes) {
			t.Errorf("%q: %v, %v", text, s, err)
		}
	}
	if s := Bytes(1); s.Mean() != MinPayload {
		t.Error(s)
	}
}

func TestSizesAreDrawnByWeight(t *testing.T) {
	s, err := ParseSizes("100:90,1000-2000:10")
	if err != nil {
		t.Fatal(err)
	}
	z, again := newSizer(s), newSizer(s)
	const n = 20_000
	small, sum := 0, 0
	for range n {
		size := z.next()
		if size != again.next() {
			t.Fatal("another run draws other sizes")
		}
		if size != 100 && (size < 1000 || size > 2000) {
			t.Fatal(size)
		}
		if size == 100 {
			small++
		}
		sum += size
	}
	if small < n*88/100 || small > n*92/100 || sum/n < 225 || sum/n > 255 {
		t.Errorf("%d of %d small, %d on average", small, n, sum/n)
	}
}

func FuzzParseSizes(f *testing.F) {
	for _, text := range []string{"128", "64-1024", "128:90,4096:10", "100-200:1,300-500:3", "1-2-3:4:5,,"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := ParseSizes(text)
		if err != nil {
			return
		}
		if m := s.Mean(); m < MinPayload || m > MaxPayload {
			t.Fatalf("%q: %d on average", text, m)
		}
		again, err := ParseSizes(s.String())
		if err != nil || again.String() != s.String() {
			t.Fatalf("%q became %q, %v", text, s, err)
		}
		z := newSizer(s)
		for range 10 {
			if n := z.next(); n < MinPayload || n > MaxPayload {
				t.Fatalf("%q: drew %d", text, n)
			}
		}
	})
}
