package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// wellFormed fails unless every element of a page is closed, and returns what it says.
func wellFormed(t *testing.T, page []byte) (text string) {
	t.Helper()
	d := xml.NewDecoder(bytes.NewReader(page))
	d.Entity = xml.HTMLEntity
	var b strings.Builder
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return b.String()
		}
		if err != nil {
			t.Fatalf("%v\n%s", err, page)
		}
		switch x := token.(type) {
		case xml.CharData:
			b.Write(x)
			b.WriteByte(' ')
		case xml.StartElement:
			if slices.Contains([]string{"script", "iframe", "link", "img", "object"}, x.Name.Local) {
				t.Errorf("the page has a %s", x.Name.Local)
			}
			for _, a := range x.Attr {
				if strings.HasPrefix(a.Name.Local, "on") || a.Name.Local == "href" || a.Name.Local == "src" {
					t.Errorf("%s has %s=%q", x.Name.Local, a.Name.Local, a.Value)
				}
				if a.Name.Local == "points" && (strings.Contains(a.Value, "NaN") || strings.Contains(a.Value, "Inf")) {
					t.Errorf("a line goes to %s", a.Value)
				}
			}
		}
	}
}

// lively is a report in which much is known.
func lively() *Report {
	r := fanout(6.25)
	h := NewHistogram()
	for i := range int64(5000) {
		h.Record(i * int64(time.Millisecond) / 100)
	}
	r.Latency, r.LatencyOf, r.Loop = h.Latency(), "delivery", OpenLoop
	r.Options = []Option{{"conns", "5000"}}
	r.Server = Server{Name: "jetwire", URL: "ws://127.0.0.1:1/ws", PID: 42, Args: []string{"jetwire", "serve"}, Version: "v1 go1"}
	r.Series = &Series{Every: 1}
	for i := range 20 {
		p := NoPoint(Figure(i))
		p.Connections, p.Delivered, p.ServerCores, p.RSS, p.P50, p.P99 = 5000, Figure(50_000+i), 0.3, 64<<20, 300, 900
		r.Series.Add(p)
	}
	r.Series.Mark(2, "measuring")
	r.limit(LimitClient, "busy")
	r.Note("a remark")
	r.Lost = 77
	return r
}

func TestPageHoldsTheReport(t *testing.T) {
	var b bytes.Buffer
	if err := lively().WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	text := wellFormed(t, b.Bytes())
	for _, want := range []string{
		"jetbench fanout", "6.25 µs", "50,000 /s", "latency p99.99", "--conns=5000", "jetwire v1 go1", "busy", "a remark", "77", "2.0 s measuring",
		"Latency by percentile", "99.9 %", "Server's memory", "cores", "MiB", "milliseconds", "Open loop",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if n := strings.Count(b.String(), "<polyline"); n < 5 {
		t.Errorf("%d lines", n)
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "Publishes") {
		t.Error("the page shows what is not known")
	}
}

// TestPageOfNothing shows a report of which nothing is known.
func TestPageOfNothing(t *testing.T) {
	var b bytes.Buffer
	if err := New("idle", 0).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	if text := wellFormed(t, b.Bytes()); strings.Contains(text, "NaN") || !strings.Contains(text, "jetbench idle") {
		t.Error(text)
	}
}

// hostile ends up in every text of a report: a report file is written by others.
const hostile = `</title></style><script>alert(1)</script>"'><b onclick=x>&`

func TestPageEscapes(t *testing.T) {
	r := lively()
	r.Scenario, r.LatencyOf, r.Loop, r.Sizes = hostile, hostile, hostile, hostile
	r.Options, r.Notes, r.Limits = []Option{{hostile, hostile}}, []string{hostile}, []Limit{{hostile, hostile}}
	r.Server = Server{hostile, hostile, 1, hostile, []string{hostile}}
	r.Machine.CPU, r.Machine.Kernel, r.Machine.Go = hostile, hostile, hostile
	r.Series.Marks = []Mark{{3, hostile}}
	r.Classes = []Class{{Class: hostile, Namespace: hostile, Latency: r.Latency, Published: 1}}
	var b bytes.Buffer
	if err := r.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	if text := wellFormed(t, b.Bytes()); strings.Count(text, "<script>alert(1)</script>") < 5 {
		t.Error("the page does not show what the report says")
	}
	c, err := Compare(0.25, Column{hostile, r}, Column{hostile, r})
	if err != nil {
		t.Fatal(err)
	}
	b.Reset()
	if err := c.WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	wellFormed(t, b.Bytes())
}

func TestPageOfAComparison(t *testing.T) {
	a, b := lively(), lively()
	b.CPUDelivery = 12.5
	c, _ := compared(t, Column{"before", a}, Column{"after", b})
	var page bytes.Buffer
	if err := c.WriteHTML(&page); err != nil {
		t.Fatal(err)
	}
	text := wellFormed(t, page.Bytes())
	for _, want := range []string{"before", "after", "12.5", "2.00", "Deliveries", "Latency by percentile"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
	if !strings.Contains(page.String(), `class="n worse"`) {
		t.Error("nothing is marked")
	}
}

// TestTicksEncloseTheRange: ticks ascend, are round, and no value is beyond the last.
func TestTicksEncloseTheRange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		low := rapid.Float64Range(-1e9, 1e9).Draw(t, "low")
		high := low + rapid.Float64Range(1e-3, 1e9).Draw(t, "span")
		list := niceTicks(low, high, 5)
		n := len(list)
		if n < 2 || n > 30 || list[0].at > low+math.Abs(low)*1e-9 || list[n-1].at < high-(high-low)*1e-6 {
			t.Fatalf("%v to %v: %v", low, high, list)
		}
		for i := 1; i < n; i++ {
			if list[i].at <= list[i-1].at {
				t.Fatalf("%v", list)
			}
		}
	})
}
