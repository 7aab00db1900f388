package bench

import (
	"context"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/jetwire/jetwire/bench/report"
)

func TestParseStat(t *testing.T) {
	const text = "42 (a name) with (parens)) S 1 42 42 0 -1 4194304 123 0 0 0 250 50 0 0 20 0 8 0 100 0 0"
	got, err := parseStat([]byte(text))
	if err != nil || got != 3*time.Second {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "42 name S", "42 (x) S 1", "42 (x) S 1 2 3 4 5 6 7 8 9 10 x 50 0"} {
		if d, err := parseStat([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, d)
		}
	}
}

func TestParseKilobytes(t *testing.T) {
	const text = "Name:\tx\nVmRSSX:\t1 kB\nVmRSS:\t   2210 kB\nThreads:\t1\n"
	if got, err := parseKilobytes([]byte(text), "VmRSS"); err != nil || got != 2210<<10 {
		t.Errorf("got %d, %v", got, err)
	}
	for _, name := range []string{"VmSwap", "Threads", "Name"} {
		if got, err := parseKilobytes([]byte(text), name); err == nil {
			t.Errorf("%s: %d", name, got)
		}
	}
}

func TestParseMachine(t *testing.T) {
	const text = "cpu  100 20 30 5000 600 7 8 5 50 0\ncpu0 1 2 3 4 5 6 7 8 9 0\n"
	if got, err := parseMachine([]byte(text)); err != nil || got != 1700*time.Millisecond {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"", "cpu 1 2 3", "cpu0 1 2 3 4 5 6 7 8 9", "cpu a 2 3 4 5 6 7 8 9"} {
		if got, err := parseMachine([]byte(bad)); err == nil {
			t.Errorf("%q: %v", bad, got)
		}
	}
}

func FuzzParseProc(f *testing.F) {
	f.Add([]byte("1 (x) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14"))
	f.Add([]byte("VmRSS: 12 kB\n"))
	f.Add([]byte("cpu 18446744073709551615 68719476735 68719476735 0 0 68719476735 68719476735 68719476735\n"))
	f.Add([]byte("1 (x) S 1 2 3 4 5 6 7 8 9 10 4611686018427387903 4611686018427387903"))
	f.Fuzz(func(t *testing.T, p []byte) {
		if d, err := parseStat(p); err == nil && d < 0 {
			t.Fatalf("%q: %v", p, d)
		}
		if d, err := parseMachine(p); err == nil && d < 0 {
			t.Fatalf("%q: %v", p, d)
		}
		if n, err := parseKilobytes(p, "VmRSS"); err == nil && n < 0 {
			t.Fatalf("%q: %d", p, n)
		}
	})
}

func TestClockAgreesWithProc(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("no /proc")
	}
	for deadline := time.Now().Add(100 * time.Millisecond); time.Now().Before(deadline); {
	}
	clock, err := cpuClock(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("/proc/self/stat")
	if err != nil {
		t.Fatal(err)
	}
	ticks, err := parseStat(text)
	if err != nil {
		t.Fatal(err)
	}
	if d := ticks - clock; d < -40*time.Millisecond || d > 40*time.Millisecond {
		t.Errorf("the clock says %v, /proc %v", clock, ticks)
	}
	if rss, err := residentSize(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("RSS %d, %v", rss, err)
	}
}

func TestParseMetrics(t *testing.T) {
	const text = "# TYPE a gauge\na 1.5e+06\nb{x=\"y z\"} 3\nc 2 1700000000\nd nonsense\n"
	m, err := parseMetrics(strings.NewReader(text))
	if err != nil || len(m) != 2 || m["a"] != 1.5e6 || m["c"] != 2 {
		t.Errorf("got %v, %v", m, err)
	}
}

func TestSampleFromMetricsAlone(t *testing.T) {
	u := newMiniServer(t).target(t).sample(context.Background())
	if u.rss != 3e6 || u.heap != 1.5e6 || u.cpu != 2500*time.Millisecond {
		t.Errorf("got %+v", u)
	}
}

func TestSampleOfASilentServerIsUnknown(t *testing.T) {
	s := newMiniServer(t)
	target := s.target(t)
	target.MetricsURL += "/no/such/page"
	if u := target.sample(context.Background()); u.rss.Known() || u.heap.Known() || u.cpu >= 0 {
		t.Errorf("got %+v", u)
	}
}

func TestParseSockstat(t *testing.T) {
	page := report.Figure(os.Getpagesize())
	for text, want := range map[string][2]report.Figure{
		"sockets: used 225\nTCP: inuse 211 orphan 0 tw 126 alloc 211 mem 174\nUDP: inuse 9 mem 3\n": {174 * page, 211},
		"TCP: inuse 5":         {report.Unknown, 5},
		"TCP: mem x inuse":     {report.Unknown, report.Unknown},
		"UDP: inuse 9 mem 3\n": {report.Unknown, report.Unknown},
		"":                     {report.Unknown, report.Unknown},
	} {
		memory, sockets := parseSockstat([]byte(text))
		if memory.Text(0) != want[0].Text(0) || sockets.Text(0) != want[1].Text(0) {
			t.Errorf("%q: %v, %v", text, memory, sockets)
		}
	}
}

func TestParseFileLimit(t *testing.T) {
	for text, want := range map[string]int{
		"Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 524288               files     \n": 1024,
		"Max open files unlimited unlimited files": 0, "Max open files": 0, "": 0,
	} {
		if got := parseFileLimit([]byte(text)); got != want {
			t.Errorf("%q: %d", text, got)
		}
	}
	if limit, err := fileLimit(); err == nil && processFileLimit(os.Getpid()) != limit {
		t.Errorf("this process may have %d descriptors, /proc says %d", limit, processFileLimit(os.Getpid()))
	}
}

func TestSecretsAreLeftOut(t *testing.T) {
	args := []string{
		"/usr/bin/jetwire", "serve", "--listen", "127.0.0.1:0", "--api-key=abc1", "--auth-secret", "abc2", "--data", "/var/x",
		"--nats", "nats://me:abc3@host:4222", "NATS_PASSWORD=abc4", "--token", "--verbose", "--url", "ws://h/ws?token=abc5&x=abc6",
	}
	got := strings.Join(redact(args), " ")
	if strings.Contains(got, "abc") {
		t.Error(got)
	}
	for _, want := range []string{"--listen 127.0.0.1:0", "--data /var/x", "@host:4222", "--api-key=…", "--verbose", "ws://h/ws?token=…"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
