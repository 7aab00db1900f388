package report

import (
	"fmt"
	"io"
	"time"
)

// comparisonPage is what the page of a comparison shows.
type comparisonPage struct {
	Title, Subtitle string
	Warnings        []string
	Columns         []string
	Rows            []comparedRow
	Plots           []drawing
	Runs            []comparedRun
}

type comparedRow struct {
	Label, Unit string
	Cells       []comparedCell
}

type comparedCell struct{ Text, Ratio, Change string }

type comparedRun struct {
	Name  string
	Facts []fact
}

// WriteHTML writes the comparison as one page, which needs nothing from elsewhere.
func (c *Comparison) WriteHTML(w io.Writer) error {
	p := comparisonPage{
		Title: "jetbench compare: " + c.Scenario, Warnings: c.Warnings, Plots: drawings(c.plots()),
		Subtitle: fmt.Sprintf("Ratios are to %s. Coloured: differs by more than %.0f %%, and by more than the spread of repeated runs.", c.Columns[0].Name, 100*c.Threshold),
	}
	for _, x := range c.Columns {
		p.Columns = append(p.Columns, x.Name)
		facts := append([]fact{{"time", x.Report.Machine.Time.Format(time.RFC1123)}}, x.Report.facts()...)
		p.Runs = append(p.Runs, comparedRun{x.Name, facts})
	}
	for _, r := range c.Rows {
		s := r.scale()
		row := comparedRow{Label: r.Label, Unit: s.unit}
		for _, x := range r.Cells {
			row.Cells = append(row.Cells, comparedCell{s.cell(x), x.Ratio.Text(2), x.Change})
		}
		p.Rows = append(p.Rows, row)
	}
	return page.ExecuteTemplate(w, "comparison", p)
}

// plots lays the runs over each other.
func (c *Comparison) plots() []plot {
	var (
		latencies []distribution
		series    []*Series
	)
	over := []plot{
		{title: "Deliveries", y: "per second"}, {title: "Publishes", y: "per second"}, {title: "Server's processor time", y: "cores"}, {title: "Server's RSS", y: "MiB"},
	}
	for _, x := range c.Columns {
		if x.Report.Latency.Count > 0 {
			latencies = append(latencies, distribution{x.Name, &x.Report.Latency})
		}
		if x.Report.Series == nil {
			continue
		}
		series = append(series, x.Report.Series)
		for i, figure := range []func(*Point) Figure{
			func(p *Point) Figure { return p.Delivered }, func(p *Point) Figure { return p.Published },
			func(p *Point) Figure { return p.ServerCores }, func(p *Point) Figure { return p.RSS / (1 << 20) },
		} {
			over[i].x = "seconds since each run began"
			if points := x.Report.Series.curve(1, figure); !nothing(points) {
				over[i].lines = append(over[i].lines, line{x.Name, points})
			}
		}
	}
	for i := range over {
		over[i].xTicks = secondsTicks(series...)
	}
	return append([]plot{percentilePlot("Latency by percentile", latencies)}, over...)
}
