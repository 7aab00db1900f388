package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"css":    func() template.CSS { return template.CSS(pageStyle) }, //nolint:gosec // it is ours
	"colour": func(i int) int { return i % lineColours },
}).Parse(pageText))

// fact is a name and what is to be said of it.
type fact struct{ Name, Value string }

// drawing is a plot on the page.
type drawing struct {
	Title string
	Wide  bool
	Names []string // of its lines
	SVG   template.HTML
}

// shown is a figure on the page.
type shown struct{ Label, Value, Unit, Spread string }

// reportPage is what the page of a report shows.
type reportPage struct {
	Title, Subtitle string
	Verdict, Mood   string
	Reasons         []string
	Cards           []fact
	Latency         []drawing
	LatencyNote     string
	Series          []drawing
	SeriesNote      string
	Marks           []fact
	Figures         []shown
	Repeated        bool
	Integrity       []fact
	Facts           []fact
}

// WriteHTML writes the report as one page, which needs nothing from elsewhere.
func (r *Report) WriteHTML(w io.Writer) error {
	p := reportPage{
		Title: "jetbench " + r.Scenario, Subtitle: r.subtitle(), Verdict: r.Verdict(), Reasons: r.reasons(), Mood: r.mood(),
		Cards: r.cards(), Latency: drawings(r.latencyPlots()), LatencyNote: r.latencyNote(), Figures: r.figures(), Repeated: r.Repeats != nil,
		Integrity: r.integrity(), Facts: r.facts(),
	}
	if r.Repeats != nil {
		p.Subtitle += fmt.Sprintf("; the run in the middle of %d", r.Repeats.Runs)
	}
	if s := r.Series; s != nil {
		p.Series = drawings(s.plots())
		p.SeriesNote = fmt.Sprintf("A point for each %s s.", s.Every.Text(0))
		for _, m := range s.Marks {
			p.Marks = append(p.Marks, fact{m.At.Text(1) + " s", m.Text})
		}
	}
	return page.ExecuteTemplate(w, "report", p)
}

// drawings draws those of the plots that have something to show.
func drawings(plots []plot) (list []drawing) {
	for i := range plots {
		p := &plots[i]
		if p.empty() {
			continue
		}
		d := drawing{Title: p.title, Wide: p.wide, SVG: p.svg()}
		for _, l := range p.lines {
			d.Names = append(d.Names, l.name)
		}
		list = append(list, d)
	}
	return list
}

func (r *Report) subtitle() string {
	var t textReport
	t.head(r)
	return strings.TrimPrefix(strings.TrimSpace(t.b.String()), r.Scenario+": ") + ". " + r.Machine.Time.Format(time.RFC1123)
}

// mood is how the verdict looks.
func (r *Report) mood() string {
	switch {
	case r.Broken():
		return "bad"
	case len(r.Limits) > 0:
		return "warn"
	}
	return ""
}

// reasons are what is to be said beside the verdict.
func (r *Report) reasons() (list []string) {
	if r.Broken() {
		list = append(list, "messages were lost, duplicated or reordered, or had wrong positions")
	}
	for _, l := range r.Limits {
		list = append(list, l.Text)
	}
	return append(list, r.Notes...)
}

// cardKeys are the figures that stand out, of those that a report knows.
var cardKeys = []string{
	"delivered_per_second", "published_per_second", "server_cpu_us_per_delivery", "server_cpu_us_per_publish", "server_cpu_us_per_connect",
	"server_cores", "latency_us.p50", "latency_us.p99", "latency_us.p999", "server_rss_bytes_per_connection",
	"slow_readers.server_rss_growth_bytes", "slow_readers.last_complete_seconds", "resume_storm.acked_seconds", "durable.store_bytes", "ratio_to_raw",
}

func (r *Report) cards() (list []fact) {
	for _, m := range r.Measures() {
		if r.CPUDelivery.Known() && strings.Contains(m.Key, "publish") {
			continue // it is the deliveries that cost
		}
		if x := r.cell(&m); slices.Contains(cardKeys, m.Key) && x.Value.Known() && x.Value != 0 {
			s := scaleOf(m.Unit, x.Value)
			list = append(list, fact{m.Label, s.text(x.Value) + " " + s.unit})
		}
	}
	return list
}

// figures are all that are known and not zero.
func (r *Report) figures() (list []shown) {
	for _, m := range r.Measures() {
		x := r.cell(&m)
		if !x.Value.Known() || x.Max == 0 {
			continue
		}
		s := scaleOf(m.Unit, x.Max)
		row := shown{Label: m.Label, Value: s.text(x.Value), Unit: s.unit}
		if x.Min != x.Max {
			row.Spread = s.text(x.Min) + " – " + s.text(x.Max)
		}
		list = append(list, row)
	}
	return list
}

func (r *Report) integrity() []fact {
	n := func(v uint64) string { return Figure(v).Text(0) }
	return []fact{
		{"published", n(r.Sent)}, {"delivered", n(r.Received)}, {"lost", n(r.Lost)}, {"duplicated", n(r.Duplicated)}, {"reordered", n(r.Reordered)},
		{"wrong positions", n(r.Wrong)}, {"gaps", n(r.Gaps)}, {"of other programs", n(r.Foreign)}, {"publishes refused", n(r.PublishErrors)},
		{"publishes unanswered", n(r.Unanswered)}, {"connections ended", n(r.Disconnects)},
	}
}

// facts are what was run, where, and on what.
func (r *Report) facts() (list []fact) {
	add := func(name, value string) {
		if value != "" {
			list = append(list, fact{name, value})
		}
	}
	add("scenario", r.Scenario)
	add("options", optionText(r.Options))
	add("loop", r.Loop)
	s, m := &r.Server, &r.Machine
	add("server", s.URL)
	add("gateways", strings.Join(r.Gateways, " "))
	add("program", strings.TrimSpace(s.Name+" "+s.Version))
	if s.PID != 0 {
		add("process", fmt.Sprint(s.PID))
	}
	add("arguments", strings.Join(s.Args, " "))
	add("machine", fmt.Sprintf("%d cores, %s/%s %s", m.Cores, m.OS, m.Arch, m.CPU))
	if m.Memory > 0 {
		x := scaleOf("bytes", Figure(m.Memory))
		add("memory", x.text(Figure(m.Memory))+" "+x.unit)
	}
	add("kernel", m.Kernel)
	add("load client", m.Go)
	if f := &r.Files; f.Needed > 0 {
		add("descriptors", fmt.Sprintf("client %s of %s, server %s of %s", count(f.Needed), limitText(f.Client), count(f.ServerNeeded), limitText(f.Server)))
	}
	return list
}

func limitText(n int) string {
	if n == 0 {
		return "unknown"
	}
	return count(n)
}

func optionText(options []Option) string {
	words := make([]string, len(options))
	for i, o := range options {
		words[i] = "--" + o.Name + "=" + o.Value
	}
	return strings.Join(words, " ")
}

func (r *Report) latencyNote() string {
	note := "Of " + r.LatencyOf + "."
	if r.LatencyOf == "" {
		note = ""
	}
	switch r.Loop {
	case OpenLoop:
		note += " Open loop: each counts from the time at which it was meant to be sent, so that a stall is in all that it delays."
	case ClosedLoop:
		note += " Closed loop: a message is sent when another was answered, so that a slow server is asked less; compare only with other closed loops."
	}
	return strings.TrimSpace(note)
}

// distribution is a latency with a name.
type distribution struct {
	name string
	l    *Latency
}

// distributions are those of the report that the plot shows.
func (r *Report) distributions() (list []distribution) {
	add := func(name string, l *Latency) {
		if l.Count > 0 {
			list = append(list, distribution{name, l})
		}
	}
	var stretches []Stretch
	if r.Stalled != nil {
		stretches = append(stretches, r.Stalled.Stretches...)
	}
	if r.Storm != nil {
		stretches = append(stretches, r.Storm.Stretches...)
	}
	if r.Churn != nil {
		stretches = append(stretches, r.Churn.Stretches...)
	}
	for i := range stretches {
		add(stretches[i].Name, &stretches[i].Latency)
	}
	if r.Connects != nil {
		for i := range r.Connects.Waves {
			add(r.Connects.Waves[i].Name, &r.Connects.Waves[i].Latency)
		}
	}
	for i := range r.Parts {
		add(r.Parts[i].Class, &r.Parts[i].Latency)
	}
	for i := range r.Classes {
		add(r.Classes[i].title(), &r.Classes[i].Latency)
	}
	if len(list) == 0 {
		add("latency", &r.Latency)
	}
	add("sent later than intended", &r.SendDelay)
	return list
}

func (r *Report) latencyPlots() []plot {
	return []plot{percentilePlot("Latency by percentile", r.distributions())}
}

// percentilePlot draws distributions as HdrHistogram does: each nine of the percentile takes the same room.
func percentilePlot(title string, list []distribution) plot {
	p := plot{title: title, x: "percentile", y: "milliseconds", wide: true}
	least, most, nines := math.Inf(1), 0.0, 1.0
	for _, d := range list {
		points := d.l.curve()
		p.lines = append(p.lines, line{d.name, points})
		for _, q := range points {
			least, most, nines = min(least, max(q.y, 1e-3)), max(most, q.y), max(nines, q.x)
		}
	}
	p.yLog = most > 30*least
	p.xTicks = []tick{{0, "0 %"}, {math.Log10(2), "50 %"}}
	for n := 1; n <= int(math.Ceil(nines)); n++ {
		label := "90 %"
		if n > 1 {
			label = strings.TrimSuffix("99."+strings.Repeat("9", n-2), ".") + " %"
		}
		p.xTicks = append(p.xTicks, tick{float64(n), label})
	}
	return p
}

// curve is the distribution in milliseconds over the number of nines: 1 for 90 %, 2 for 99 %.
func (l *Latency) curve() (points []xy) {
	const steps = 25 // for each nine
	if l.Histogram.IsZero() {
		for _, q := range []struct {
			nines float64
			value Figure
		}{{math.Log10(2), l.P50}, {math.Log10(4), l.P75}, {1, l.P90}, {math.Log10(20), l.P95}, {2, l.P99}, {3, l.P999}, {4, l.P9999}} {
			if q.value.Known() && q.nines <= math.Log10(float64(l.Count)) {
				points = append(points, xy{q.nines, float64(q.value) / 1e3})
			}
		}
		return points
	}
	last := math.Log10(float64(max(l.Count, 2)))
	for i := 0; ; i++ {
		nines := float64(i) / steps
		if nines >= last {
			return append(points, xy{last, float64(l.Max) / 1e3})
		}
		share := 1 - math.Pow(10, -nines)
		points = append(points, xy{nines, float64(l.Histogram.h.ValueAtPercentile(100*share)) / 1e6})
	}
}
