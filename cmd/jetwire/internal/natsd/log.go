package natsd

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// logger brings the server's log into slog: warnings and errors as they are, the rest at debug, but for the recovery of
// streams, which may take long and is told at info.
type logger struct {
	log *slog.Logger

	mu         sync.Mutex
	failure    error
	recovering string // the stream; empty: none
	since      time.Time
}

var _ server.Logger = (*logger)(nil)

// What server/jetstream.go says around the recovery of one stream.
var (
	restoring = regexp.MustCompile(`^\s*Starting restore for stream '.* > (.*)'$`)
	restored  = regexp.MustCompile(`^\s*Restored ([0-9,]+) messages for stream '.* > (.*)' in (.*)$`)
)

// Noticef implements server.Logger.
func (l *logger) Noticef(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if m := restoring.FindStringSubmatch(text); m != nil {
		l.mu.Lock()
		l.recovering, l.since = m[1], time.Now()
		l.mu.Unlock()
		l.log.Info("recovering store: stream " + m[1])
		return
	}
	if m := restored.FindStringSubmatch(text); m != nil {
		l.mu.Lock()
		l.recovering = ""
		l.mu.Unlock()
		l.log.Info("recovered store: stream "+m[2], "messages", m[1], "took", m[3])
		return
	}
	l.log.Debug(strings.TrimSpace(text))
}

// Warnf implements server.Logger.
func (l *logger) Warnf(format string, v ...any) {
	// The passwords that it means were made for this process, or are in a file of mode 0600.
	if strings.HasPrefix(format, "Plaintext passwords detected") {
		return
	}
	l.log.Warn(strings.TrimSpace(fmt.Sprintf(format, v...)))
}

// Errorf implements server.Logger.
func (l *logger) Errorf(format string, v ...any) {
	l.log.Error(strings.TrimSpace(fmt.Sprintf(format, v...)))
}

// Fatalf implements server.Logger. The server calls it when it cannot start, and returns; Start hands the first on.
func (l *logger) Fatalf(format string, v ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.failure == nil {
		l.failure = errors.New(strings.TrimSpace(fmt.Sprintf(format, v...)))
	}
}

// Debugf implements server.Logger; the server is told not to call it.
func (l *logger) Debugf(string, ...any) {}

// Tracef implements server.Logger; the server is told not to call it.
func (l *logger) Tracef(string, ...any) {}

func (l *logger) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.failure
}

// reportRecovery says every so often which stream is still being recovered, until stop is called, which waits for it.
func (l *logger) reportRecovery(every time.Duration) (stop func()) {
	end := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-end:
				return
			case <-t.C:
			}
			l.mu.Lock()
			stream, since := l.recovering, l.since
			l.mu.Unlock()
			if stream != "" {
				l.log.Info("recovering store: still at stream "+stream, "for", time.Since(since).Round(time.Second).String())
			}
		}
	})
	return func() { close(end); wg.Wait() }
}
