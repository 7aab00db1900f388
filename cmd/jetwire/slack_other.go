//go:build !linux

package main

import (
	"log/slog"
	"time"
)

// coarsenTimers does nothing: only Linux has timer slack.
func coarsenTimers(time.Duration, *slog.Logger) {}
