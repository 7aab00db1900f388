package report

import "slices"

// curve is a figure of a series over time, in units of so much.
func (s *Series) curve(unit Figure, figure func(*Point) Figure) (points []xy) {
	for i := range s.Points {
		p := &s.Points[i]
		if v := figure(p); drawable(v) && drawable(p.At) {
			points = append(points, xy{float64(p.At), float64(v / unit)})
		}
	}
	return points
}

// drawable says that a figure is known, and no more than what can be measured.
func drawable(f Figure) bool { return f > -1e18 && f < 1e18 }

// plots draws how a run went.
func (s *Series) plots() []plot {
	const mebi = 1 << 20
	type of struct {
		name   string
		unit   Figure
		figure func(*Point) Figure
	}
	var (
		list  []plot
		ticks = secondsTicks(s)
	)
	add := func(title, y string, lines ...of) {
		p := plot{title: title, x: "seconds since the run began", y: y, xTicks: ticks}
		for _, l := range lines {
			points := s.curve(l.unit, l.figure)
			if nothing(points) {
				continue
			}
			p.lines = append(p.lines, line{l.name, points})
		}
		for _, m := range s.Marks {
			p.marks = append(p.marks, mark{float64(m.At), m.Text})
		}
		list = append(list, p)
	}
	add("Deliveries", "per second", of{"deliveries", 1, func(p *Point) Figure { return p.Delivered }})
	add("Publishes", "per second", of{"publishes", 1, func(p *Point) Figure { return p.Published }})
	add("Latency of each second", "milliseconds",
		of{"p50", 1e3, func(p *Point) Figure { return p.P50 }}, of{"p99", 1e3, func(p *Point) Figure { return p.P99 }})
	add("Processor time", "cores",
		of{"server", 1, func(p *Point) Figure { return p.ServerCores }}, of{"client", 1, func(p *Point) Figure { return p.ClientCores }},
		of{"other programs", 1, func(p *Point) Figure { return p.OtherCores }})
	add("Client's busiest loop", "percent of the time",
		of{"has work", 0.01, func(p *Point) Figure { return p.ClientBusy }})
	add("Server's memory", "MiB",
		of{"RSS", mebi, func(p *Point) Figure { return p.RSS }}, of{"heap in use", mebi, func(p *Point) Figure { return p.Heap }})
	add("Kernel's TCP memory, both ends", "MiB",
		of{"buffers of all sockets of the machine", mebi, func(p *Point) Figure { return p.TCPMemory }})
	add("Connections and descriptors", "number",
		of{"connections", 1, func(p *Point) Figure { return Figure(p.Connections) }}, of{"server's open descriptors", 1, func(p *Point) Figure { return p.Files }},
		of{"TCP sockets of the machine", 1, func(p *Point) Figure { return p.Sockets }})
	add("Server's goroutines", "number",
		of{"goroutines", 1, func(p *Point) Figure { return p.Goroutines }})
	return list
}

// secondsTicks are the ticks of the time axis that the runs have in common: from the beginning to the last point.
func secondsTicks(series ...*Series) []tick {
	last := 1.0
	for _, s := range series {
		if n := len(s.Points); n > 0 && s.Points[n-1].At.Known() {
			last = max(last, float64(s.Points[n-1].At))
		}
	}
	ticks := niceTicks(0, last, 8)
	return slices.DeleteFunc(ticks, func(t tick) bool { return t.at > last })
}

// nothing says that a curve is zero everywhere.
func nothing(points []xy) bool {
	for _, p := range points {
		if p.y != 0 {
			return false
		}
	}
	return true
}
