package bench

import (
	"math/bits"

	"github.com/jetwire/jetwire/bench/report"
)

// lately counts durations since it was last taken, in steps of a sixteenth of what they are. It is a plain array, so that it costs
// a delivery little beside the report's histogram. The zero value is empty.
type lately struct{ n [latelySteps]uint32 }

const (
	latelyDigits = 4 // bits that are told apart
	latelySteps  = (64 - latelyDigits + 1) << latelyDigits
)

// record counts a duration in nanoseconds.
func (l *lately) record(d int64) { l.n[latelyStep(uint64(max(d, 0)))]++ }

// latelyStep is where a duration is counted: by its place and by its highest bits.
func latelyStep(d uint64) int {
	shift := max(bits.Len64(d)-latelyDigits-1, 0)
	return shift<<latelyDigits + int(d>>shift)
}

// take adds what another has counted, and empties it.
func (l *lately) take(from *lately) {
	for i, n := range from.n {
		l.n[i] += n
	}
	*from = lately{}
}

// at is the duration that a share of those counted did not pass, in microseconds.
func (l *lately) at(share float64) report.Figure {
	total := uint64(0)
	for _, n := range l.n {
		total += uint64(n)
	}
	if total == 0 {
		return report.Unknown
	}
	rank, seen := uint64(share*float64(total-1)), uint64(0)
	for i, n := range l.n {
		if seen += uint64(n); seen > rank {
			return report.Figure(latelyMiddle(i) / 1e3)
		}
	}
	return report.Unknown
}

// latelyMiddle is the middle of a step, in nanoseconds.
func latelyMiddle(step int) float64 {
	shift := max(step>>latelyDigits-1, 0)
	low := uint64(step-shift<<latelyDigits) << shift
	return float64(low) + float64(uint64(1)<<shift-1)/2
}
