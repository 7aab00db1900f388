package report

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// What a histogram tells apart: from shortest on, with three significant figures; what took more than longest counts as this long.
const (
	shortest = time.Microsecond
	longest  = 5 * time.Minute
	digits   = 3
)

// maxEncoded bounds the text of a histogram: one that has something in every place takes less.
const maxEncoded = 256 << 10

// ErrHistogram is returned for text that is no histogram of this package.
var ErrHistogram = errors.New("report: no histogram of jetbench")

// Histogram counts durations. It is not safe for concurrent use: each loop has its own, and they are merged in the end.
// Its zero value holds nothing and takes nothing.
type Histogram struct{ h *hdrhistogram.Histogram }

// NewHistogram makes an empty one.
func NewHistogram() Histogram {
	return Histogram{hdrhistogram.New(int64(shortest), int64(longest), digits)}
}

// Record counts a duration of so many nanoseconds.
func (h Histogram) Record(d int64) {
	_ = h.h.RecordValue(min(max(d, 0), int64(longest)))
}

// Merge adds what from has counted.
func (h Histogram) Merge(from Histogram) {
	if from.h != nil {
		h.h.Merge(from.h)
	}
}

// IsZero says that it can hold nothing.
func (h Histogram) IsZero() bool { return h.h == nil }

// Latency is what has been counted so far; what is counted later does not change it.
func (h Histogram) Latency() Latency {
	if h.h == nil || h.h.TotalCount() == 0 {
		return NoLatency()
	}
	at := func(percentile float64) Figure { return micro(h.h.ValueAtPercentile(percentile)) }
	return Latency{
		P50: at(50), P75: at(75), P90: at(90), P95: at(95), P99: at(99), P999: at(99.9), P9999: at(99.99),
		Max: micro(h.h.Max()), Mean: Figure(h.h.Mean() / 1e3), Count: h.h.TotalCount(), Histogram: Histogram{h.h.Clone()},
	}
}

func micro(ns int64) Figure { return Figure(float64(ns) / 1e3) }

// MarshalText writes it as HdrHistogram's other implementations do: V2, compressed, in base64. Values are nanoseconds.
func (h Histogram) MarshalText() ([]byte, error) {
	if h.h == nil {
		return nil, nil
	}
	return h.h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
}

// UnmarshalText reads what MarshalText wrote. Histograms of other ranges are refused with ErrHistogram.
func (h *Histogram) UnmarshalText(text []byte) error {
	h.h = nil
	if len(text) == 0 {
		return nil
	}
	if err := checkGeometry(text); err != nil {
		return fmt.Errorf("%w: %w", ErrHistogram, err)
	}
	decoded, err := hdrhistogram.Decode(text)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrHistogram, err)
	}
	h.h = decoded
	return nil
}

// checkGeometry looks at the header before the decoder makes room for what it announces.
func checkGeometry(text []byte) error {
	if len(text) > maxEncoded {
		return fmt.Errorf("%d bytes, at most %d", len(text), maxEncoded)
	}
	packed, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return err
	}
	if len(packed) < 8 {
		return io.ErrUnexpectedEOF
	}
	z, err := zlib.NewReader(bytes.NewReader(packed[8:]))
	if err != nil {
		return err
	}
	var header struct {
		Cookie, Length, Offset, Digits int32
		Lowest, Highest                int64
	}
	if err := binary.Read(z, binary.BigEndian, &header); err != nil {
		return err
	}
	if header.Digits != digits || header.Lowest != int64(shortest) || header.Highest != int64(longest) {
		return fmt.Errorf("it has %d digits from %d to %d ns", header.Digits, header.Lowest, header.Highest)
	}
	return nil
}
