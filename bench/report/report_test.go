package report

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// TestReportFields holds the names that other programs rely on.
func TestReportFields(t *testing.T) {
	text, err := New("fanout", 128).JSON()
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		"scenario", "connections", "server_rss_bytes_per_connection", "server_heap_bytes_per_connection",
		"server_cpu_us_per_connect", "server_cpu_us_per_delivery", "delivered_per_second", "published_per_second",
		"latency_us", "lost", "duplicated", "reordered",
	} {
		if _, ok := m[name]; !ok {
			t.Errorf("no field %s", name)
		}
	}
	for _, name := range []string{"p50", "p99", "p999"} {
		if v, ok := m["latency_us"].(map[string]any)[name]; !ok || v != nil {
			t.Errorf("latency_us.%s: %v, want null", name, v)
		}
	}
}

func TestFigureSurvivesJSON(t *testing.T) {
	for text, f := range map[string]Figure{"null": Unknown, "6.250": 6.25, "0.000": 0, "1500000": 1_500_000.4, "-1.500": -1.5} {
		p, err := json.Marshal(f)
		if err != nil || string(p) != text {
			t.Errorf("%v: %s, %v; want %s", f, p, err, text)
		}
		var back Figure
		if err := json.Unmarshal(p, &back); err != nil || back.Known() != f.Known() || f.Known() && (back-f > 0.5 || f-back > 0.5) {
			t.Errorf("%s: read back as %v, %v", p, back, err)
		}
	}
}

func TestTextReport(t *testing.T) {
	for _, scenario := range []string{"fanout", "rooms", "idle", "publish", "slow-readers", "durable", "resume-storm"} {
		r := New(scenario, 128)
		r.Connections, r.CPUDelivery, r.ServerRSS, r.Published, r.Lost = 5000, 6.254, 1834, 123456, 3
		r.Note("a %s", "remark")
		switch scenario {
		case "slow-readers":
			r.Stalled = &Stalled{Stretches: []Stretch{{Name: "stalled", Latency: NoLatency()}}}
		case "durable":
			r.Cursors = &Cursors{}
		case "resume-storm":
			r.Storm = &Storm{Counted: map[string]Figure{"jetwire_x_total": 3}}
		}
		var b bytes.Buffer
		if err := r.WriteText(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{scenario + ": 5,000 sockets", "lost 3", "a remark"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%s: no %q in\n%s", scenario, want, &b)
			}
		}
		if strings.Contains(b.String(), "NaN") {
			t.Errorf("%s: NaN in\n%s", scenario, &b)
		}
	}
}

func TestFigureText(t *testing.T) {
	for want, f := range map[string]Figure{"1,234,567": 1234567, "999": 999, "-12,345": -12345, "?": Unknown} {
		if got := f.Text(0); got != want {
			t.Errorf("%v: %s", want, got)
		}
	}
	if got := Figure(1234.567).Text(2); got != "1,234.57" {
		t.Error(got)
	}
}

func TestBrokenOnlyWhereLossIsPromisedNotToBe(t *testing.T) {
	for _, r := range []Report{{QoS: 1, Lost: 1}, {QoS: 1, Duplicated: 1}, {QoS: 2, Reordered: 1}, {QoS: 1, Wrong: 1}} {
		if !r.Broken() {
			t.Errorf("%+v", r)
		}
		r.QoS = 0
		if r.Broken() {
			t.Errorf("%+v", r)
		}
	}
}

func TestSlopes(t *testing.T) {
	r := &Report{Steps: []Step{
		{Connections: 1000, RSS: 50e6, Heap: 20e6, CPUConnect: 100},
		{Connections: 5000, RSS: 58e6, Heap: 24e6, CPUConnect: 50},
	}}
	r.Slopes()
	if r.ServerRSS != 2000 || r.ServerHeap != 1000 || r.CPUConnect != 60 {
		t.Errorf("%v %v %v", r.ServerRSS, r.ServerHeap, r.CPUConnect)
	}
	r.Steps = r.Steps[:1]
	r.Slopes()
	if r.ServerRSS.Known() || r.CPUConnect != 100 {
		t.Errorf("one step: %v %v", r.ServerRSS, r.CPUConnect)
	}
}

func TestHistogram(t *testing.T) {
	h, other := NewHistogram(), NewHistogram()
	for i := range int64(1000) {
		h.Record(i * int64(time.Microsecond))
	}
	other.Record(int64(time.Hour)) // beyond what it tells apart
	other.Record(-5)
	h.Merge(other)
	l := h.Latency()
	if l.Count != 1002 || l.P50 < 495 || l.P50 > 505 || l.P99 < 980 || l.P99 > 995 || l.Max < 299e6 || l.Max > 301e6 {
		t.Errorf("%+v", l)
	}
}
