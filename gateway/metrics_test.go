package gateway

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// METRICS.md is what operators read: it names every family, with the help text that /metrics shows.
func TestMetricsAreDocumented(t *testing.T) {
	doc, err := os.ReadFile("METRICS.md")
	if err != nil {
		t.Fatal(err)
	}
	descs := make(chan *prometheus.Desc, 100)
	newMetrics(nil).Describe(descs)
	close(descs)
	var want strings.Builder
	for d := range descs {
		fields := strings.SplitN(d.String(), `"`, 5) // Desc{fqName: "name", help: "help", …
		fmt.Fprintf(&want, "| `%s` | %s |\n", fields[1], fields[3])
	}
	if !strings.Contains(string(doc), want.String()) {
		t.Errorf("METRICS.md does not hold this table:\n%s", want.String())
	}
}
