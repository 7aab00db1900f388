package report

// Churn is what churn measures besides.
type Churn struct {
	Joins   Figure `json:"joins_per_second"`   // sockets that were to come, and as many to go
	Changes Figure `json:"changes_per_second"` // subscriptions that were to begin or end
	Stay    Figure `json:"stay_seconds"`       // of a guest, and of a subscription that changes

	Came    int `json:"guests"`
	Failed  int `json:"failed" measure:"guests and changes that failed;;less"`
	Changed int `json:"changes"`
	Late    int `json:"changes_put_off"` // because the one before was not done
	Judged  int `json:"judged"`          // subscriptions that began or ended while messages were published

	Joining   Latency `json:"joining_us" measure:"guests' joining;us;less"`
	Changing  Latency `json:"changing_us" measure:"subscribing;us;less"`                                     // until answered
	CPUVisit  Figure  `json:"server_cpu_us_per_guest" measure:"server CPU per guest;us;less"`                // to join and leave, and for the messages that it got
	CPUChange Figure  `json:"server_cpu_us_per_change" measure:"server CPU per change of a channel;us;less"` // and for the messages

	RSSBefore  Figure `json:"server_rss_bytes_before"`
	RSSAfter   Figure `json:"server_rss_bytes_after" measure:"server RSS after the churn;bytes;less"`
	HeapBefore Figure `json:"server_heap_bytes_before"`
	HeapAfter  Figure `json:"server_heap_bytes_after" measure:"server heap after the churn;bytes;less"`

	Stretches []Stretch `json:"stretches" measure:""` // the first without churn
}

func (t *textReport) churn(r *Report) {
	x := r.Churn
	t.stretches(x.Stretches)
	if x.Came > 0 {
		t.line("guests", "%s came and went, %s/s, for %s s each; %s µs of server CPU each, with the messages they got; joining %s",
			count(x.Came), x.Joins.Text(0), x.Stay.Text(1), x.CPUVisit.Text(1), x.Joining.Text())
	}
	if x.Changed > 0 {
		t.line("changes", "%s subscriptions began or ended, %s/s; %s µs of server CPU each, with the messages they brought; subscribing %s",
			count(x.Changed), x.Changes.Text(0), x.CPUChange.Text(1), x.Changing.Text())
	}
	if x.Failed > 0 {
		t.line("failed", "%s guests or changes", count(x.Failed))
	}
	const mib = 1 << 20
	t.line("memory", "RSS %s MiB after it, %s before; heap %s MiB after it, %s before",
		(x.RSSAfter / mib).Text(1), (x.RSSBefore / mib).Text(1), (x.HeapAfter / mib).Text(1), (x.HeapBefore / mib).Text(1))
	t.line("judged", "%s subscriptions from where they began until they ended", count(x.Judged))
}
