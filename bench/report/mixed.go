package report

// Part is what one class of a mixed run measured.
type Part struct {
	Class       string  `json:"class"`
	Connections int     `json:"connections"`
	Asked       Figure  `json:"asked_per_second"`
	PerSecond   Figure  `json:"per_second" measure:"done;/s;more"`
	Of          string  `json:"of"` // what is counted: deliveries, publishes, pages, sockets
	Latency     Latency `json:"latency_us" measure:"latency;us;less"`
	LatencyOf   string  `json:"latency_of"`

	Lost       uint64 `json:"lost" measure:"lost;messages;less"`
	Duplicated uint64 `json:"duplicated" measure:"duplicated;messages;less"`
	Reordered  uint64 `json:"reordered" measure:"reordered;messages;less"`
	Wrong      uint64 `json:"wrong_positions" measure:"wrong positions;messages;less"`

	Churn *Churn `json:"churn,omitempty"`
}

func (p Part) title() string { return p.Class }

func (t *textReport) mixed(r *Report) {
	for _, p := range r.Parts {
		rate := ""
		if p.PerSecond.Known() {
			rate = ", " + p.PerSecond.Text(0) + " of " + p.Asked.Text(0) + " " + p.Of + "/s"
		}
		t.line(p.Class, "%s sockets%s; %s: %s; lost %d, duplicated %d, reordered %d, wrong positions %d", count(p.Connections), rate,
			p.LatencyOf, p.Latency.Text(), p.Lost, p.Duplicated, p.Reordered, p.Wrong)
		if p.Churn != nil {
			t.line("", "%s guests came and went, %s/s; joining %s", count(p.Churn.Came), p.Churn.Joins.Text(0), p.Churn.Joining.Text())
		}
	}
	t.line("all", "%s deliveries/s: %s", r.Delivered.Text(0), r.Latency.Text())
	t.line("server CPU", "%s cores, %s µs per delivery with all that went on beside; about %s B RSS, %s B heap for each socket",
		r.ServerCores.Text(2), r.CPUDelivery.Text(2), r.ServerRSS.Text(0), r.ServerHeap.Text(0))
}
