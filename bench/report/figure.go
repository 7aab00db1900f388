package report

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Figure is a measured number; one that was not measured is NaN, and null in JSON.
type Figure float64

// Unknown is the Figure of what was not measured.
var Unknown = Figure(math.NaN())

// Known says whether it was measured.
func (f Figure) Known() bool { return !math.IsNaN(float64(f)) }

// MarshalJSON writes null for what was not measured, and otherwise no more digits than mean something.
func (f Figure) MarshalJSON() ([]byte, error) {
	v := float64(f)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return []byte("null"), nil
	case math.Abs(v) >= 1000:
		return strconv.AppendFloat(nil, v, 'f', 0, 64), nil
	}
	return strconv.AppendFloat(nil, v, 'f', 3, 64), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Figure) UnmarshalJSON(p []byte) error {
	*f = Unknown
	if string(p) == "null" {
		return nil
	}
	return json.Unmarshal(p, (*float64)(f))
}

// Per divides, and knows nothing of nothing.
func (f Figure) Per(n float64) Figure {
	if n == 0 || math.IsNaN(n) {
		return Unknown
	}
	return Figure(float64(f) / n)
}

// Text writes a figure with so many decimals, and groups of three digits.
func (f Figure) Text(decimals int) string {
	if !f.Known() {
		return "?"
	}
	s := fmt.Sprintf("%.*f", decimals, float64(f))
	whole, fraction, _ := strings.Cut(s, ".")
	if fraction != "" {
		fraction = "." + fraction
	}
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	return sign + whole + fraction
}

func count(n int) string { return Figure(n).Text(0) }
