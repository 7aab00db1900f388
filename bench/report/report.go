// Package report is what a run of the load harness found: its figures, as text, as JSON and as a page, and how several runs compare.
//
// It knows no sockets and measures nothing: scenarios fill in a Report, and programs write it. What a scenario needs:
//   - New makes a report in which nothing is known yet; every Figure that the scenario measures is then set.
//   - A Histogram counts durations; its Latency method makes the percentiles of a report, and keeps the distribution with them.
//   - A Series takes a Point a second, and stays short however long the run.
//   - Judge says in the end what limited the run: the client, the machine, descriptors.
//
// A field with a `measure` tag ("label;unit;better", where better is more, less or nothing) is a figure that WriteHTML lists and
// that Compare compares: a new one needs nothing but its tag. Units are us (microseconds), bytes, s, /s, or a word for a count.
//
// Read takes a report from a file, which may be anything: what is not a report, or is too long for one, is an error.
package report

import (
	"encoding/json"
	"fmt"
	"runtime"
	"strconv"
	"time"
)

// How a scenario decides when to send.
const (
	OpenLoop   = "open"   // by a schedule, whatever the server does: latencies count from the time at which a message was meant to be sent
	ClosedLoop = "closed" // when something was answered: what a schedule would have had to wait is in no latency
)

// Report is the outcome of one run. Figures that the scenario does not measure are null in JSON.
type Report struct {
	Scenario    string   `json:"scenario"`
	Options     []Option `json:"options,omitempty"`
	Connections int      `json:"connections"` // subscribers; publishing sockets for publish
	Channels    int      `json:"channels"`
	Publishers  int      `json:"publishers"` // sockets that publish
	QoS         int      `json:"qos"`
	Payload     int      `json:"payload_bytes"` // on average
	Sizes       string   `json:"payload_sizes"` // as --payload takes them
	Ramp        Figure   `json:"ramp_seconds"`
	Loop        string   `json:"loop,omitempty"` // OpenLoop or ClosedLoop

	Processes int      `json:"load_processes,omitempty"` // that held the subscribers' sockets, beside the one that published; 0: there was only one
	Gateways  []string `json:"gateways,omitempty"`       // if there are several: the server's figures are their sums

	// Of the server. A slope over the steps of idle; elsewhere the difference that the connections of the run made.
	ServerRSS   Figure `json:"server_rss_bytes_per_connection" measure:"server RSS per connection;bytes;less"`
	ServerHeap  Figure `json:"server_heap_bytes_per_connection" measure:"server heap per connection;bytes;less"`
	CPUConnect  Figure `json:"server_cpu_us_per_connect" measure:"server CPU per connect;us;less"` // connect, authenticate and subscribe
	CPUDelivery Figure `json:"server_cpu_us_per_delivery" measure:"server CPU per delivery;us;less"`
	CPUPublish  Figure `json:"server_cpu_us_per_publish" measure:"server CPU per publish;us;less"`
	ServerCores Figure `json:"server_cores" measure:"server CPU;cores;"` // processor time used while measuring, per second

	Delivered Figure  `json:"delivered_per_second" measure:"deliveries;/s;more"`
	Published Figure  `json:"published_per_second" measure:"publishes;/s;more"` // sent at QoS 0, acknowledged otherwise
	Latency   Latency `json:"latency_us" measure:"latency;us;less"`
	LatencyOf string  `json:"latency_of"`                                // what the distribution is of
	SendDelay Latency `json:"send_delay_us" measure:"sent too late;us;"` // how much later than intended the publisher wrote its messages
	Target    Figure  `json:"target_per_second"`                         // deliveries a second asked for; null: flat out
	Measured  Figure  `json:"measured_seconds"`
	Sent      uint64  `json:"messages_published"` // in all, warm-up included
	Received  uint64  `json:"messages_delivered"` // in all, warm-up included

	// Of all that was published, warm-up included, over all sockets.
	Lost       uint64 `json:"lost" measure:"lost;messages;less"`
	Duplicated uint64 `json:"duplicated" measure:"duplicated;messages;less"`
	Reordered  uint64 `json:"reordered" measure:"reordered;messages;less"`
	Wrong      uint64 `json:"wrong_positions" measure:"wrong positions;messages;less"` // deliveries whose seq or prev contradicts what was delivered
	Gaps       uint64 `json:"gaps" measure:"gaps;pushes;less"`                         // gap pushes
	Foreign    uint64 `json:"foreign" measure:"foreign;messages;"`                     // messages that another program published

	PublishErrors uint64   `json:"publish_errors" measure:"publishes refused;messages;less"` // error replies to a publish
	Unanswered    uint64   `json:"unanswered" measure:"publishes unanswered;messages;less"`  // publishes without a reply
	Disconnects   uint64   `json:"disconnects" measure:"connections ended;connections;less"` // connections that the server ended
	ClientCores   Figure   `json:"client_cores" measure:"client CPU;cores;"`
	ClientBusy    Figure   `json:"client_busy" measure:"client's busiest loop;share;"` // share of time in which the busiest loop had work, 0..1
	OtherCores    Figure   `json:"other_cores" measure:"other programs' CPU;cores;"`   // used by neither server nor client; interrupts are among them
	ClientLimited bool     `json:"client_limited"`
	Limits        []Limit  `json:"limits,omitempty"` // what limited the run, by Judge
	Notes         []string `json:"notes,omitempty"`

	Steps  []Step  `json:"steps,omitempty" measure:""` // of idle
	Rounds []Round `json:"rounds,omitempty"`           // of publish, in the load's namespace

	Classes []Class `json:"classes,omitempty" measure:""` // of publish: the load's namespace, and those that took turns with it
	Raw     Figure  `json:"raw_published_per_second" measure:"raw publisher;/s;"`
	Ratio   Figure  `json:"ratio_to_raw" measure:"ratio to raw;;more"`

	Stalled  *Stalled  `json:"slow_readers,omitempty" measure:""`
	Cursors  *Cursors  `json:"durable,omitempty" measure:""`
	Parts    []Part    `json:"parts,omitempty" measure:""` // of mixed
	Connects *Connects `json:"connect,omitempty" measure:""`
	Churn    *Churn    `json:"churn,omitempty" measure:""`
	Storm    *Storm    `json:"resume_storm,omitempty" measure:""`

	Ping *Ping `json:"ping,omitempty" measure:""`

	Server  Server   `json:"server"`
	Machine Machine  `json:"machine"`
	Files   Files    `json:"files"`
	Series  *Series  `json:"series,omitempty"`
	Repeats *Repeats `json:"repeats,omitempty"` // of several runs; this report is the one in the middle
}

// Ping is what ping measures.
type Ping struct {
	Interval Figure `json:"interval_seconds"` // between two pings of a socket, as the server was told
	Rate     Figure `json:"pings_per_second" measure:"pings;/s;"`
	CPU      Figure `json:"server_cpu_us_per_ping" measure:"server CPU per ping and pong;us;less"` // timers included
	Rest     Figure `json:"server_cores_at_rest" measure:"server CPU without connections;cores;"`  // not counted in CPU
}

// Option is a flag of the scenario, with the value that it had.
type Option struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// Step is one plateau of idle.
type Step struct {
	Connections int    `json:"connections"`
	RSS         Figure `json:"server_rss_bytes" measure:"server RSS;bytes;less"`
	Heap        Figure `json:"server_heap_bytes" measure:"server heap;bytes;less"`
	CPUConnect  Figure `json:"server_cpu_us_per_connect" measure:"server CPU per connect;us;less"` // of the connections that this step added
}

func (s Step) title() string { return "at " + count(s.Connections) }

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

	RSSGrowth  Figure `json:"server_rss_growth_bytes" measure:"server RSS growth;bytes;less"` // while they were stalled, at the most
	HeapGrowth Figure `json:"server_heap_growth_bytes" measure:"server heap growth;bytes;less"`
	Complete   int    `json:"complete" measure:"complete readers;readers;more"` // readers that got every message …
	First      Figure `json:"first_complete_seconds" measure:"first complete after;s;less"`
	Median     Figure `json:"median_complete_seconds" measure:"half complete after;s;less"`
	Last       Figure `json:"last_complete_seconds" measure:"all complete after;s;less"`

	Stretches []Stretch `json:"stretches" measure:""`
}

// Stretch is a part of slow-readers, as the live readers saw it.
type Stretch struct {
	Name        string  `json:"name"`
	Rate        Figure  `json:"messages_per_second"`
	Seconds     Figure  `json:"seconds"`
	Latency     Latency `json:"latency_us" measure:"live latency;us;less"` // of deliveries to live readers
	ServerCores Figure  `json:"server_cores" measure:"server CPU;cores;less"`
	RSSGrowth   Figure  `json:"server_rss_growth_bytes" measure:"server RSS growth;bytes;less"`
	HeapGrowth  Figure  `json:"server_heap_growth_bytes" measure:"server heap growth;bytes;less"`
	TCPGrowth   Figure  `json:"tcp_growth_bytes" measure:"kernel TCP memory growth;bytes;"` // of the kernel's buffers for all sockets of the machine, either end's
}

func (s Stretch) title() string { return s.Name }

// Class is what publish measured in one namespace.
type Class struct {
	Class      string  `json:"class"` // durability, as the answers named it
	Namespace  string  `json:"namespace"`
	Published  Figure  `json:"published_per_second" measure:"publishes;/s;more"`
	Ratio      Figure  `json:"ratio_to_raw" measure:"ratio to raw;;more"`
	CPUPublish Figure  `json:"server_cpu_us_per_publish" measure:"server CPU per publish;us;less"`
	Latency    Latency `json:"latency_us" measure:"latency;us;less"`
	Rounds     []Round `json:"rounds"`
}

func (c Class) title() string { return c.Class + " in " + c.Namespace }

// Machine is where it was measured: where the load client ran, and the server too unless it was elsewhere.
type Machine struct {
	Time   time.Time `json:"time"`
	OS     string    `json:"os"`
	Arch   string    `json:"arch"`
	Cores  int       `json:"cores"`
	Go     string    `json:"go"` // that built the load client
	Kernel string    `json:"kernel,omitempty"`
	CPU    string    `json:"cpu,omitempty"`
	Memory int64     `json:"memory_bytes,omitempty"`
}

// Server is what was measured, as far as it was to be seen.
type Server struct {
	Name    string   `json:"name,omitempty"` // of the program
	URL     string   `json:"url,omitempty"`
	PID     int      `json:"pid,omitempty"`
	Version string   `json:"version,omitempty"` // as its binary tells, with the Go that built it
	Args    []string `json:"args,omitempty"`    // of its process; what may be secret in them is left out
}

// Files are the descriptors that the run needed of either process, and what each may have; 0: unknown.
type Files struct {
	Needed       int `json:"client_needs,omitempty"`
	Client       int `json:"client_limit,omitempty"`
	ServerNeeded int `json:"server_needs,omitempty"`
	Server       int `json:"server_limit,omitempty"` // of several gateways, the least
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
