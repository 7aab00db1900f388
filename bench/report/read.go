package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Bounds of what Read takes.
const (
	maxFile = 32 << 20 // bytes
	maxList = 10_000   // elements of a list
)

// ErrNoReport is returned for what is no report of jetbench.
var ErrNoReport = errors.New("report: this is no report of jetbench (write one with --json)")

// Read reads a report as JSON wrote it. Fields that it does not know are left out, figures that are not there are unknown.
func Read(from io.Reader) (*Report, error) {
	text, err := io.ReadAll(io.LimitReader(from, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(text) > maxFile {
		return nil, fmt.Errorf("%w: it is longer than %d MiB", ErrNoReport, maxFile>>20)
	}
	r := New("", 0)
	r.Machine = Machine{}
	if err := json.Unmarshal(text, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoReport, err)
	}
	if r.Scenario == "" {
		return nil, fmt.Errorf("%w: it names no scenario", ErrNoReport)
	}
	if err := r.bounded(); err != nil {
		return nil, err
	}
	return r, nil
}

// bounded says why the report is too long to be shown.
func (r *Report) bounded() error {
	lists := map[string]int{
		"options": len(r.Options), "limits": len(r.Limits), "notes": len(r.Notes), "steps": len(r.Steps), "classes": len(r.Classes), "parts": len(r.Parts), "args": len(r.Server.Args),
	}
	if r.Series != nil {
		lists["points"], lists["marks"] = len(r.Series.Points), len(r.Series.Marks)
	}
	if r.Stalled != nil {
		lists["stretches"] = len(r.Stalled.Stretches)
	}
	if r.Storm != nil {
		lists["stretches"] = max(len(r.Storm.Stretches), lists["stretches"])
		lists["counters"] = len(r.Storm.Counted)
	}
	if r.Churn != nil {
		lists["stretches"] = max(len(r.Churn.Stretches), lists["stretches"])
	}
	if r.Connects != nil {
		lists["waves"], lists["failures"] = len(r.Connects.Waves), len(r.Connects.Failures)
	}
	for name, n := range lists {
		if n > maxList {
			return fmt.Errorf("%w: %d %s, at most %d", ErrNoReport, n, name, maxList)
		}
	}
	return nil
}
