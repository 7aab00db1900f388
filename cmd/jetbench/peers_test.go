package main

import (
	"encoding/json"
	"errors"
	"os/exec"
	"slices"
	"testing"

	"github.com/jetwire/jetwire/bench"
	"github.com/jetwire/jetwire/bench/report"
)

// compared runs a scenario with peers and returns the table, in which nothing may have gone wrong.
func compared(t *testing.T, args ...string) *report.Comparison {
	t.Helper()
	path, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	args = append(args, "--server-binary", path, "--json", "-", "--duration", "500ms", "--warmup", "100ms", "--rounds", "2", "--server-log")
	out, log, err := jetbench(t, args...)
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, log)
	}
	var table report.Comparison
	if err := json.Unmarshal([]byte(out), &table); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, row := range table.Rows {
		switch row.Key {
		case "lost", "duplicated", "reordered", "wrong_positions", "foreign", "publish_errors", "unanswered", "disconnects":
			t.Errorf("%+v", row)
		}
	}
	return &table
}

func names(table *report.Comparison) (list []string) {
	for _, c := range table.Columns {
		list = append(list, c.Name)
	}
	return list
}

// wantFigures fails unless a row's figures are there in every column.
func wantFigures(t *testing.T, table *report.Comparison, key string) {
	t.Helper()
	i := slices.IndexFunc(table.Rows, func(r report.Row) bool { return r.Key == key })
	if i < 0 {
		t.Fatalf("no %s in %+v", key, table.Rows)
	}
	for j, cell := range table.Rows[i].Cells {
		if !(cell.Value > 0 && cell.Max >= cell.Min) {
			t.Errorf("%s of %s: %+v", key, table.Columns[j].Name, cell)
		}
	}
}

// TestPeers builds bench/peers, and has Jetwire and three peers take turns.
func TestPeers(t *testing.T) {
	table := compared(t, "fanout", "--peers", "floor,nats,coder", "--conns", "20", "--rate", "2000", "--qos", "1")
	if got := names(table); !slices.Equal(got, []string{"jetwire", "jetwire QoS 1", "floor", "nats", "coder"}) {
		t.Errorf("%q", got)
	}
	wantFigures(t, table, "server_cpu_us_per_delivery")
	wantFigures(t, table, "delivered_per_second")
}

func TestConnectAgainstPeers(t *testing.T) {
	table := compared(t, "connect", "--peers", "floor,nats,gorilla", "--conns", "60", "--rate", "500", "--hold", "100ms", "--storm")
	if got := names(table); !slices.Equal(got, []string{"jetwire", "floor", "nats", "gorilla"}) {
		t.Errorf("%q", got)
	}
	wantFigures(t, table, "server_cpu_us_per_connect")
}

func TestPingAgainstPeers(t *testing.T) {
	table := compared(t, "ping", "--peers", "gorilla", "--conns", "50", "--interval", "100ms")
	if got := names(table); !slices.Equal(got, []string{"jetwire", "gorilla"}) {
		t.Errorf("%q", got)
	}
	wantFigures(t, table, "ping.pings_per_second")
}

func TestPeersThatCannotBe(t *testing.T) {
	for _, args := range [][]string{{"--peers", "nobody"}, {"--peers", "nats", "--url", "ws://127.0.0.1:1/ws"}, {"--peers", "nats", "--rounds", "0"}, {"--peers", "nats", "--qos", "3"}} {
		if _, log, err := jetbench(t, append([]string{"fanout", "--server-binary", "x", "--peers-binary", "x"}, args...)...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v\n%s", args, err, log)
		}
	}
	server, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("false")
	if err != nil {
		t.Skip(err)
	}
	args := []string{"fanout", "--peers", "nats", "--peers-binary", path, "--server-binary", server, "--conns", "5", "--rate", "100", "--duration", "100ms", "--warmup", "0"}
	if _, _, err := jetbench(t, args...); !errors.Is(err, bench.ErrNoAddress) {
		t.Errorf("got %v", err)
	}
}
