package report

import (
	"encoding/json"
	"fmt"
)

// Latency is a distribution, in microseconds.
type Latency struct {
	P50   Figure `json:"p50"`
	P75   Figure `json:"p75"`
	P90   Figure `json:"p90"`
	P95   Figure `json:"p95"`
	P99   Figure `json:"p99"`
	P999  Figure `json:"p999"`
	P9999 Figure `json:"p9999"`
	Max   Figure `json:"max"`
	Mean  Figure `json:"mean"`
	Count int64  `json:"count"`

	Histogram Histogram `json:"histogram,omitzero"` // the percentiles are taken from; zero: it was not kept
}

// NoLatency is the distribution of nothing.
func NoLatency() Latency {
	return Latency{
		P50: Unknown, P75: Unknown, P90: Unknown, P95: Unknown, P99: Unknown, P999: Unknown, P9999: Unknown,
		Max: Unknown, Mean: Unknown,
	}
}

// Text is one line for people, in milliseconds.
func (l Latency) Text() string {
	ms := func(f Figure) string { return (f / 1e3).Text(2) }
	return fmt.Sprintf("p50 %s ms, p90 %s ms, p99 %s ms, p99.9 %s ms, max %s ms", ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max))
}

// UnmarshalJSON reads a distribution. Percentiles that are not there are unknown.
func (l *Latency) UnmarshalJSON(text []byte) error {
	type plain Latency
	p := plain(NoLatency())
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	*l = Latency(p)
	return nil
}
