package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
)

// DefaultThreshold is the share by which figures have to differ before it is more than noise.
const DefaultThreshold = 0.25

// Errors of Compare.
var (
	ErrScenarios = errors.New("report: these are not runs of one scenario")
	ErrColumns   = errors.New("report: nothing to compare")
)

// Column is a report in a comparison, with the name of its column.
type Column struct {
	Name   string  `json:"name"`
	Report *Report `json:"-"`
}

// Comparison is several reports side by side. The first is what the others are compared with.
type Comparison struct {
	Scenario  string   `json:"scenario"`
	Columns   []Column `json:"columns"`
	Threshold float64  `json:"threshold"`
	Warnings  []string `json:"warnings,omitempty"` // why differences may not be what they seem
	Rows      []Row    `json:"rows"`
}

// Row is one figure of all reports.
type Row struct {
	Key    string `json:"key"`
	Label  string `json:"label"`
	Unit   string `json:"unit"`
	Better string `json:"better,omitempty"`
	Cells  []Cell `json:"cells"` // by column
}

// Cell is one figure of one report.
type Cell struct {
	Value  Figure `json:"value"` // the median of several runs
	Min    Figure `json:"min"`   // of several runs; as Value for a single one
	Max    Figure `json:"max"`
	Ratio  Figure `json:"ratio"`            // to the first column's
	Change string `json:"change,omitempty"` // Better, Worse or Different where it differs by more than the threshold, and the runs' spreads do not meet
}

// What a Cell says of a difference.
const (
	Better    = "better"
	Worse     = "worse"
	Different = "different" // of a figure of which neither more nor less is better
)

// Compare puts reports of one scenario side by side. Figures that differ from the first column's by more than the threshold (a share:
// 0.25 is a quarter) are marked. Of what makes reports hard to compare it warns: other options, another machine, runs at their limit.
// It fails with ErrScenarios when the scenarios differ, and with ErrColumns when there is no report.
func Compare(threshold float64, columns ...Column) (*Comparison, error) {
	if len(columns) == 0 {
		return nil, ErrColumns
	}
	c := &Comparison{Scenario: columns[0].Report.Scenario, Columns: columns, Threshold: threshold}
	for _, x := range columns[1:] {
		if x.Report.Scenario != c.Scenario {
			return nil, fmt.Errorf("%w: %s is of %s, %s of %s", ErrScenarios, columns[0].Name, c.Scenario, x.Name, x.Report.Scenario)
		}
	}
	c.warn()
	rows := make(map[string]int) // by key
	for i, x := range columns {
		for _, m := range x.Report.Measures() {
			if !m.Value.Known() {
				continue
			}
			at, ok := rows[m.Key]
			if !ok {
				at = len(c.Rows)
				rows[m.Key] = at
				c.Rows = append(c.Rows, Row{Key: m.Key, Label: m.Label, Unit: m.Unit, Better: m.Better, Cells: make([]Cell, len(columns))})
				for j := range columns {
					c.Rows[at].Cells[j] = Cell{Value: Unknown, Min: Unknown, Max: Unknown, Ratio: Unknown}
				}
			}
			c.Rows[at].Cells[i] = x.Report.cell(&m)
		}
	}
	c.Rows = slices.DeleteFunc(c.Rows, func(r Row) bool {
		return !slices.ContainsFunc(r.Cells, func(x Cell) bool { return x.Value.Known() && x.Max != 0 })
	})
	for i := range c.Rows {
		c.Rows[i].judge(threshold)
	}
	return c, nil
}

// cell is a figure of a report, with its spread.
func (r *Report) cell(m *Measure) Cell {
	x := Cell{Value: m.Value, Min: m.Value, Max: m.Value, Ratio: Unknown}
	if r.Repeats != nil {
		if s, ok := r.Repeats.Spread[m.Key]; ok {
			x.Value, x.Min, x.Max = s.Median, s.Min, s.Max
		}
	}
	return x
}

// judge compares all cells with the first.
func (r *Row) judge(threshold float64) {
	base := r.Cells[0]
	for i := range r.Cells[1:] {
		x := &r.Cells[i+1]
		if !base.Value.Known() || !x.Value.Known() {
			continue
		}
		x.Ratio = x.Value.Per(float64(base.Value))
		far := float64(max(base.Value, x.Value)-min(base.Value, x.Value)) > threshold*math.Abs(float64(min(base.Value, x.Value)))
		if !far || x.Min <= base.Max && base.Min <= x.Max {
			continue
		}
		switch {
		case r.Better == "":
			x.Change = Different
		case (x.Value > base.Value) == (r.Better == More):
			x.Change = Better
		default:
			x.Change = Worse
		}
	}
}

// warn finds out why differences may not be the servers'.
func (c *Comparison) warn() {
	first := c.Columns[0]
	for _, x := range c.Columns[1:] {
		for _, d := range differences(first.Report, x.Report) {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s and %s differ: %s", first.Name, x.Name, d))
		}
	}
	for _, x := range c.Columns {
		for _, l := range x.Report.Limits {
			c.Warnings = append(c.Warnings, x.Name+": "+l.Text)
		}
		if x.Report.Broken() {
			c.Warnings = append(c.Warnings, x.Name+": messages were lost, duplicated or reordered")
		}
	}
}

// differences are what two runs did not have in common.
func differences(a, b *Report) (list []string) {
	add := func(name string, x, y any) {
		if x != y {
			list = append(list, fmt.Sprintf("%s %v and %v", name, x, y))
		}
	}
	add("connections", a.Connections, b.Connections)
	add("channels", a.Channels, b.Channels)
	add("publishers", a.Publishers, b.Publishers)
	add("QoS", a.QoS, b.QoS)
	add("bytes", a.Payload, b.Payload)
	add("sizes", quoted(a.Sizes), quoted(b.Sizes))
	add("loop", a.Loop, b.Loop)
	if a.Target.Text(0) != b.Target.Text(0) {
		add("deliveries asked for", a.Target.Text(0), b.Target.Text(0))
	}
	if len(a.Options) == 0 || len(b.Options) == 0 {
		return append(list, otherMachine(a, b)...) // a program that says nothing of its options
	}
	options := make(map[string][2]string)
	for i, r := range []*Report{a, b} {
		for _, o := range r.Options {
			pair := options[o.Name]
			pair[i] = o.Value
			options[o.Name] = pair
		}
	}
	for _, o := range slices.Concat(a.Options, b.Options) {
		if pair, ok := options[o.Name]; ok {
			add("--"+o.Name, quoted(pair[0]), quoted(pair[1]))
			delete(options, o.Name)
		}
	}
	return append(list, otherMachine(a, b)...)
}

// otherMachine says how the machines of two runs differ.
func otherMachine(a, b *Report) (list []string) {
	m, n := &a.Machine, &b.Machine
	for _, x := range [][3]string{
		{"machine", m.OS + "/" + m.Arch, n.OS + "/" + n.Arch}, {"cores", count(m.Cores), count(n.Cores)},
		{"processor", quoted(m.CPU), quoted(n.CPU)}, {"kernel", quoted(m.Kernel), quoted(n.Kernel)},
	} {
		if x[1] != x[2] {
			list = append(list, x[0]+" "+x[1]+" and "+x[2])
		}
	}
	return list
}

func quoted(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// Regressions are the rows of which a column is worse than the first by more than the threshold.
func (c *Comparison) Regressions() (list []Row) {
	for _, r := range c.Rows {
		if slices.ContainsFunc(r.Cells, func(x Cell) bool { return x.Change == Worse }) {
			list = append(list, r)
		}
	}
	return list
}

// JSON returns the comparison as one indented JSON object.
func (c *Comparison) JSON() ([]byte, error) {
	p, err := json.MarshalIndent(c, "", "  ")
	return append(p, '\n'), err
}

// signs mark a difference in text.
var signs = map[string]string{"": "  ", Better: " +", Worse: " !", Different: " *"}

// WriteText writes the comparison as a table.
func (c *Comparison) WriteText(w io.Writer) error {
	head := []string{c.Scenario, ""}
	for i, x := range c.Columns {
		if head = append(head, x.Name); i > 0 {
			head = append(head, "ratio  ")
		}
	}
	table := [][]string{head}
	for _, r := range c.Rows {
		table = append(table, r.text())
	}
	var b strings.Builder
	writeTable(&b, table)
	fmt.Fprintf(&b, "\n+ better, ! worse, * different: by more than %.0f %%", 100*c.Threshold)
	if slices.ContainsFunc(c.Columns, func(x Column) bool { return x.Report.Repeats != nil }) {
		b.WriteString(", and beyond the spread of the runs (medians, in brackets least and most)")
	}
	b.WriteByte('\n')
	for _, x := range c.Warnings {
		b.WriteString("warning: " + x + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// scale is that of the row's largest figure.
func (r *Row) scale() scale {
	list := make([]Figure, len(r.Cells))
	for i, x := range r.Cells {
		list[i] = x.Max
	}
	return scaleOf(r.Unit, largest(list...))
}

func (r *Row) text() []string {
	s := r.scale()
	line := []string{r.Label, s.unit}
	for i, x := range r.Cells {
		if line = append(line, s.cell(x)); i > 0 {
			line = append(line, x.Ratio.Text(2)+signs[x.Change])
		}
	}
	return line
}

// cell writes a figure, and its spread if there is one.
func (s scale) cell(x Cell) string {
	text := s.text(x.Value)
	if x.Min != x.Max && x.Value.Known() {
		text += " [" + s.text(x.Min) + ", " + s.text(x.Max) + "]"
	}
	return text
}

// writeTable writes rows of words in columns: words on the left, figures to the right.
func writeTable(b *strings.Builder, rows [][]string) {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	for _, row := range rows {
		var line strings.Builder
		for i, cell := range row {
			pad := strings.Repeat(" ", width[i]-len([]rune(cell)))
			if i > 0 {
				line.WriteString("  ")
			}
			if i < 2 {
				line.WriteString(cell + pad)
			} else {
				line.WriteString(pad + cell)
			}
		}
		b.WriteString(strings.TrimRight(line.String(), " ") + "\n")
	}
}
