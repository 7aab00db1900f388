package main

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/bench/report"
)

func readTestPlan(text string) (plan, error) {
	p := &program{out: io.Discard, log: io.Discard}
	return readPlan("dir/load.yaml", []byte(text), p.app(), settings{"drain": {values: []string{"1s"}}})
}

func TestPlan(t *testing.T) {
	steps, err := readTestPlan(`
server: {server-arg: [--ack-wait=1s, --sync=false]}
load:
  duration: 5s
  qos: 0
  processes: 2
report: {quiet: true}
steps:
  - fanout: {conns: 7, qos: 1}
  - fanout:
  - name: a b
    publish: {rate: 2.5}
`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{
		"fanout fanout --conns=7 --drain=1s --duration=5s --processes=2 --qos=1 --quiet=true --server-arg=--ack-wait=1s --server-arg=--sync=false",
		"fanout-2 fanout --drain=1s --duration=5s --processes=2 --qos=0 --quiet=true --server-arg=--ack-wait=1s --server-arg=--sync=false",
		"a b publish --drain=1s --duration=5s --qos=0 --quiet=true --rate=2.5 --server-arg=--ack-wait=1s --server-arg=--sync=false",
	} {
		if got := steps[i].name + " " + steps[i].scenario + " " + strings.Join(steps[i].args, " "); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

func TestPlansThatAreNone(t *testing.T) {
	for text, want := range map[string]string{
		"":                                       "one document",
		"steps: []":                              "needs steps",
		"load: {}":                               "needs steps",
		"steps: 5":                               "load.yaml:1: steps is a list",
		"steps:\n  - pigeons: {}":                `load.yaml:2: unknown scenario "pigeons": the scenarios are churn, connect`,
		"steps:\n  - fanout:\n      cons: 5":     `load.yaml:3: unknown key "cons" of fanout`,
		"steps:\n  - fanout:\n      conns: many": `load.yaml:3: conns: "many"`,
		"load:\n  conns: 5\nsteps: [fanout: {}]": `load.yaml:2: unknown key "conns" of load`,
		"loads: {}\nsteps: [fanout: {}]":         `load.yaml:1: unknown key "loads"`,
		"load:\n  qos: 1\n  warmup: soon\nsteps: [fanout: {}]": `load.yaml:3: warmup: "soon"`,
		"steps:\n  - name: x":                              "load.yaml:2: a step needs a scenario",
		"steps:\n  - fanout: {}\n    rooms: {}":            "load.yaml:3: a step has one scenario",
		"steps:\n  - fanout:\n      conns: {a: 1}":         `load.yaml:3: "conns" needs a text`,
		"steps:\n  - fanout: [1]":                          "fanout is a mapping",
		"steps: [fanout: {}]\n---\nsteps: [fanout: {}]":    "one document",
		"steps:\n  - fanout: {conns: 1, qos: 1, conns: 2}": "conns",
		"steps:\n\t- x":                                    "load.yaml",
	} {
		if _, err := readTestPlan(text); !errors.Is(err, errPlan) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func FuzzPlan(f *testing.F) {
	for _, text := range []string{
		"steps: [fanout: {conns: 5}]", "load: {qos: 1}\nsteps:\n  - name: x\n    idle:\n", "a: &b c\nd: *b", "steps: [!!x y]", "? a\n: b", "steps: [[[{", "- - -",
		"server:\n  server-arg: [a, b]\nsteps: [rooms: {rate: 1e3}]",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		steps, err := readTestPlan(text)
		if err != nil {
			if !errors.Is(err, errPlan) {
				t.Fatal(err)
			}
			return
		}
		names := map[string]bool{}
		for _, s := range steps {
			if s.scenario == "" || len(s.args) == 0 {
				t.Fatalf("%q: %+v", text, s)
			}
			names[s.name] = true
		}
	})
}

// TestExamples runs every example, with less of everything.
func TestExamples(t *testing.T) {
	path, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("../../bench/examples/*.yaml")
	if err != nil || len(examples) < 3 {
		t.Fatal(examples, err)
	}
	for _, example := range examples {
		dir := t.TempDir()
		args := []string{"run"}
		for _, set := range []string{
			"server-binary=" + path, "duration=400ms", "warmup=100ms", "ramp=100ms", "hold=10ms", "settle=10ms", "conns=40", "rate=200", "rooms=5", "members=4", "channels=4",
			"joins=20", "changes=20", "stay=100ms", "publishes=20", "requests=20", "classes=none", "payload=64-256", "steps=10,20", "quiet=true", "json=" + filepath.Join(dir, "x.json"),
		} {
			args = append(args, "--set", set)
		}
		out, log, err := jetbench(t, append(args, example)...)
		if err != nil {
			t.Fatalf("%s: %v\n%s\n%s", example, err, out, log)
		}
		written, err := filepath.Glob(filepath.Join(dir, "x*.json"))
		if err != nil || len(written) == 0 || len(written) != strings.Count(out, "integrity") {
			t.Errorf("%s: %v, %v\n%s", example, written, err, out)
		}
		for _, name := range written {
			text, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			var r report.Report
			if err := json.Unmarshal(text, &r); err != nil || r.Broken() || r.Connections == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}

func TestRunUsage(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "x.yaml")
	if err := os.WriteFile(empty, []byte("steps: [fanout: {cons: 1}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{}, {"no-such-file.yaml"}, {empty}, {"--set", "x", empty}, {empty, empty}} {
		if _, _, err := jetbench(t, slices.Concat([]string{"run"}, args)...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
