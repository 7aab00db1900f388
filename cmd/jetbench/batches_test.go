package main

import (
	"errors"
	"strings"
	"testing"
)

func TestBatches(t *testing.T) {
	for servers, sync := range map[string]string{"1": "--sync", "3": "--sync=false"} {
		out, log, err := jetbench(t, "batches", "--servers", servers, sync, "--rounds", "1", "--waiting", "20", "--payload", "100", "--duration", "200ms", "--warmup", "50ms")
		if err != nil {
			t.Fatalf("%s servers: %v\n%s\n%s", servers, err, out, log)
		}
		lines := strings.Split(strings.TrimSpace(out), "\n")
		for i, way := range []string{"single", "fast", "atomic"} {
			if len(lines) != 3 || !strings.HasPrefix(lines[i], way) || strings.Contains(lines[i], " 0/s") {
				t.Fatalf("%s servers:\n%s", servers, out)
			}
		}
	}
	if _, _, err := jetbench(t, "batches", "--ways", "pigeon"); !errors.Is(err, errUsage) {
		t.Error(err)
	}
}
