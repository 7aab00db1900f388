package main

import (
	"io"
	"log/slog"
	"sync"
	"time"

	"github.com/jetwire/jetwire/cmd/jetwire/internal/config"
)

// newLogger writes to w as the configuration says; on a terminal, text.
func newLogger(w io.Writer, terminal bool, l *config.Log) *slog.Logger {
	o := &slog.HandlerOptions{Level: l.SlogLevel()}
	if l.Format == "text" || l.Format == "auto" && terminal {
		o.ReplaceAttr = shortTime
		return slog.New(slog.NewTextHandler(w, o))
	}
	return slog.New(slog.NewJSONHandler(w, o))
}

// shortTime leaves the date away, which people at a terminal know.
func shortTime(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && a.Key == slog.TimeKey {
		a.Value = slog.StringValue(a.Value.Time().Format("15:04:05.000"))
	}
	return a
}

// progressEvery is how often the rebuild of one namespace's index is told.
const progressEvery = 3 * time.Second

// progress tells how far the rebuild of an index is, if it takes long. Until then history is read from the log.
func progress(log *slog.Logger) func(namespace string, done, total uint64) {
	var mu sync.Mutex
	told := map[string]time.Time{}
	return func(namespace string, done, total uint64) {
		mu.Lock()
		defer mu.Unlock()
		last, begun := told[namespace]
		now := time.Now()
		switch {
		case !begun && done < total:
			told[namespace] = now
			return
		case !begun:
			return
		case done < total && now.Sub(last) < progressEvery:
			return
		case done >= total:
			delete(told, namespace)
		default:
			told[namespace] = now
		}
		log.Info("indexing history", "namespace", namespace, "done", done, "of", total)
	}
}
