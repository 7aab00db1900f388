package flame

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/pprof/profile"
)

// made is a profile with the given stacks, outermost first, of one second each.
func made(kind string, stacks ...[]string) *bytes.Buffer {
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "samples"}, {Type: kind, Unit: "nanoseconds"}}, DurationNanos: 2e9}
	for _, stack := range stacks {
		s := &profile.Sample{Value: []int64{1, 1e9}}
		for _, name := range stack {
			f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: name}
			l := &profile.Location{ID: f.ID, Line: []profile.Line{{Function: f}}}
			p.Function, p.Location = append(p.Function, f), append(p.Location, l)
			s.Location = append([]*profile.Location{l}, s.Location...)
		}
		p.Sample = append(p.Sample, s)
	}
	var b bytes.Buffer
	_ = p.Write(&b)
	return &b
}

func TestDraw(t *testing.T) {
	var out bytes.Buffer
	err := Draw(&out, made("cpu",
		[]string{"main.main", "github.com/jetwire/jetwire/gateway/hub.(*Hub).Deliver", "syscall.Syscall"},
		[]string{"main.main", "github.com/jetwire/jetwire/gateway/hub.(*Hub).Deliver"},
		[]string{"main.main", "github.com/nats-io/nats.go.<b>&"},
		[]string{"runtime.mcall"},
	), "rooms & <more>")
	if err != nil {
		t.Fatal(err)
	}
	text := out.String()
	for _, want := range []string{
		"rooms &amp; &lt;more&gt;", "4s of CPU in 2s", "</span>Jetwire 25.0 %", "</span>system calls 25.0 %", "</span>NATS 25.0 %",
		"main.main\n75.00 %, 0.00 % by itself", "hub.(*Hub).Deliver\n50.00 %, 25.00 % by itself",
		`x="0.00" y="17" width="900.00"`, `x="600.00" y="34" width="300.00"`, ">hub.(*Hub).Deliver</text>",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is missing in\n%s", want, text)
		}
	}
	if strings.Contains(text, "<b>") {
		t.Error("a function's name has become markup")
	}
	graph := text[strings.Index(text, "<svg"):strings.Index(text, "</svg>")] + "</svg>"
	for d := xml.NewDecoder(strings.NewReader(graph)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

func TestNothingToDraw(t *testing.T) {
	for name, in := range map[string]io.Reader{"of memory": made("space", []string{"main.main"}), "empty": made("cpu")} {
		if err := Draw(io.Discard, in, ""); !errors.Is(err, ErrNoCPU) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Draw(io.Discard, strings.NewReader("no profile"), ""); err == nil || errors.Is(err, ErrNoCPU) {
		t.Errorf("got %v", err)
	}
}
