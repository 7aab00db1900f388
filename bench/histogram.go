package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// longest is the most that a histogram tells apart; what took longer counts as this long.
const longest = 5 * time.Minute

// histogram counts durations with three significant figures. It is not safe for concurrent use: each loop has its own, and
// they are merged in the end.
type histogram struct{ h *hdrhistogram.Histogram }

func newHistogram() histogram {
	return histogram{hdrhistogram.New(int64(time.Microsecond), int64(longest), 3)}
}

func (h histogram) record(d int64) {
	_ = h.h.RecordValue(min(max(d, 0), int64(longest)))
}

func (h histogram) merge(from histogram) { h.h.Merge(from.h) }

func (h histogram) latency() Latency {
	if h.h.TotalCount() == 0 {
		return noLatency()
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
