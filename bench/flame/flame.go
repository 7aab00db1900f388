// Package flame draws a CPU profile as a flame graph: a page that needs nothing from elsewhere. Time runs from the top, where a thread
// begins, down to what was running; boxes are as wide as the share of time spent in them and below. Colours tell whose code it is.
package flame

import (
	"cmp"
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/google/pprof/profile"
)

// ErrNoCPU is returned for a profile of something else, or of no time at all.
var ErrNoCPU = errors.New("flame: the profile has no CPU samples")

// Measures of the drawing, in the units of its viewBox, and what is left out of it.
const (
	width      = 1200.0
	row        = 17
	character  = 6.3 // of the font, at the most
	leastShare = 0.0005
	mostRows   = 160
)

//go:embed flame.html
var pageText string

var page = template.Must(template.New("flame").Parse(pageText))

// owner is whose code a function is; its class in the page's style.
type owner struct{ class, name string }

var (
	ours    = owner{"ours", "Jetwire"}
	nats    = owner{"nats", "NATS"}
	runtime = owner{"runtime", "Go's runtime"}
	kernel  = owner{"kernel", "system calls"}
	other   = owner{"other", "others"}
)

func ownerOf(function string) owner {
	switch {
	case strings.HasPrefix(function, "github.com/jetwire/"), strings.HasPrefix(function, "main."):
		return ours
	case strings.HasPrefix(function, "github.com/nats-io/"):
		return nats
	case strings.Contains(function, "/syscall/"), strings.HasPrefix(function, "syscall."), strings.HasPrefix(function, "runtime.futex"),
		function == "runtime.usleep", function == "runtime.write1", function == "runtime.madvise":
		return kernel
	case strings.HasPrefix(function, "runtime."), strings.HasPrefix(function, "internal/runtime/"):
		return runtime
	}
	return other
}

// node is a function called from the node above it.
type node struct {
	name       string
	value, own int64 // nanoseconds: with what it calls, and without
	calls      map[string]*node
}

func (n *node) call(name string) *node {
	c := n.calls[name]
	if c == nil {
		c = &node{name: name, calls: make(map[string]*node)}
		n.calls[name] = c
	}
	return c
}

// box is a node as drawn.
type box struct {
	X, W         float64
	Y            int
	Class, Label string
	Title        string
}

// share is a part of the time.
type share struct {
	Class, Name string
	Percent     float64
}

// drawing is what the page shows.
type drawing struct {
	Title, Subtitle string
	Width           float64
	Height, Row     int
	Boxes           []box
	Owners, Top     []share
}

// Draw reads a profile as /debug/pprof/profile gives it, and writes the page. Errors: ErrNoCPU, or of reading and writing.
func Draw(w io.Writer, r io.Reader, title string) error {
	p, err := profile.Parse(r)
	if err != nil {
		return fmt.Errorf("flame: %w", err)
	}
	root, owners, own := tree(p)
	if root.value == 0 {
		return ErrNoCPU
	}
	d := drawing{
		Title: title, Width: width, Row: row, Owners: shares(owners, root.value), Top: shares(own, root.value),
		Subtitle: fmt.Sprintf("%v of CPU in %v", time.Duration(root.value).Round(time.Millisecond), time.Duration(p.DurationNanos).Round(time.Millisecond)),
	}
	d.Top = d.Top[:min(len(d.Top), 20)]
	d.add(root, root.value, 0, 0)
	return page.Execute(w, d)
}

// tree sums up the samples by what called what, by whose code was running, and by function.
func tree(p *profile.Profile) (root *node, owners, own map[string]int64) {
	root = &node{name: "all", calls: make(map[string]*node)}
	owners, own = make(map[string]int64), make(map[string]int64)
	column := slices.IndexFunc(p.SampleType, func(t *profile.ValueType) bool { return t.Type == "cpu" })
	if column < 0 {
		return root, owners, own
	}
	for _, s := range p.Sample {
		v, at := s.Value[column], root
		root.value += v
		for _, l := range slices.Backward(s.Location) {
			for _, line := range slices.Backward(l.Line) { // what was inlined stands in front of its caller
				if line.Function != nil {
					at = at.call(line.Function.Name)
					at.value += v
				}
			}
		}
		at.own += v
		own[at.name] += v
		owners[ownerOf(at.name).name] += v
	}
	return root, owners, own
}

// add draws n and what it calls, the greatest first.
func (d *drawing) add(n *node, total int64, x float64, depth int) {
	w := float64(n.value) / float64(total) * width
	if float64(n.value) < leastShare*float64(total) || depth == mostRows {
		return
	}
	d.Height = max(d.Height, (depth+1)*row)
	label := n.name[strings.LastIndexByte(n.name, '/')+1:]
	if most := int(w / character); len(label) > most {
		label = label[:max(0, most)]
	}
	if len(label) < 3 {
		label = ""
	}
	d.Boxes = append(d.Boxes, box{
		X: x, W: w, Y: depth * row, Class: ownerOf(n.name).class, Label: label,
		Title: fmt.Sprintf("%s\n%.2f %%, %.2f %% by itself", n.name, percent(n.value, total), percent(n.own, total)),
	})
	calls := make([]*node, 0, len(n.calls))
	for _, c := range n.calls {
		calls = append(calls, c)
	}
	slices.SortFunc(calls, func(a, b *node) int { return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(a.name, b.name)) })
	for _, c := range calls {
		d.add(c, total, x, depth+1)
		x += float64(c.value) / float64(total) * width
	}
}

func percent(v, total int64) float64 { return 100 * float64(v) / float64(total) }

// shares are the parts of a total, the greatest first.
func shares(parts map[string]int64, total int64) (list []share) {
	classes := make(map[string]string)
	for _, o := range []owner{ours, nats, runtime, kernel, other} {
		classes[o.name] = o.class
	}
	for name, v := range parts {
		class := classes[name]
		if class == "" {
			class = ownerOf(name).class
		}
		list = append(list, share{class, name, percent(v, total)})
	}
	slices.SortFunc(list, func(a, b share) int { return cmp.Or(cmp.Compare(b.Percent, a.Percent), cmp.Compare(a.Name, b.Name)) })
	return list
}
