package report

import "math"

// scale is how a row of figures is written: divided, and with a unit of its size.
type scale struct {
	divisor Figure
	unit    string
}

// scaleOf chooses the scale for figures of a unit, of which this is the largest.
func scaleOf(unit string, largest Figure) scale {
	switch {
	case unit == "us" && largest >= 1e6:
		return scale{1e6, "s"}
	case unit == "us" && largest >= 1e3:
		return scale{1e3, "ms"}
	case unit == "us":
		return scale{1, "µs"}
	case unit == "bytes" && largest >= 1<<30:
		return scale{1 << 30, "GiB"}
	case unit == "bytes" && largest >= 1<<20:
		return scale{1 << 20, "MiB"}
	case unit == "bytes" && largest >= 10<<10:
		return scale{1 << 10, "KiB"}
	case unit == "bytes":
		return scale{1, "B"}
	case unit == "share":
		return scale{0.01, "%"}
	}
	return scale{1, unit}
}

// text writes a figure, with three digits that mean something.
func (s scale) text(f Figure) string {
	f /= s.divisor
	switch v := math.Abs(float64(f)); {
	case v >= 100, v == 0:
		return f.Text(0)
	case v >= 10:
		return f.Text(1)
	case v >= 1:
		return f.Text(2)
	}
	return f.Text(3)
}

// largest is that of what is known.
func largest(list ...Figure) Figure {
	most := Figure(0)
	for _, f := range list {
		if f.Known() {
			most = max(most, Figure(math.Abs(float64(f))))
		}
	}
	return most
}
