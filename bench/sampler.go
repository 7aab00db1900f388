package bench

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/jetwire/jetwire/bench/report"
)

const (
	sampleEvery  = time.Second     // unless a test wants it otherwise
	metricsEvery = 5 * time.Second // a server takes milliseconds to tell all of its metrics
)

// sampler looks at a run once a second, whatever its scenario does: at the sinks of its fleets, at the server and at the kernel. It holds a
// loop's lock for microseconds, and asks the server for its metrics every few seconds only; the rest comes from /proc.
type sampler struct {
	tell func(string)       // the program's
	show func(report.Point) // the program's
	zero time.Time          // of the series
	wait time.Duration      // between samples

	looking sync.Mutex // held while the server is looked at

	mu     sync.Mutex // guards what follows
	fleets []*fleet
	files  report.Files
	series report.Series

	// What the sample before saw. Owned by sample.
	last    time.Time
	asked   time.Time // /metrics
	pid     int
	usage   usage
	client  time.Duration
	machine time.Duration
	tally   tally
	busy    map[*loop]int64
}

func newSampler(tell func(string), show func(report.Point), every time.Duration) *sampler {
	if tell == nil {
		tell = func(string) {}
	}
	if show == nil {
		show = func(report.Point) {}
	}
	return &sampler{
		tell: tell, show: show, zero: time.Now(), wait: every, busy: make(map[*loop]int64),
		series: report.Series{Every: report.Figure(every.Seconds())},
	}
}

// tally is what a sink has counted so far.
type tally struct {
	delivered uint64
	published uint64 // acknowledged, where that is asked for
}

// tallied is a sink that counts. tally runs with the loop's mu held; it adds to what there is, and hands over the latest durations.
type tallied interface {
	tally(t *tally, latest *lately)
}

// add has the sampler look at a fleet, too. It is nil for a fleet of no run.
func (s *sampler) add(f *fleet) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fleets = append(s.fleets, f)
}

// need notes how many descriptors a run needs, and how many there are.
func (s *sampler) need(f report.Files) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Needed > s.files.Needed {
		s.files = f
	}
}

// say tells people what begins, and marks it in the series.
func (s *sampler) say(line string) {
	s.mark(line)
	s.tell(line)
}

// mark names what begins now. What differs from the mark before in its numbers only is left out.
func (s *sampler) mark(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := len(s.series.Marks); n == 0 || wording(s.series.Marks[n-1].Text) != wording(text) {
		s.series.Mark(s.at(time.Now()), text)
	}
}

// wording is a text without its numbers.
func wording(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, text)
}

func (s *sampler) at(t time.Time) report.Figure { return report.Figure(t.Sub(s.zero).Seconds()) }

// without does what changes the server's process while nobody looks at it.
func (s *sampler) without(do func() error) error {
	s.looking.Lock()
	defer s.looking.Unlock()
	return do()
}

// watch samples until the function that it returns is called, which completes the report: with the series, with what the run was measured on,
// and with what limited it. Every scenario defers it.
func (l *Load) watch(ctx context.Context, r *report.Report) (done func()) {
	if l.gather != nil {
		return func() {} // the mixed run that it is a part of watches
	}
	s := l.sampler
	l.describe(r)
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	s.sample(ctx, l.Target) // what later samples are compared with
	running.Go(func() {
		tick := time.NewTicker(s.wait)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				s.sample(ctx, l.Target)
			case <-ctx.Done():
				return
			}
		}
	})
	return func() {
		cancel()
		running.Wait()
		if len(s.series.Points) == 0 {
			s.sample(ctx, l.Target) // of a short run, the only one
		}
		r.Files, r.Series = s.files, &s.series
		r.Judge()
	}
}

// sample adds a point to the series and shows it. The first is only there to be compared with.
func (s *sampler) sample(ctx context.Context, t *Target) {
	now, first := time.Now(), s.last.IsZero()
	seconds := now.Sub(s.last).Seconds()
	p := report.NoPoint(s.at(now))
	s.sampleServer(ctx, t, &p)
	s.sampleFleets(&p, seconds)
	s.sampleMachine(&p, seconds)
	if s.last = now; first {
		return
	}
	s.mu.Lock()
	s.series.Add(p)
	s.mu.Unlock()
	s.show(p)
}

// sampleFleets sees what the sinks counted since the last time.
func (s *sampler) sampleFleets(p *report.Point, seconds float64) {
	var (
		now    tally
		latest lately
		most   int64
	)
	s.mu.Lock()
	fleets := slices.Clone(s.fleets)
	s.mu.Unlock()
	for _, f := range fleets {
		p.Connections += int(f.standing.Load())
		now.delivered += uint64(f.remote.Load())
		for _, l := range f.every() {
			l.mu.Lock()
			busy := l.busy
			if sink, ok := l.sink.(tallied); ok {
				sink.tally(&now, &latest)
			}
			l.mu.Unlock()
			most = max(most, busy-s.busy[l])
			s.busy[l] = busy
		}
	}
	p.Delivered = report.Figure(float64(now.delivered-s.tally.delivered) / seconds)
	p.Published = report.Figure(float64(now.published-s.tally.published) / seconds)
	p.P50, p.P99 = latest.at(0.5), latest.at(0.99)
	p.ClientBusy = report.Figure(float64(most) / 1e9 / seconds)
	s.tally = now
}

// sampleServer sees what the server, or all gateways together, have used since the last time.
func (s *sampler) sampleServer(ctx context.Context, t *Target, p *report.Point) {
	s.looking.Lock()
	defer s.looking.Unlock()
	now := time.Now()
	ask := now.Sub(s.asked) >= metricsEvery
	if ask {
		s.asked = now
	}
	u := usage{}
	p.Goroutines, p.Files = 0, 0
	for _, o := range t.all() {
		x := usage{cpu: -1, rss: report.Unknown, heap: report.Unknown}
		goroutines, files := report.Unknown, report.Unknown
		if ask {
			if m, err := o.metricsOne(ctx); err == nil {
				x, goroutines, files = metricsUsage(m), value(m, metricGoroutines), value(m, metricFiles)
			}
		}
		o.look(&x)
		if n, ok := openFiles(o.PID); ok {
			files = report.Figure(n)
		}
		u.add(x)
		p.Goroutines, p.Files = p.Goroutines+goroutines, p.Files+files
	}
	u.at, p.RSS, p.Heap = time.Now(), u.rss, u.heap
	if u.cpu < 0 {
		return // until the metrics are asked again
	}
	if s.usage.cpu > 0 && s.pid == t.PID && u.cpu >= s.usage.cpu {
		p.ServerCores = between(s.usage, u).Per(float64(u.at.Sub(s.usage.at)))
	}
	s.usage, s.pid = u, t.PID
}

// sampleMachine sees what the client and the kernel use. The server's figures must be there.
func (s *sampler) sampleMachine(p *report.Point, seconds float64) {
	p.TCPMemory, p.Sockets = kernelTCP()
	client, _ := cpuClock(0)
	machine := machineTime()
	p.ClientCores = report.Figure((client - s.client).Seconds() / seconds)
	if machine >= 0 && p.ServerCores.Known() {
		p.OtherCores = max(0, report.Figure((machine-s.machine).Seconds()/seconds)-p.ServerCores-p.ClientCores)
	}
	s.client, s.machine = client, machine
}
