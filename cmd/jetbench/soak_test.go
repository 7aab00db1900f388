package main

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jetwire/jetwire/bench/soak"
)

// A short soak over real sockets, with the server killed twice and drained once. A seed that fails is run again with
// `go run ./cmd/jetbench soak --seed N --duration 10s --kills 2`.
func TestSoakAgainstARealServer(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes more than ten seconds")
	}
	path, err := serverBinary()
	if err != nil {
		t.Fatal(err)
	}
	out, log, err := jetbench(t, "soak", "--duration", "10s", "--kills", "2", "--rate", "800", "--server-binary", path, "--server-log", "--json", "-")
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, log)
	}
	var r soak.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if r.Broken() || r.Kills != 2 || r.Drains != 1 {
		t.Errorf("%s\n%s", out, log)
	}
	if r.Acknowledged < 500 || r.Delivered < 9*r.Acknowledged/2 || r.Reconnects < 20 || r.Cuts == 0 || r.Stalls == 0 || r.Vanishes == 0 || r.Walks == 0 || r.CatchUps == 0 || r.Acks < 50 || r.Takeovers < 4 {
		t.Errorf("too little happened:\n%s", out)
	}
}

func TestSoakPlan(t *testing.T) {
	plan := func(seed string) string {
		out, _, err := jetbench(t, "soak", "--plan", "--duration", "20s", "--seed", seed)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	if a := plan("7"); a != plan("7") || a == plan("8") || strings.Count(a, " kill ") != 2 || strings.Count(a, " drain ") != 1 {
		t.Errorf("%s", a)
	}
}

func TestSoakUsage(t *testing.T) {
	for _, args := range [][]string{{"stray"}, {"--duration", "1ms"}, {"--no-such-flag"}} {
		if _, _, err := jetbench(t, append([]string{"soak"}, args...)...); !errors.Is(err, errUsage) {
			t.Errorf("%v: %v", args, err)
		}
	}
}
