package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/bench/report"
)

// saved writes a report of a run that cost so much to a file.
func saved(t *testing.T, name string, cpu report.Figure) string {
	t.Helper()
	r := report.New("fanout", 128)
	r.CPUDelivery, r.QoS = cpu, 1
	text, err := r.JSON()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompare(t *testing.T) {
	a, b := saved(t, "a.json", 10), saved(t, "b.json", 13)
	page := filepath.Join(t.TempDir(), "x.html")
	out, _, err := jetbench(t, "compare", "--html", page, a, b, a)
	if err != nil || !strings.Contains(out, "1.30 !") || !strings.Contains(out, a) {
		t.Errorf("%v\n%s", err, out)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "server CPU per delivery") {
		t.Error(err)
	}
	if _, _, err := jetbench(t, "compare", "--fail-on-regression", a, b); !errors.Is(err, errWorse) {
		t.Error(err)
	}
	for _, args := range [][]string{{"--threshold", "40", a, b}, {b, a}} {
		if out, _, err := jetbench(t, append([]string{"compare", "--fail-on-regression"}, args...)...); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	}
	out, _, err = jetbench(t, "compare", "--json", "-", a, b)
	var c report.Comparison
	if e := json.Unmarshal([]byte(out), &c); err != nil || e != nil || len(c.Rows) == 0 || c.Rows[0].Cells[1].Change != report.Worse || c.Columns[1].Name != "b" {
		t.Errorf("%v, %v\n%s", err, e, out)
	}
}

func TestCompareRefuses(t *testing.T) {
	a := saved(t, "a.json", 10)
	other := filepath.Join(t.TempDir(), "other.json")
	if err := os.WriteFile(other, []byte(`{"scenario":"rooms"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{a}, {}, {a, other}, {a, a, "--json", "-"}, {"--threshold", "0", a, a}} {
		if _, _, err := jetbench(t, append([]string{"compare"}, args...)...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
	bad := filepath.Join(t.TempDir(), "bad.json")
	if err := os.WriteFile(bad, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := jetbench(t, "compare", a, bad); !errors.Is(err, report.ErrNoReport) || !strings.Contains(err.Error(), bad) {
		t.Error(err)
	}
	if _, _, err := jetbench(t, "compare", a, bad+"x"); !errors.Is(err, os.ErrNotExist) {
		t.Error(err)
	}
}

func TestRepeatedRunAgainstARealServer(t *testing.T) {
	page := filepath.Join(t.TempDir(), "run.html")
	r := measured(t, "fanout", "--conns", "20", "--rate", "1000", "--repeat", "2", "--html", page)
	if r.Repeats == nil || r.Repeats.Runs != 2 || !(r.Repeats.Spread["server_cpu_us_per_delivery"].Max > 0) || r.Received != 20*r.Sent {
		t.Errorf("%+v", r)
	}
	if r.Series == nil || len(r.Series.Points) == 0 || r.Server.PID == 0 || !strings.Contains(strings.Join(r.Server.Args, " "), "serve --listen") ||
		r.Server.Version == "" || r.Machine.Kernel == "" || r.Files.Server == 0 || r.Latency.Histogram.IsZero() {
		t.Errorf("%+v, %+v, %+v, %+v", r.Series, r.Server, r.Machine, r.Files)
	}
	options := ""
	for _, o := range r.Options {
		options += o.Name + "=" + o.Value + " "
	}
	if !strings.Contains(options, "conns=20") || strings.Contains(options, "server") || strings.Contains(options, "repeat") {
		t.Error(options)
	}
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "the run in the middle of 2") {
		t.Error(err)
	}
}
