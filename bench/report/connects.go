package report

import (
	"maps"
	"slices"
)

// Connects is what connect measures besides.
type Connects struct {
	Rate     Figure         `json:"rate_asked"`       // sockets a second; null: flat out
	Window   int            `json:"window,omitempty"` // sockets that opened at the same time, when flat out
	Waves    []Wave         `json:"waves" measure:""`
	Failures map[string]int `json:"failures,omitempty"` // of connections, by reason
}

// Wave is all sockets connecting once.
type Wave struct {
	Name        string  `json:"name"`
	Joined      int     `json:"joined"`
	Failed      int     `json:"failed" measure:"connections failed;;less"`
	Seconds     Figure  `json:"seconds"`
	Rate        Figure  `json:"joined_per_second" measure:"connected;/s;more"`
	Latency     Latency `json:"latency_us" measure:"connecting;us;less"` // from when the socket was meant to be opened until it was subscribed
	CPU         Figure  `json:"server_cpu_us_each" measure:"server CPU per connect;us;less"`
	ServerCores Figure  `json:"server_cores"`
}

func (w Wave) title() string { return w.Name }

func (t *textReport) connects(r *Report) {
	for _, w := range r.Connects.Waves {
		t.line(w.Name, "%s sockets in %s s, %s/s; %s failed; %s µs of server CPU each, %s cores",
			count(w.Joined), w.Seconds.Text(2), w.Rate.Text(0), count(w.Failed), w.CPU.Text(1), w.ServerCores.Text(2))
		t.line("", "latency %s", w.Latency.Text())
	}
	for _, why := range slices.Sorted(maps.Keys(r.Connects.Failures)) {
		t.line("failed", "%s: %s", count(r.Connects.Failures[why]), why)
	}
	t.line("memory", "about %s B RSS, %s B heap each", r.ServerRSS.Text(0), r.ServerHeap.Text(0))
}
