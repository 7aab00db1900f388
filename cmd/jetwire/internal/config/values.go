package config

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
)

// Size is a number of bytes. Its text is a number, perhaps with a unit: KB, MB, GB, TB (powers of 1000) or
// KiB, MiB, GiB, TiB (powers of 1024).
type Size int64

var units = []struct {
	name string
	size int64
}{ // longer names before those that end alike, larger units before smaller ones
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"KB", 1e3}, {"B", 1},
}

// ParseSize reads a Size.
func ParseSize(s string) (Size, error) {
	number, unit := s, int64(1)
	for _, u := range units {
		if rest, ok := strings.CutSuffix(s, u.name); ok {
			number, unit = strings.TrimSpace(rest), u.size
			break
		}
	}
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is no size: want a number of bytes, such as 65536 or 64KiB", s)
	}
	return Size(n * unit), nil
}

// String returns the size in the largest unit of 1024 that divides it.
func (s Size) String() string {
	for _, u := range units[:4] {
		if n := int64(s); n != 0 && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Set makes *Size a flag's value.
func (s *Size) Set(text string) (err error) { *s, err = ParseSize(text); return err }

// MarshalYAML writes the text.
func (s Size) MarshalYAML() (any, error) {
	if t := s.String(); t != strconv.FormatInt(int64(s), 10) {
		return t, nil
	}
	return int64(s), nil
}

// UnmarshalYAML reads the text.
func (s *Size) UnmarshalYAML(n ast.Node) error { return scalar(n, s.Set) }

// Duration is a time.Duration whose text may also count whole days: 36h, 30d, 1m30s.
type Duration time.Duration

// ParseDuration reads a Duration. It is never negative.
func ParseDuration(s string) (Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		if n, err := strconv.ParseInt(days, 10, 64); err == nil && n >= 0 && n <= math.MaxInt64/int64(24*time.Hour) {
			return Duration(time.Duration(n) * 24 * time.Hour), nil
		}
	} else if d, err := time.ParseDuration(s); err == nil && d >= 0 {
		return Duration(d), nil
	}
	return 0, fmt.Errorf("%q is no duration: want a number with a unit, such as 500ms, 25s, 12h or 30d", s)
}

func (d Duration) String() string {
	t := time.Duration(d)
	if t >= 24*time.Hour && t%(24*time.Hour) == 0 {
		return strconv.FormatInt(int64(t/(24*time.Hour)), 10) + "d"
	}
	s := t.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// Set makes *Duration a flag's value.
func (d *Duration) Set(text string) (err error) { *d, err = ParseDuration(text); return err }

// MarshalYAML writes the text.
func (d Duration) MarshalYAML() (any, error) { return d.String(), nil }

// UnmarshalYAML reads the text.
func (d *Duration) UnmarshalYAML(n ast.Node) error { return scalar(n, d.Set) }

// Sync says whether the messages of a namespace are synced to disk before they are answered or delivered.
type Sync string

// What a Sync can be.
const (
	SyncDefault Sync = ""       // what Config.Sync says
	SyncOn      Sync = "true"   // by this process, which has the store
	SyncOff     Sync = "false"  // not
	SyncAlways  Sync = "always" // by the external NATS servers, before they acknowledge: their operator's word for it
)

// MarshalYAML writes what UnmarshalYAML reads.
func (s Sync) MarshalYAML() (any, error) {
	if s == SyncOn || s == SyncOff {
		return s == SyncOn, nil
	}
	return string(s), nil
}

// UnmarshalYAML reads true, false or always.
func (s *Sync) UnmarshalYAML(n ast.Node) error {
	return scalar(n, func(text string) error {
		switch v := Sync(text); v {
		case SyncOn, SyncOff, SyncAlways:
			*s = v
			return nil
		}
		return fmt.Errorf("%q is none of true, false, always", text)
	})
}

// scalar hands a scalar's text to set, and gives its error the place in the file.
func scalar(n ast.Node, set func(string) error) error {
	if _, ok := n.(ast.ScalarNode); !ok {
		return &yaml.SyntaxError{Message: "want one value here", Token: n.GetToken()}
	}
	if err := set(n.GetToken().Value); err != nil {
		return &yaml.SyntaxError{Message: err.Error(), Token: n.GetToken()}
	}
	return nil
}

// UnmarshalYAML reads `off` or a Namespace.
func (d *DefaultNamespace) UnmarshalYAML(n ast.Node) error {
	if _, ok := n.(ast.ScalarNode); ok {
		switch n.GetToken().Value {
		case "off", "false":
			d.Off = true
			return nil
		}
		return &yaml.SyntaxError{Message: "default: want off, or the fields of a namespace", Token: n.GetToken()}
	}
	return yaml.NodeToValue(n, &d.Namespace, yaml.Strict())
}

// MarshalYAML writes what UnmarshalYAML reads.
func (d DefaultNamespace) MarshalYAML() (any, error) {
	if d.Off {
		return "off", nil
	}
	return d.Namespace, nil
}
