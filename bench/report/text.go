package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// GrowthTarget is how many bytes stalled readers may cost a server.
const GrowthTarget = 64 << 20

// WriteText writes the report for people.
func (r *Report) WriteText(w io.Writer) error {
	t := &textReport{}
	t.head(r)
	switch {
	case r.Scenario == "idle":
		t.idle(r)
	case r.Ping != nil:
		t.ping(r)
	case r.Scenario == "publish":
		t.publish(r)
	case r.Stalled != nil:
		t.stalled(r)
	case r.Cursors != nil:
		t.cursors(r)
	case r.Scenario == "mixed":
		t.mixed(r)
	case r.Churn != nil:
		t.churn(r)
	case r.Connects != nil:
		t.connects(r)
	case r.Storm != nil:
		t.storm(r)
	default:
		t.deliveries(r)
	}
	t.rest(r)
	_, err := io.WriteString(w, t.b.String())
	return err
}

type textReport struct{ b strings.Builder }

func (t *textReport) line(name, format string, args ...any) {
	fmt.Fprintf(&t.b, "  %-12s %s\n", name, fmt.Sprintf(format, args...))
}

func (t *textReport) head(r *Report) {
	fmt.Fprintf(&t.b, "%s: %s sockets, %s channels, QoS %d", r.Scenario, count(r.Connections), count(r.Channels), r.QoS)
	if r.Scenario != "idle" && r.Cursors == nil && r.Ping == nil && r.Connects == nil {
		fmt.Fprintf(&t.b, ", %s bytes", r.Sizes)
		if r.Sizes != strconv.Itoa(r.Payload) {
			fmt.Fprintf(&t.b, " (%d on average)", r.Payload)
		}
		switch {
		case r.Scenario == "publish", r.Stalled != nil, r.Storm != nil:
		case r.Target.Known():
			fmt.Fprintf(&t.b, ", %s deliveries/s", r.Target.Text(0))
		default:
			t.b.WriteString(", flat out")
		}
		if r.Ramp > 0 {
			fmt.Fprintf(&t.b, " after a ramp of %s s", r.Ramp.Text(1))
		}
		if r.Measured.Known() && r.Stalled == nil && r.Storm == nil {
			fmt.Fprintf(&t.b, ", %s s", r.Measured.Text(1))
		}
	}
	t.b.WriteByte('\n')
	if r.Processes > 0 {
		t.line("processes", "%d load processes held the sockets; the figures of the client are their sum with the publisher's", r.Processes)
	}
	if len(r.Gateways) > 0 {
		t.line("gateways", "%s; the server's figures are their sums", strings.Join(r.Gateways, ", "))
	}
}

func (t *textReport) idle(r *Report) {
	for _, s := range r.Steps {
		t.line(count(s.Connections), "RSS %s MiB, heap %s MiB, %s µs of server CPU per connect",
			(s.RSS / (1 << 20)).Text(1), (s.Heap / (1 << 20)).Text(1), s.CPUConnect.Text(1))
	}
	t.line("memory", "%s B RSS, %s B heap per connection (slope from the first step to the last)",
		r.ServerRSS.Text(0), r.ServerHeap.Text(0))
	t.line("connect", "%s µs of server CPU to connect, sign in and subscribe; %s", r.CPUConnect.Text(1), r.Latency.Text())
}

func (t *textReport) ping(r *Report) {
	x := r.Ping
	t.line("pings", "%s/s, one of each socket in %s s or less often, as the server does it", x.Rate.Text(0), x.Interval.Text(3))
	t.line("server CPU", "%s µs per ping and pong, timers included; %s cores, of which %s without connections", x.CPU.Text(2), r.ServerCores.Text(3), x.Rest.Text(3))
}

func (t *textReport) deliveries(r *Report) {
	t.line("delivered", "%s/s; %s messages/s published", r.Delivered.Text(0), r.Published.Text(0))
	t.line("server CPU", "%s µs per delivery, %s cores", r.CPUDelivery.Text(2), r.ServerCores.Text(2))
	t.line("latency", "%s%s", r.Latency.Text(), r.ofLoop())
	t.line("connect", "%s µs of server CPU; about %s B RSS, %s B heap each",
		r.CPUConnect.Text(1), r.ServerRSS.Text(0), r.ServerHeap.Text(0))
}

func (t *textReport) stretches(list []Stretch) {
	for _, s := range list {
		t.line(s.Name, "%s messages/s for %s s, live sockets: %s; server %s cores, %s MiB RSS more (kernel, for TCP: %s MiB)",
			s.Rate.Text(0), s.Seconds.Text(1), s.Latency.Text(), s.ServerCores.Text(2), (s.RSSGrowth / (1 << 20)).Text(1), (s.TCPGrowth / (1 << 20)).Text(1))
	}
}

func (t *textReport) cursors(r *Report) {
	x := r.Cursors
	t.line("came", "%s users in %s s, %s µs of server CPU each to connect, subscribe, acknowledge and go; %s",
		count(x.Users), x.Seconds.Text(1), x.CPU.Text(1), r.Latency.Text())
	t.line("store", "%s B and %s records for each cursor", x.StoreBytes.Text(1), x.Records.Text(3))
	t.line("memory", "%s B RSS, %s B heap for each cursor at rest (RSS %s MiB, was %s; heap %s MiB, was %s)", x.RSS.Text(0), x.Heap.Text(0),
		(x.RSSAfter / (1 << 20)).Text(1), (x.RSSBefore / (1 << 20)).Text(1), (x.HeapAfter / (1 << 20)).Text(1), (x.HeapBefore / (1 << 20)).Text(1))
	t.line("besides", "%s goroutines and %s JetStream consumers for each (%s and %s in all)",
		x.Goroutines.Text(5), x.Consumers.Text(5), x.GoroutinesN.Text(0), x.ConsumersN.Text(0))
	t.line("returned", "%s came back and were known, with what they had acknowledged", count(x.Returned))
}

func (t *textReport) storm(r *Report) {
	x := r.Storm
	after := ""
	if x.Killed {
		after = fmt.Sprintf("; the server was killed meanwhile and back after %s s", x.Restart.Text(2))
	}
	t.line("away", "%s users, %s messages for each (published at %s/s)%s", count(x.Users), count(x.Messages), r.Published.Text(0), after)
	t.line("returned", "all connected after %s s, all messages delivered after %s s, all acknowledged after %s s",
		x.Joined.Text(2), x.Delivered.Text(2), x.Acked.Text(2))
	t.line("cost", "%s messages/s, %s µs of server CPU each, %s cores; about %s NATS requests",
		r.Delivered.Text(0), x.CPU.Text(1), r.ServerCores.Text(2), x.Requests.Text(0))
	t.stretches(x.Stretches)
	t.line("again", "%s users came back once more and got %d messages again", count(x.Again), x.Returned)
	names := slices.Sorted(maps.Keys(x.Counted))
	for _, name := range names {
		t.line("counted", "%s %s", x.Counted[name].Text(0), name)
	}
}

func (t *textReport) stalled(r *Report) {
	x := r.Stalled
	t.line("stalled", "%s readers while %s messages came; the server grew by %s MiB RSS, %s MiB heap (target: below %d MiB)",
		count(x.Readers), count(x.Messages), (x.RSSGrowth / (1 << 20)).Text(1), (x.HeapGrowth / (1 << 20)).Text(1), GrowthTarget>>20)
	t.stretches(x.Stretches)
	t.line("complete", "%s of %s readers have every message: the first after %s s, half after %s s, the last after %s s",
		count(x.Complete), count(x.Readers), x.First.Text(1), x.Median.Text(1), x.Last.Text(1))
	t.line("catch-up", "%s deliveries/s, %s µs of server CPU each, %s cores", r.Delivered.Text(0), r.CPUDelivery.Text(2), r.ServerCores.Text(2))
}

func (t *textReport) publish(r *Report) {
	asked := ""
	if r.Target.Known() {
		asked = " of " + r.Target.Text(0) + " asked for"
	}
	t.line("published", "%s acknowledged/s%s, %s µs of server CPU each, %s cores",
		r.Published.Text(0), asked, r.CPUPublish.Text(2), r.ServerCores.Text(2))
	if r.Raw.Known() {
		t.line("raw", "%s/s by an asynchronous JetStream publisher; ratio %s", r.Raw.Text(0), r.Ratio.Text(2))
	}
	for i, x := range r.Rounds {
		t.line(fmt.Sprintf("round %d", i+1), "%s/s, raw %s/s, ratio %s", x.Gateway.Text(0), x.Raw.Text(0), x.Ratio.Text(2))
	}
	t.line("latency", "%s%s", r.Latency.Text(), r.ofLoop())
	for _, c := range r.Classes {
		t.line(c.Class, "%s/s in %s, ratio to raw %s, %s µs of server CPU each; %s",
			c.Published.Text(0), c.Namespace, c.Ratio.Text(2), c.CPUPublish.Text(2), c.Latency.Text())
	}
}

func (t *textReport) rest(r *Report) {
	t.line("integrity", "lost %d, duplicated %d, reordered %d, wrong positions %d, gaps %d, foreign %d (of %d published, %d delivered)",
		r.Lost, r.Duplicated, r.Reordered, r.Wrong, r.Gaps, r.Foreign, r.Sent, r.Received)
	if r.PublishErrors+r.Unanswered+r.Disconnects > 0 {
		t.line("failures", "%d publishes refused, %d unanswered, %d connections ended", r.PublishErrors, r.Unanswered, r.Disconnects)
	}
	if r.ClientCores.Known() {
		t.line("client", "%s cores, busiest loop %s %%; %d cores in all", r.ClientCores.Text(2), (100 * r.ClientBusy).Text(0), r.Machine.Cores)
	}
	if r.SendDelay.Count > 0 {
		t.line("schedule", "messages were written later than intended by %s", r.SendDelay.Text())
	}
	for _, n := range r.Notes {
		t.line("note", "%s", n)
	}
	if r.Repeats != nil {
		t.repeats(r)
	}
	for _, l := range r.Limits {
		t.line("limit", "%s", l.Text)
	}
	t.line("verdict", "%s", r.Verdict())
}

// repeats tells the spread of what several runs measured.
func (t *textReport) repeats(r *Report) {
	t.line("runs", "%d, of which this is the one in the middle; losses and their like are those of all; medians, and least and most:", r.Repeats.Runs)
	for _, m := range r.Measures() {
		if x := r.cell(&m); x.Value.Known() && x.Max != 0 {
			s := scaleOf(m.Unit, x.Max)
			t.line("", "%s: %s %s", m.Label, s.cell(x), s.unit)
		}
	}
}

// ofLoop says what the latencies of a closed loop leave out.
func (r *Report) ofLoop() string {
	if r.Loop == ClosedLoop {
		return " (closed loop: a message is sent when another was answered, so that a slow server is asked less)"
	}
	return ""
}
