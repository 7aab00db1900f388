package bench

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
)

// Bounds of what ParseSizes takes.
const (
	MaxPayload   = 8 << 20 // bytes
	maxSizes     = 64      // ranges
	maxSizeShare = 1_000_000
)

// ErrSizes is returned for a text that names no sizes.
var ErrSizes = errors.New("bench: payload sizes are BYTES, FROM-TO, or several of these with weights: 128:90,1024-4096:10")

// Sizes is how many bytes the bodies of messages have. The zero value stands for DefaultPayload.
type Sizes struct {
	ranges []sizeRange
	total  int // of their weights
}

// sizeRange is sizes that are equally likely.
type sizeRange struct{ from, to, weight int }

// Bytes is one size for all messages; MinPayload if n is less.
func Bytes(n int) Sizes {
	n = max(n, MinPayload)
	return Sizes{ranges: []sizeRange{{n, n, 1}}, total: 1}
}

// ParseSizes reads `128`, `64-1024` (all between equally likely), or several of these with weights: `128:90,4096:10`. Sizes are from
// MinPayload to MaxPayload. Errors are ErrSizes.
func ParseSizes(text string) (s Sizes, err error) {
	words := strings.Split(text, ",")
	if len(words) > maxSizes {
		return Sizes{}, fmt.Errorf("%w: at most %d", ErrSizes, maxSizes)
	}
	for _, word := range words {
		bytes, share, weighted := strings.Cut(strings.TrimSpace(word), ":")
		r := sizeRange{weight: 1}
		if weighted {
			if r.weight, err = strconv.Atoi(share); err != nil || r.weight < 1 || r.weight > maxSizeShare {
				return Sizes{}, fmt.Errorf("%w: the weight in %q is a number from 1 to %d", ErrSizes, word, maxSizeShare)
			}
		}
		from, to, ranged := strings.Cut(bytes, "-")
		if !ranged {
			to = from
		}
		if r.from, err = strconv.Atoi(from); err == nil {
			r.to, err = strconv.Atoi(to)
		}
		if err != nil || r.from < MinPayload || r.to > MaxPayload || r.to < r.from {
			return Sizes{}, fmt.Errorf("%w: %q is no size from %d to %d, nor an ascending range of them", ErrSizes, word, MinPayload, MaxPayload)
		}
		s.ranges = append(s.ranges, r)
		s.total += r.weight
	}
	return s, nil
}

// String is what ParseSizes reads.
func (s Sizes) String() string {
	words := make([]string, len(s.ranges))
	for i, r := range s.ranges {
		words[i] = strconv.Itoa(r.from)
		if r.to != r.from {
			words[i] += "-" + strconv.Itoa(r.to)
		}
		if len(s.ranges) > 1 {
			words[i] += ":" + strconv.Itoa(r.weight)
		}
	}
	return strings.Join(words, ",")
}

// Mean is the average, in bytes.
func (s Sizes) Mean() int {
	sum := 0
	for _, r := range s.ranges {
		sum += (r.from + r.to) * r.weight
	}
	return sum / 2 / max(s.total, 1)
}

// sizer draws sizes, the same ones in every run. It is not safe for concurrent use.
type sizer struct {
	sizes  Sizes
	random *rand.Rand // nil: there is only one size
}

func newSizer(s Sizes) sizer {
	z := sizer{sizes: s}
	if len(s.ranges) > 1 || s.ranges[0].from != s.ranges[0].to {
		z.random = rand.New(rand.NewPCG(1, 2)) //nolint:gosec // sizes need no secrecy
	}
	return z
}

func (z *sizer) next() int {
	if z.random == nil {
		return z.sizes.ranges[0].from
	}
	n := z.random.IntN(z.sizes.total)
	for _, r := range z.sizes.ranges {
		if n -= r.weight; n < 0 {
			return r.from + z.random.IntN(r.to-r.from+1)
		}
	}
	return MinPayload
}
