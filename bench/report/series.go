package report

import (
	"fmt"
	"strings"
)

// MaxPoints bounds a Series. When it is full, every two points become one.
const MaxPoints = 600

// maxMarks bounds the marks of a Series.
const maxMarks = 200

// Series is how a run went: a point for each second, or for several when it was long.
type Series struct {
	Every  Figure  `json:"every_seconds"` // of a point
	Points []Point `json:"points"`
	Marks  []Mark  `json:"marks,omitempty"`
}

// Mark names what began at a time.
type Mark struct {
	At   Figure `json:"t"` // seconds since the run began
	Text string `json:"text"`
}

// Point is what was seen at a time, or happened since the point before. What could not be seen is null in JSON.
type Point struct {
	At          Figure `json:"t"`           // seconds since the run began
	Connections int    `json:"connections"` // that have joined, of publishers too
	Delivered   Figure `json:"delivered_per_second"`
	Published   Figure `json:"published_per_second"`
	P50         Figure `json:"p50_us"` // of what the scenario's latency is of, in this time; within 6 %
	P99         Figure `json:"p99_us"`

	ServerCores Figure `json:"server_cores"`
	RSS         Figure `json:"server_rss_bytes"`
	Heap        Figure `json:"server_heap_bytes"`
	Goroutines  Figure `json:"server_goroutines"`
	Files       Figure `json:"server_files"` // open descriptors, sockets and others

	TCPMemory Figure `json:"tcp_memory_bytes"` // of the kernel, for all sockets of the machine, either end's
	Sockets   Figure `json:"tcp_sockets"`      // of the machine, either end's

	ClientCores Figure `json:"client_cores"`
	ClientBusy  Figure `json:"client_busy"` // of the busiest loop, 0..1
	OtherCores  Figure `json:"other_cores"`
}

// NoPoint is a point at which nothing is known but the time.
func NoPoint(at Figure) Point {
	return Point{
		At: at, Delivered: Unknown, Published: Unknown, P50: Unknown, P99: Unknown, ServerCores: Unknown, RSS: Unknown, Heap: Unknown,
		Goroutines: Unknown, Files: Unknown, TCPMemory: Unknown, Sockets: Unknown, ClientCores: Unknown, ClientBusy: Unknown, OtherCores: Unknown,
	}
}

// Add adds a point, which is later than all before.
func (s *Series) Add(p Point) {
	if len(s.Points) >= MaxPoints {
		s.halve()
	}
	s.Points = append(s.Points, p)
}

// halve joins every two points.
func (s *Series) halve() {
	n := len(s.Points) / 2
	for i := range n {
		s.Points[i] = join(s.Points[2*i], s.Points[2*i+1])
	}
	s.Points = s.Points[:n]
	s.Every *= 2
}

// join makes one point of two that follow each other: means of rates and shares, the later of what there is, the worse latency.
func join(a, b Point) Point {
	p := b
	for _, f := range []struct{ to, a *Figure }{
		{&p.Delivered, &a.Delivered}, {&p.Published, &a.Published}, {&p.P50, &a.P50}, {&p.ServerCores, &a.ServerCores},
		{&p.ClientCores, &a.ClientCores}, {&p.ClientBusy, &a.ClientBusy}, {&p.OtherCores, &a.OtherCores},
	} {
		*f.to = mean(*f.a, *f.to)
	}
	for _, f := range []struct{ to, a *Figure }{
		{&p.RSS, &a.RSS}, {&p.Heap, &a.Heap}, {&p.Goroutines, &a.Goroutines}, {&p.Files, &a.Files}, {&p.TCPMemory, &a.TCPMemory}, {&p.Sockets, &a.Sockets},
	} {
		if !f.to.Known() {
			*f.to = *f.a
		}
	}
	if !p.P99.Known() || a.P99 > p.P99 {
		p.P99 = a.P99
	}
	return p
}

// mean is that of two figures, or the one that is known.
func mean(a, b Figure) Figure {
	switch {
	case !a.Known():
		return b
	case !b.Known():
		return a
	}
	return (a + b) / 2
}

// Mark says that something began. Marks past some hundred are left out.
func (s *Series) Mark(at Figure, text string) {
	if len(s.Marks) < maxMarks {
		s.Marks = append(s.Marks, Mark{at, text})
	}
}

// Text is one line for people.
func (p Point) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s s: %s connections", p.At.Text(0), count(p.Connections))
	if p.Delivered > 0 {
		fmt.Fprintf(&b, ", %s deliveries/s", p.Delivered.Text(0))
	}
	if p.Published > 0 {
		fmt.Fprintf(&b, ", %s publishes/s", p.Published.Text(0))
	}
	if p.P50.Known() {
		fmt.Fprintf(&b, ", p50 %s p99 %s ms", (p.P50 / 1e3).Text(2), (p.P99 / 1e3).Text(2))
	}
	if p.ServerCores.Known() {
		fmt.Fprintf(&b, "; server %s cores", p.ServerCores.Text(2))
	}
	if p.RSS.Known() {
		fmt.Fprintf(&b, " %s MiB", (p.RSS / (1 << 20)).Text(0))
	}
	fmt.Fprintf(&b, "; client %s cores, busiest loop %s %%", p.ClientCores.Text(2), (100 * p.ClientBusy).Text(0))
	return b.String()
}
