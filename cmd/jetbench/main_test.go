package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
)

// TestMain lets the test binary be what jetbench starts itself as: the raw publisher's NATS server, and load processes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && (os.Args[1] == "nats-server" || os.Args[1] == workerName) {
		main()
		return
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) {
		if serverDir != "" {
			_ = os.RemoveAll(serverDir)
		}
	}))
}

var serverDir string

// serverBinary builds the server once for all tests.
var serverBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "jetbench-test-")
	if err != nil {
		return "", err
	}
	serverDir = dir
	path := filepath.Join(dir, "jetwire")
	return path, build(context.Background(), path)
})

// jetbench runs the program and returns what it printed.
func jetbench(t *testing.T, args ...string) (out, log string, err error) {
	t.Helper()
	var o, l bytes.Buffer
	p := &program{out: &o, log: &l}
	err = p.app().RunContext(t.Context(), append([]string{"jetbench"}, args...))
	return o.String(), l.String(), err
}

// measured runs a small scenario against a real server of its own.
func measured(t *testing.T, args ...string) *report.Report {
	t.Helper()
	path, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, "--server-binary", path, "--json", "-", "--duration", "1s", "--warmup", "200ms", "--server-log")
	out, log, err := jetbench(t, args...)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, log)
	}
	var r report.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r.Lost+r.Duplicated+r.Reordered+r.Wrong+r.Foreign+r.Gaps+r.PublishErrors+r.Unanswered+r.Disconnects != 0 {
		t.Errorf("not clean:\n%s", out)
	}
	return &r
}

func TestFanoutAgainstARealServer(t *testing.T) {
	for _, qos := range []string{"0", "1", "2"} {
		r := measured(t, "fanout", "--conns", "50", "--rate", "2000", "--qos", qos)
		if r.Received != 50*r.Sent || r.Sent < 40 || !(r.CPUDelivery > 0) || !(r.Latency.P50 > 0) || !(r.CPUConnect > 0) {
			t.Errorf("QoS %s: %+v", qos, r)
		}
	}
}

func TestFanoutFlatOutAgainstARealServer(t *testing.T) {
	r := measured(t, "fanout", "--conns", "50", "--flat-out")
	if r.Delivered < 1000 {
		t.Errorf("%+v", r)
	}
}

func TestRoomsAgainstARealServer(t *testing.T) {
	for _, qos := range []string{"0", "1"} {
		r := measured(t, "rooms", "--rooms", "10", "--members", "5", "--rate", "1000", "--qos", qos)
		if r.Received != 5*r.Sent || r.Connections != 50 {
			t.Errorf("QoS %s: %+v", qos, r)
		}
	}
}

func TestIdleAgainstARealServer(t *testing.T) {
	r := measured(t, "idle", "--steps", "10,50", "--own", "--settle", "100ms")
	if r.Received != 50 || len(r.Steps) != 2 || !(r.Steps[1].RSS > 0) || !(r.Steps[1].Heap > 0) || !(r.CPUConnect > 0) {
		t.Errorf("%+v", r)
	}
}

func TestConnectAgainstARealServer(t *testing.T) {
	r := measured(t, "connect", "--conns", "60", "--rate", "300", "--hold", "10ms", "--storm", "--ramp", "50ms")
	x := r.Connects
	if x == nil || len(x.Waves) != 2 || r.Received != 60 || x.Waves[1].Joined != 60 || !(x.Waves[0].CPU > 0) || x.Waves[0].Latency.Count != 60 {
		t.Errorf("%+v", x)
	}
}

func TestChurnAgainstARealServer(t *testing.T) {
	for _, qos := range []string{"0", "1"} {
		r := measured(t, "churn", "--conns", "40", "--channels", "4", "--rate", "800", "--joins", "100", "--stay", "200ms", "--changes", "100", "--settle", "100ms", "--qos", qos)
		x := r.Churn
		if x == nil || x.Came != 100 || x.Failed != 0 || x.Changed < 80 || x.Judged < 140 || len(x.Stretches) != 4 || !(x.RSSAfter > 0) || !(x.CPUVisit > 0) {
			t.Errorf("QoS %s: %+v", qos, x)
		}
	}
}

func TestMixedAgainstARealServer(t *testing.T) {
	r := measured(t, "mixed", "--conns", "100", "--rate", "600", "--publishes", "100", "--requests", "50", "--joins", "20", "--payload", "64-256")
	if len(r.Parts) != len(bench.Classes) || !(r.Delivered > 0) || !(r.ServerCores > 0) || r.Latency.Count == 0 {
		t.Fatalf("%+v", r)
	}
	for _, p := range r.Parts {
		if p.Latency.Count == 0 || p.Of != "sockets" && !(p.PerSecond > 0) {
			t.Errorf("%+v", p)
		}
	}
}

func TestPublishAtARateAgainstARealServer(t *testing.T) {
	r := measured(t, "publish", "--conns", "10", "--rate", "200", "--rounds", "1", "--classes", "none", "--ramp", "100ms")
	if !(r.Published > 0) || r.Target != 200 || r.Latency.Count < 150 {
		t.Errorf("%+v", r)
	}
}

func TestDurableRoomsAgainstARealServer(t *testing.T) {
	r := measured(t, "rooms", "--rooms", "5", "--members", "4", "--rate", "400", "--durable")
	if r.Received != 4*r.Sent {
		t.Errorf("%+v", r)
	}
}

func TestLoadProcessesAgainstARealServer(t *testing.T) {
	for _, args := range [][]string{
		{"fanout", "--conns", "50", "--rate", "2000"}, {"rooms", "--rooms", "10", "--members", "5", "--flat-out"},
		{"idle", "--steps", "10,50", "--settle", "10ms"}, {"connect", "--conns", "50", "--flat-out", "--hold", "1ms"},
	} {
		r := measured(t, append(args, "--processes", "2")...)
		if r.Processes != 2 || r.Connections != 50 || r.Received == 0 || args[0] == "fanout" && r.Received != 50*r.Sent {
			t.Errorf("%v: %+v", args, r)
		}
	}
}

func TestPublishAgainstARealServer(t *testing.T) {
	r := measured(t, "publish", "--conns", "50", "--depth", "4", "--rounds", "2")
	if len(r.Rounds) != 2 || r.Published < 100 || r.Raw < 100 || !(r.Ratio > 0) {
		t.Errorf("%+v", r)
	}
	if len(r.Classes) != 2 || r.Classes[0].Class != "file+sync" || r.Classes[0].Published != r.Published || r.Classes[1].Class != "file" {
		t.Errorf("%+v", r.Classes)
	}
	r = measured(t, "publish", "--conns", "5", "--depth", "4", "--rounds", "1", "--no-raw", "--classes", "memory,file+sync,file")
	for i, want := range []string{"file+sync", "memory", "file+sync", "file"} {
		if c := r.Classes[i]; c.Class != want || !(c.Published > 10) || !(c.CPUPublish > 0) || c.Latency.Count == 0 || len(c.Rounds) != 1 {
			t.Errorf("%s: %+v", want, c)
		}
	}
}

func TestClassesThatCannotBe(t *testing.T) {
	for _, args := range [][]string{{"--classes", "paper"}, {"--classes", "file", "--server-arg=--config=x"}} {
		if _, log, err := jetbench(t, append([]string{"publish", "--no-raw"}, args...)...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v\n%s", args, err, log)
		}
	}
}

func TestSlowReadersAgainstARealServer(t *testing.T) {
	r := measured(t, "slow-readers", "--readers", "20", "--live", "5", "--messages", "3000", "--rate", "6000", "--server-arg", "--queue-bytes=16KiB")
	x := r.Stalled
	if x == nil || x.Complete != 20 || len(x.Stretches) != 4 || !(x.Stretches[2].Latency.P99 > 0) || !(x.RSSGrowth >= 0) || r.Received < 20*3000 {
		t.Errorf("%+v, %+v", r, x)
	}
}

func TestDurableAgainstARealServer(t *testing.T) {
	r := measured(t, "durable", "--users", "60", "--batch", "25", "--sample", "60", "--settle", "1s")
	x := r.Cursors
	if x == nil || r.Received != 60 || x.Returned == 0 || x.Records != 1 || !(x.StoreBytes > 100 && x.StoreBytes < 1000) || !(x.ConsumersN < 10) || !(x.GoroutinesN > 1) {
		t.Errorf("%+v, %+v", r, x)
	}
}

func TestResumeStormAgainstARealServer(t *testing.T) {
	for _, args := range [][]string{nil, {"--kill"}} {
		r := measured(t, append([]string{"resume-storm", "--users", "40", "--messages", "5", "--live", "5", "--again", "20"}, args...)...)
		x := r.Storm
		if x == nil || r.Received != 200 || x.Returned != 0 || x.Killed != (args != nil) || !(x.Acked > 0) || !(x.Requests >= 120) || len(x.Stretches) != 2 {
			t.Errorf("%v: %+v, %+v", args, r, x)
		}
	}
}

func TestRunningServer(t *testing.T) {
	path, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(t.TempDir(), "data")
	p, url, err := bench.StartProcess(t.Context(), path, []string{"serve", "--listen", "127.0.0.1:0", "--data", data}, wsAddress, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	out, log, err := jetbench(t, "fanout", "--url", url, "--data", data, "--conns", "10", "--rate", "200", "--duration", "500ms", "--warmup", "0")
	if err != nil || !strings.Contains(out, "fanout: 10 sockets") || !strings.Contains(out, "lost 0") {
		t.Errorf("%v\n%s\n%s", err, out, log)
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{
		{"fanout", "--url", "ws://127.0.0.1:1/ws"}, // no token
		{"fanout", "--qos", "3"}, {"fanout", "--no-such-flag"}, {"fanout", "stray"}, {"fanout", "--payload", "5"},
		{"fanout", "--namespace", "a b"}, {"mixed", "--mix", "pigeons:2"}, {"fanout", "--payload", "9-5"}, {"fanout", "--ramp", "-1s"}, {"fanout", "--duration", "0"}, {"idle", "--steps", "5,4"}, {"idle", "--steps", "x"},
		{"resume-storm", "--kill", "--url", "ws://127.0.0.1:1/ws"},
	} {
		if out, _, err := jetbench(t, args...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v\n%s", args, err, out)
		}
	}
}

func TestParseSteps(t *testing.T) {
	for _, test := range []struct {
		text string
		last int
		want []int
	}{
		{"1000,5000", 0, []int{1000, 5000}},
		{"1000,5000,15000", 7000, []int{1000, 5000, 7000}},
		{"1000, 5000", 5000, []int{1000, 5000}},
		{"1000", 500, []int{500}},
	} {
		if got, err := parseSteps(test.text, test.last); err != nil || !slices.Equal(got, test.want) {
			t.Errorf("%q up to %d: %v, %v", test.text, test.last, got, err)
		}
	}
}

func TestServerThatDoesNotStart(t *testing.T) {
	path, err := exec.LookPath("false")
	if err != nil {
		t.Skip(err)
	}
	if _, _, err := jetbench(t, "fanout", "--server-binary", path); !errors.Is(err, bench.ErrNoAddress) {
		t.Errorf("got %v", err)
	}
}
