package report

import (
	"fmt"
	"html"
	"html/template"
	"math"
	"strings"
)

// Places in a plot's drawing, whose units are those of its viewBox.
const (
	plotWidth  = 640
	plotWide   = 1290 // of a plot as wide as the page
	plotHeight = 250
	plotLeft   = 62
	plotRight  = 30
	plotTop    = 12
	plotBottom = 42
)

// xy is a point of a line.
type xy struct{ x, y float64 }

// line is one line of a plot. What is unknown is not in it.
type line struct {
	name   string
	points []xy
}

// mark is a time at which something began.
type mark struct {
	x    float64
	text string
}

// tick is a place on an axis with what is written there.
type tick struct {
	at    float64 // in the axis's own measure
	label string
}

// plot is lines over a common x axis.
type plot struct {
	title  string
	x, y   string // what the axes show, with the unit
	lines  []line
	marks  []mark
	xTicks []tick // nil: chosen
	yLog   bool   // otherwise it begins at zero
	wide   bool   // as wide as the page
}

// bounds are the least and greatest x and y, and whether there is any point.
func (p *plot) bounds() (x0, x1, y0, y1 float64, any bool) {
	x0, y0, x1, y1 = math.Inf(1), math.Inf(1), math.Inf(-1), math.Inf(-1)
	for _, l := range p.lines {
		for _, q := range l.points {
			x0, x1, y0, y1 = min(x0, q.x), max(x1, q.x), min(y0, q.y), max(y1, q.y)
			any = true
		}
	}
	for _, t := range p.xTicks {
		x0, x1 = min(x0, t.at), max(x1, t.at)
	}
	return x0, x1, y0, y1, any
}

func (p *plot) width() int {
	if p.wide {
		return plotWide
	}
	return plotWidth
}

// empty says that there is nothing to draw.
func (p *plot) empty() bool {
	_, _, _, _, any := p.bounds()
	return !any
}

// axis maps a range to places of the drawing.
type axis struct {
	low, high float64 // in the axis's own measure
	from, to  float64 // places
}

func (a axis) place(v float64) float64 { return a.from + (v-a.low)/(a.high-a.low)*(a.to-a.from) }

// axes chooses the ranges and the ticks of both.
func (p *plot) axes() (x, y axis, xTicks, yTicks []tick) {
	x0, x1, y0, y1, _ := p.bounds()
	if xTicks = p.xTicks; xTicks == nil {
		xTicks = niceTicks(x0, x1, 8)
	}
	if x1 <= x0 {
		x1 = x0 + 1
	}
	x = axis{x0, x1, plotLeft, float64(p.width() - plotRight)}
	switch {
	case p.yLog:
		low, high := math.Floor(math.Log10(max(y0, 1e-3))), math.Ceil(math.Log10(max(y1, 1e-3)))
		if high <= low {
			high = low + 1
		}
		y = axis{low, high, plotHeight - plotBottom, plotTop}
		for e := low; e <= high; e++ {
			yTicks = append(yTicks, tick{e, number(math.Pow(10, e))})
		}
	default:
		yTicks = niceTicks(min(y0, 0), max(y1, 0), 5)
		y = axis{yTicks[0].at, yTicks[len(yTicks)-1].at, plotHeight - plotBottom, plotTop}
	}
	return x, y, xTicks, yTicks
}

// maxTicks bounds those of an axis whose range is beyond what floating point tells apart.
const maxTicks = 40

// niceTicks are round numbers that enclose a range, about so many.
func niceTicks(low, high float64, about int) []tick {
	if high <= low {
		high = low + 1
	}
	rough := (high - low) / float64(about)
	power := math.Pow(10, math.Floor(math.Log10(rough)))
	step := power * 10
	for _, f := range []float64{1, 2, 5} {
		if f*power >= rough {
			step = f * power
			break
		}
	}
	var list []tick
	for i := math.Floor(low / step); ; i++ {
		v := i * step
		list = append(list, tick{v, number(v)})
		if v >= high-step*1e-9 || len(list) > maxTicks {
			return list
		}
	}
}

// number writes a tick's number: short, and without noise of its digits.
func number(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 1e9:
		return trim(v/1e9) + "G"
	case a >= 1e6:
		return trim(v/1e6) + "M"
	case a >= 1e4:
		return trim(v/1e3) + "k"
	}
	return trim(v)
}

func trim(v float64) string {
	s := fmt.Sprintf("%.3f", v)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// svg draws the plot. Its colours are those of the page's classes c0, c1 and so on.
func (p *plot) svg() template.HTML {
	x, y, xTicks, yTicks := p.axes()
	width := p.width()
	var b strings.Builder
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, width, plotHeight, html.EscapeString(p.title))
	for _, t := range yTicks {
		at := y.place(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text class="tick" text-anchor="end" x="%d" y="%.1f">%s</text>`,
			plotLeft, width-plotRight, at, at, plotLeft-6, at+4, html.EscapeString(t.label))
	}
	for _, t := range xTicks {
		if t.at < x.low-1e-9 || t.at > x.high+1e-9 {
			continue
		}
		at := x.place(t.at)
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text class="tick" text-anchor="middle" x="%.1f" y="%d">%s</text>`,
			at, at, plotTop, plotHeight-plotBottom, at, plotHeight-plotBottom+16, html.EscapeString(t.label))
	}
	for _, m := range p.marks {
		if m.x < x.low || m.x > x.high {
			continue
		}
		at := x.place(m.x)
		fmt.Fprintf(&b, `<line class="mark" x1="%.1f" x2="%.1f" y1="%d" y2="%d"><title>%s</title></line>`,
			at, at, plotTop, plotHeight-plotBottom, html.EscapeString(m.text))
	}
	fmt.Fprintf(&b, `<text class="axis" text-anchor="middle" x="%d" y="%d">%s</text>`,
		(plotLeft+width-plotRight)/2, plotHeight-6, html.EscapeString(p.x))
	middle := (plotTop + plotHeight - plotBottom) / 2
	fmt.Fprintf(&b, `<text class="axis" text-anchor="middle" transform="rotate(-90 13 %d)" x="13" y="%d">%s</text>`, middle, middle, html.EscapeString(p.y))
	for i, l := range p.lines {
		p.draw(&b, i, l, x, y)
	}
	b.WriteString(`</svg>`)
	return template.HTML(b.String()) //nolint:gosec // every text in it is escaped
}

// draw draws one line, or a dot where it has a single point.
func (p *plot) draw(b *strings.Builder, i int, l line, x, y axis) {
	at := func(q xy) (float64, float64) {
		if p.yLog {
			q.y = math.Log10(max(q.y, 1e-3))
		}
		return x.place(q.x), y.place(q.y)
	}
	class := i % lineColours
	if len(l.points) == 1 {
		px, py := at(l.points[0])
		fmt.Fprintf(b, `<circle class="c%d dot" cx="%.1f" cy="%.1f" r="3"/>`, class, px, py)
		return
	}
	fmt.Fprintf(b, `<polyline class="c%d" points="`, class)
	for _, q := range l.points {
		px, py := at(q)
		fmt.Fprintf(b, "%.1f,%.1f ", px, py)
	}
	b.WriteString(`"/>`)
}

// lineColours is how many colours the page has for lines.
const lineColours = 6
