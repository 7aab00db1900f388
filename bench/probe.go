package bench

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/jetwire/jetwire/bench/report"
)

// Metrics that a server exposes (client_golang's own names).
const (
	metricHeap = "go_memstats_heap_inuse_bytes"
	metricCPU  = "process_cpu_seconds_total"
	metricRSS  = "process_resident_memory_bytes"

	metricFiles = "process_open_fds"
)

// usage is what a server has used so far. What could not be learnt is NaN, or negative for cpu.
type usage struct {
	at   time.Time
	cpu  time.Duration
	rss  report.Figure // bytes
	heap report.Figure // bytes of heap in use by Go, garbage not yet collected included
}

// sample asks /proc for what it can tell, and /metrics for the rest. A server that can be asked neither way is no error:
// the report then has no such figures.
func (t *Target) sample(ctx context.Context) usage {
	u := t.sampleOne(ctx)
	for _, o := range t.Others {
		u.add(o.sampleOne(ctx))
	}
	return u
}

// add makes it what both have used.
func (u *usage) add(o usage) {
	u.rss, u.heap = u.rss+o.rss, u.heap+o.heap
	if u.cpu += o.cpu; o.cpu < 0 || u.cpu < o.cpu {
		u.cpu = -1
	}
}

func (t *Target) sampleOne(ctx context.Context) usage {
	u := usage{at: time.Now(), cpu: -1, rss: report.Unknown, heap: report.Unknown}
	if m, err := t.metricsOne(ctx); err == nil {
		u = metricsUsage(m)
	}
	t.look(&u)
	return u
}

// metricsUsage is what a server's metrics tell, as of now.
func metricsUsage(m map[string]float64) usage {
	u := usage{at: time.Now(), cpu: -1, rss: value(m, metricRSS), heap: value(m, metricHeap)}
	if s := value(m, metricCPU); s.Known() {
		u.cpu = time.Duration(float64(s) * float64(time.Second))
	}
	return u
}

// look takes from /proc what it can tell: it is cheap, and as of now.
func (t *Target) look(u *usage) {
	if t.PID == 0 {
		return
	}
	if rss, err := residentSize(t.PID); err == nil {
		u.rss = report.Figure(rss)
	}
	if cpu := t.cpu(); cpu >= 0 {
		u.cpu, u.at = cpu, time.Now()
	}
}

// cpu is the quick part of sample, for the edges of a measured window. It is negative where only /metrics knows.
func (t *Target) cpu() time.Duration {
	if t.PID != 0 {
		if cpu, err := processorTime(t.PID); err == nil {
			return cpu
		}
	}
	return -1
}

// edge is sample without the memory, as cheap as it can be.
func (t *Target) edge(ctx context.Context) usage {
	u := usage{cpu: t.cpu(), at: time.Now(), rss: report.Unknown, heap: report.Unknown}
	for _, o := range t.Others {
		u.add(usage{cpu: o.cpu()})
	}
	if u.cpu >= 0 {
		return u
	}
	return t.sample(ctx)
}

// Metrics are the server's series without labels, by name.
func (t *Target) Metrics(ctx context.Context) (map[string]float64, error) { return t.metrics(ctx) }

// metrics are those of all gateways, added up.
func (t *Target) metrics(ctx context.Context) (map[string]float64, error) {
	sum, err := t.metricsOne(ctx)
	for _, o := range t.Others {
		if err != nil {
			return nil, err
		}
		var m map[string]float64
		m, err = o.metricsOne(ctx)
		for name, v := range m {
			sum[name] += v
		}
	}
	return sum, err
}

func (t *Target) metricsOne(ctx context.Context) (map[string]float64, error) {
	text, err := getPage(ctx, t.MetricsURL, "", askTimeout)
	if err != nil {
		return nil, err
	}
	return parseMetrics(bytes.NewReader(text))
}

// parseMetrics reads the series without labels of a Prometheus text page.
func parseMetrics(r io.Reader) (map[string]float64, error) {
	m := make(map[string]float64)
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), " ")
		if !ok || name == "#" || strings.ContainsRune(name, '{') {
			continue
		}
		text, _, _ := strings.Cut(strings.TrimSpace(rest), " ") // a timestamp may follow
		if v, err := strconv.ParseFloat(text, 64); err == nil {
			m[name] = v
		}
	}
	return m, lines.Err()
}

// awaitCollection returns once the server has collected its garbage, or patience is over.
func (t *Target) awaitCollection(ctx context.Context, patience time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	collected := func() float64 {
		m, err := t.metrics(ctx)
		if err != nil {
			return 0
		}
		return m[metricCollected]
	}
	first := collected()
	for first != 0 && sleep(ctx, time.Second) == nil {
		if collected() > first {
			return
		}
	}
}

func value(m map[string]float64, name string) report.Figure {
	if v, ok := m[name]; ok {
		return report.Figure(v)
	}
	return report.Unknown
}

// between returns the processor time used from a to b, unknown if either is.
func between(a, b usage) report.Figure {
	if a.cpu < 0 || b.cpu < 0 {
		return report.Unknown
	}
	return report.Figure(b.cpu - a.cpu)
}
