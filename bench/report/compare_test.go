package report

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

// fanout makes a report of a run that cost so much.
func fanout(cpu Figure) *Report {
	r := New("fanout", 128)
	r.Connections, r.QoS, r.CPUDelivery, r.Delivered, r.ServerCores = 5000, 1, cpu, 50_000, 0.3
	return r
}

func compared(t *testing.T, columns ...Column) (*Comparison, string) {
	t.Helper()
	c, err := Compare(DefaultThreshold, columns...)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := c.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	return c, b.String()
}

func (c *Comparison) row(t *testing.T, key string) Row {
	t.Helper()
	for _, r := range c.Rows {
		if r.Key == key {
			return r
		}
	}
	t.Fatalf("no row %s", key)
	return Row{}
}

func TestCompareMarksWhatDiffers(t *testing.T) {
	a, b, c := fanout(10), fanout(12), fanout(13)
	b.Delivered = 40_001 // a quarter is 40,000
	c.Delivered, c.ClientCores = 63_000, 0.5
	c.Lost = 2
	x, text := compared(t, Column{"a", a}, Column{"b", b}, Column{"c", c})
	for key, want := range map[string][2]string{
		"server_cpu_us_per_delivery": {"", Worse}, "delivered_per_second": {"", Better}, "lost": {"", Worse}, "client_cores": {"", ""},
	} {
		cells := x.row(t, key).Cells
		if cells[1].Change != want[0] || cells[2].Change != want[1] {
			t.Errorf("%s: %+v", key, cells)
		}
	}
	if got := x.row(t, "server_cpu_us_per_delivery").Cells[2].Ratio; got != 1.3 {
		t.Errorf("ratio %v", got)
	}
	if len(x.Regressions()) != 2 {
		t.Errorf("%+v", x.Regressions())
	}
	for _, want := range []string{"server CPU per delivery", "1.30 !", "1.26 +", "c: messages were lost"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "NaN") || strings.Contains(text, "gaps") {
		t.Errorf("NaN, or a row of nothing, in\n%s", text)
	}
}

func TestCompareWarnsOfOtherConditions(t *testing.T) {
	a, b := fanout(10), fanout(10)
	b.Connections, b.Machine.Cores, b.Loop = 100, 96, ClosedLoop
	a.Options = []Option{{"window", "64"}, {"qos", "1"}}
	b.Options = []Option{{"qos", "2"}}
	x, _ := compared(t, Column{"a", a}, Column{"b", b})
	all := strings.Join(x.Warnings, "\n")
	for _, want := range []string{"connections 5000 and 100", "cores", "--qos 1 and 2", "--window 64 and none", "loop"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in\n%s", want, all)
		}
	}
	b.Scenario = "rooms"
	if _, err := Compare(0.25, Column{"a", a}, Column{"b", b}); !errors.Is(err, ErrScenarios) {
		t.Error(err)
	}
	if _, err := Compare(0.25); !errors.Is(err, ErrColumns) {
		t.Error(err)
	}
}

func TestRepeatedRunsAreComparedByMedianAndSpread(t *testing.T) {
	a := Repeat([]*Report{fanout(10), fanout(30), fanout(11)})
	if a.CPUDelivery != 11 || a.Repeats.Runs != 3 || a.Repeats.Spread["server_cpu_us_per_delivery"] != (Spread{10, 11, 30}) {
		t.Fatalf("%v, %+v", a.CPUDelivery, a.Repeats)
	}
	b := Repeat([]*Report{fanout(20), fanout(21), fanout(22)})
	x, text := compared(t, Column{"a", a}, Column{"b", b})
	if got := x.row(t, "server_cpu_us_per_delivery").Cells[1]; got.Value != 21 || got.Change != "" {
		t.Errorf("%+v: the runs' spreads meet", got)
	}
	if !strings.Contains(text, "[10.0, 30.0]") {
		t.Error(text)
	}
	c := Repeat([]*Report{fanout(31), fanout(32), fanout(33)})
	x, _ = compared(t, Column{"a", a}, Column{"c", c})
	if got := x.row(t, "server_cpu_us_per_delivery").Cells[1]; got.Change != Worse {
		t.Errorf("%+v", got)
	}
}

func TestRepeatHidesNoLoss(t *testing.T) {
	bad := fanout(1)
	bad.Lost, bad.ClientLimited = 3, true
	bad.limit(LimitClient, "busy")
	bad.Note("a remark")
	r := Repeat([]*Report{fanout(2), bad, fanout(3)})
	if r.CPUDelivery != 2 || r.Lost != 3 || !r.Broken() || !r.ClientLimited || len(r.Limits) != 1 || len(r.Notes) != 1 {
		t.Errorf("%+v", r)
	}
	if Repeat(nil) != nil {
		t.Error("a report of nothing")
	}
}
