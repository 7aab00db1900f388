// Package report is what a run of the load harness found: its figures, as text and as JSON.
//
// It knows no sockets and measures nothing: scenarios fill in a Report, and programs write it.
package report

import (
	"encoding/json"
	"fmt"
	"math"
	"runtime"
	"strconv"
	"time"
)

// Figure is a measured number; one that was not measured is NaN, and null in JSON.
type Figure float64

// Unknown is the Figure of what was not measured.
var Unknown = Figure(math.NaN())

// Known says whether it was measured.
func (f Figure) Known() bool { return !math.IsNaN(float64(f)) }

// MarshalJSON writes null for what was not measured, and otherwise no more digits than mean something.
func (f Figure) MarshalJSON() ([]byte, error) {
	v := float64(f)
	switch {
	case math.IsNaN(v) || math.IsInf(v, 0):
		return []byte("null"), nil
	case math.Abs(v) >= 1000:
		return strconv.AppendFloat(nil, v, 'f', 0, 64), nil
	}
	return strconv.AppendFloat(nil, v, 'f', 3, 64), nil
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (f *Figure) UnmarshalJSON(p []byte) error {
	*f = Unknown
	if string(p) == "null" {
		return nil
	}
	return json.Unmarshal(p, (*float64)(f))
}

// Per divides, and knows nothing of nothing.
func (f Figure) Per(n float64) Figure {
	if n == 0 || math.IsNaN(n) {
		return Unknown
	}
	return Figure(float64(f) / n)
}

// Latency is a distribution, in microseconds.
type Latency struct {
	P50   Figure `json:"p50"`
	P99   Figure `json:"p99"`
	P999  Figure `json:"p999"`
	Max   Figure `json:"max"`
	Count int64  `json:"count"`
}

// NoLatency is the distribution of nothing.
func NoLatency() Latency { return Latency{P50: Unknown, P99: Unknown, P999: Unknown, Max: Unknown} }

// Report is the outcome of one run. Figures that the scenario does not measure are null in JSON.
type Report struct {
	Scenario    string `json:"scenario"`
	Connections int    `json:"connections"` // subscribers; publishing sockets for publish
	Channels    int    `json:"channels"`
	Publishers  int    `json:"publishers"` // sockets that publish
	QoS         int    `json:"qos"`
	Payload     int    `json:"payload_bytes"` // on average
	Sizes       string `json:"payload_sizes"` // as --payload takes them
	Ramp        Figure `json:"ramp_seconds"`

	// Of the server. A slope over the steps of idle; elsewhere the difference that the connections of the run made.
	ServerRSS   Figure `json:"server_rss_bytes_per_connection"`
	ServerHeap  Figure `json:"server_heap_bytes_per_connection"`
	CPUConnect  Figure `json:"server_cpu_us_per_connect"` // connect, authenticate and subscribe
	CPUDelivery Figure `json:"server_cpu_us_per_delivery"`
	CPUPublish  Figure `json:"server_cpu_us_per_publish"`
	ServerCores Figure `json:"server_cores"` // processor time used while measuring, per second

	Delivered Figure  `json:"delivered_per_second"`
	Published Figure  `json:"published_per_second"` // sent at QoS 0, acknowledged otherwise
	Latency   Latency `json:"latency_us"`
	LatencyOf string  `json:"latency_of"`        // what the distribution is of
	SendDelay Latency `json:"send_delay_us"`     // how much later than intended the publisher wrote its messages
	Target    Figure  `json:"target_per_second"` // deliveries a second asked for; null: flat out
	Measured  Figure  `json:"measured_seconds"`
	Sent      uint64  `json:"messages_published"` // in all, warm-up included
	Received  uint64  `json:"messages_delivered"` // in all, warm-up included

	// Of all that was published, warm-up included, over all sockets.
	Lost       uint64 `json:"lost"`
	Duplicated uint64 `json:"duplicated"`
	Reordered  uint64 `json:"reordered"`
	Wrong      uint64 `json:"wrong_positions"` // deliveries whose seq or prev contradicts what was delivered
	Gaps       uint64 `json:"gaps"`            // gap pushes
	Foreign    uint64 `json:"foreign"`         // messages that another program published

	PublishErrors uint64   `json:"publish_errors"` // error replies to a publish
	Unanswered    uint64   `json:"unanswered"`     // publishes without a reply
	Disconnects   uint64   `json:"disconnects"`    // connections that the server ended
	ClientCores   Figure   `json:"client_cores"`
	ClientBusy    Figure   `json:"client_busy"` // share of time in which the busiest loop had work, 0..1
	OtherCores    Figure   `json:"other_cores"` // used by neither server nor client; interrupts are among them
	ClientLimited bool     `json:"client_limited"`
	Notes         []string `json:"notes,omitempty"`

	Steps  []Step  `json:"steps,omitempty"`  // of idle
	Rounds []Round `json:"rounds,omitempty"` // of publish, in the load's namespace

	Classes []Class `json:"classes,omitempty"` // of publish: the load's namespace, and those that took turns with it
	Raw     Figure  `json:"raw_published_per_second"`
	Ratio   Figure  `json:"ratio_to_raw"`

	Stalled *Stalled `json:"slow_readers,omitempty"`
	Cursors *Cursors `json:"durable,omitempty"`
	Storm   *Storm   `json:"resume_storm,omitempty"`

	Machine Machine `json:"machine"`
}

// Step is one plateau of idle.
type Step struct {
	Connections int    `json:"connections"`
	RSS         Figure `json:"server_rss_bytes"`
	Heap        Figure `json:"server_heap_bytes"`
	CPUConnect  Figure `json:"server_cpu_us_per_connect"` // of the connections that this step added
}

// Round is one turn of publish: the gateway, then a raw publisher.
type Round struct {
	Gateway Figure `json:"published_per_second"`
	Raw     Figure `json:"raw_published_per_second"`
	Ratio   Figure `json:"ratio"`
}

// Stalled is what slow-readers measures besides.
type Stalled struct {
	Readers  int `json:"readers"` // that stall
	Live     int `json:"live"`    // that do not
	Messages int `json:"messages"`

	RSSGrowth  Figure `json:"server_rss_growth_bytes"` // while they were stalled, at the most
	HeapGrowth Figure `json:"server_heap_growth_bytes"`
	Complete   int    `json:"complete"` // readers that got every message …
	First      Figure `json:"first_complete_seconds"`
	Median     Figure `json:"median_complete_seconds"`
	Last       Figure `json:"last_complete_seconds"`

	Stretches []Stretch `json:"stretches"`
}

// Stretch is a part of slow-readers, as the live readers saw it.
type Stretch struct {
	Name        string  `json:"name"`
	Rate        Figure  `json:"messages_per_second"`
	Seconds     Figure  `json:"seconds"`
	Latency     Latency `json:"latency_us"` // of deliveries to live readers
	ServerCores Figure  `json:"server_cores"`
	RSSGrowth   Figure  `json:"server_rss_growth_bytes"`
	HeapGrowth  Figure  `json:"server_heap_growth_bytes"`
	TCPGrowth   Figure  `json:"tcp_growth_bytes"` // of the kernel's buffers for all sockets of the machine, either end's
}

// Class is what publish measured in one namespace.
type Class struct {
	Class      string  `json:"class"` // durability, as the answers named it
	Namespace  string  `json:"namespace"`
	Published  Figure  `json:"published_per_second"`
	Ratio      Figure  `json:"ratio_to_raw"`
	CPUPublish Figure  `json:"server_cpu_us_per_publish"`
	Latency    Latency `json:"latency_us"`
	Rounds     []Round `json:"rounds"`
}

// Machine is where it was measured.
type Machine struct {
	Time  time.Time `json:"time"`
	OS    string    `json:"os"`
	Arch  string    `json:"arch"`
	Cores int       `json:"cores"`
	Go    string    `json:"go"` // that built the load client
}

// New makes a report in which nothing has been measured yet. payload is the bytes of a message.
func New(scenario string, payload int) *Report {
	return &Report{
		Scenario: scenario, Payload: payload, Sizes: strconv.Itoa(payload),
		ServerRSS: Unknown, ServerHeap: Unknown, CPUConnect: Unknown, CPUDelivery: Unknown, CPUPublish: Unknown,
		ServerCores: Unknown, Delivered: Unknown, Published: Unknown, Latency: NoLatency(), SendDelay: NoLatency(),
		Target: Unknown, Measured: Unknown, ClientCores: Unknown, ClientBusy: Unknown, OtherCores: Unknown, Raw: Unknown, Ratio: Unknown,
		Machine: Machine{
			Time: time.Now().UTC().Truncate(time.Second), OS: runtime.GOOS, Arch: runtime.GOARCH,
			Cores: runtime.NumCPU(), Go: runtime.Version(),
		},
	}
}

// Broken says that the server did not keep what the QoS of the run promises.
func (r *Report) Broken() bool {
	return r.QoS > 0 && (r.Lost != 0 || r.Duplicated != 0 || r.Reordered != 0 || r.Wrong != 0)
}

// Note adds a remark for people.
func (r *Report) Note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

// JSON returns the report as one indented JSON object.
func (r *Report) JSON() ([]byte, error) {
	p, err := json.MarshalIndent(r, "", "  ")
	return append(p, '\n'), err
}

// Slopes works out what one connection costs from the first plateau to the last. With a single plateau there is none.
func (r *Report) Slopes() {
	a, b := r.Steps[0], r.Steps[len(r.Steps)-1]
	more := float64(b.Connections - a.Connections)
	r.ServerRSS, r.ServerHeap = (b.RSS - a.RSS).Per(more), (b.Heap - a.Heap).Per(more)
	var cpu Figure
	connections := 0
	for _, s := range r.Steps {
		cpu += s.CPUConnect * Figure(s.Connections-connections)
		connections = s.Connections
	}
	r.CPUConnect = cpu.Per(float64(connections))
}
