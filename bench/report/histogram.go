package report

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the most that a histogram tells apart; what took longer counts as this long.
const longest = 5 * time.Minute

// Histogram counts durations with three significant figures. It is not safe for concurrent use: each loop has its own, and
// they are merged in the end.
type Histogram struct{ h *hdrhistogram.Histogram }

// NewHistogram makes an empty one.
func NewHistogram() Histogram {
	return Histogram{hdrhistogram.New(int64(time.Microsecond), int64(longest), 3)}
}

// Record counts a duration of so many nanoseconds.
func (h Histogram) Record(d int64) {
	_ = h.h.RecordValue(min(max(d, 0), int64(longest)))
}

// Merge adds what from has counted.
func (h Histogram) Merge(from Histogram) { h.h.Merge(from.h) }

// Latency is what has been counted.
func (h Histogram) Latency() Latency {
	if h.h.TotalCount() == 0 {
		return NoLatency()
	}
	us := func(v int64) Figure { return Figure(float64(v) / 1e3) }
	return Latency{
		P50:   us(h.h.ValueAtPercentile(50)),
		P99:   us(h.h.ValueAtPercentile(99)),
		P999:  us(h.h.ValueAtPercentile(99.9)),
		Max:   us(h.h.Max()),
		Count: h.h.TotalCount(),
	}
}
