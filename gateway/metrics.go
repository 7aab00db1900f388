package gateway

import (
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/jetwire/jetwire/gateway/callout"
	"github.com/jetwire/jetwire/gateway/hub"
	"github.com/jetwire/jetwire/gateway/transport"
	"github.com/jetwire/jetwire/gateway/wire"
	"github.com/jetwire/jetwire/streams"
	"github.com/jetwire/jetwire/streams/commands"
	"github.com/jetwire/jetwire/streams/devices"
	"github.com/jetwire/jetwire/streams/events"
)

func newRegistry() *prometheus.Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return r
}

// metrics reads the parts' own counters when it is asked, so that counting costs nothing extra where it happens.
type metrics struct {
	g       *Gateway
	latency prometheus.Histogram
	errors  *prometheus.CounterVec
	api     *prometheus.CounterVec
}

func newMetrics(g *Gateway) *metrics {
	return &metrics{
		g: g,
		latency: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "jetwire_delivery_latency_seconds",
			Help:    "Time from a message's storage until its fan-out here is written, or handed to the writers; one observation a batch.",
			Buckets: prometheus.ExponentialBuckets(0.000_1, 2.5, 14),
		}),
		errors: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetwire_errors_total",
			Help: "Commands answered with an error, by its code.",
		}, []string{"code"}),
		api: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "jetwire_api_requests_total",
			Help: "Requests to the server API that were served, by operation and the code of the error; ok: there was none.",
		}, []string{"operation", "code"}),
	}
}

// served counts a request to the server API.
func (m *metrics) served(operation string, code wire.Code) {
	text := "ok"
	if code != 0 {
		text = code.String()
	}
	m.api.WithLabelValues(operation, text).Inc()
}

// refused counts a command that was answered with an error.
func (m *metrics) refused(code wire.Code) { m.errors.WithLabelValues(code.String()).Inc() }

// metric is one value of the collector.
type metric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(*snapshot) float64
}

// snapshot is what one scrape sees.
type snapshot struct {
	sockets  transport.Stats
	hub      hub.Stats
	log      streams.Stats
	devices  devices.Stats
	commands commands.Stats
	revoked  int
	events   events.Stats
	up       bool

	gateways    int
	authorizers callout.Stats
}

func counter[N uint64 | int](name, help string, get func(*snapshot) N) metric {
	return newMetric(prometheus.CounterValue, name, help, get)
}

func gauge[N uint64 | int | int64](name, help string, get func(*snapshot) N) metric {
	return newMetric(prometheus.GaugeValue, name, help, get)
}

func newMetric[N uint64 | int | int64](kind prometheus.ValueType, name, help string, get func(*snapshot) N) metric {
	return metric{prometheus.NewDesc(name, help, nil, nil), kind, func(s *snapshot) float64 { return float64(get(s)) }}
}

var closesDesc = prometheus.NewDesc("jetwire_closes_total", "WebSockets ended, by the close code's name; 1006: without a close frame.", []string{"code"}, nil)

var rateLimitedDesc = prometheus.NewDesc("jetwire_rate_limited_total", "Refusals by a rate limit: connects of an address, commands of a connection, messages of a user.", []string{"of"}, nil)

// families are documented by their help texts, which /metrics shows.
var families = []metric{
	gauge("jetwire_connections", "Sockets now, HTTP's included.", func(s *snapshot) int { return s.sockets.Connections }),
	counter("jetwire_accepts_total", "Sockets accepted.", func(s *snapshot) uint64 { return s.sockets.Accepted }),
	counter("jetwire_refused_connections_total", "Sockets refused by a limit on connections.", func(s *snapshot) uint64 { return s.sockets.RefusedConnections }),
	counter("jetwire_refused_handshakes_total", "WebSocket handshakes refused.", func(s *snapshot) uint64 { return s.sockets.RefusedHandshakes }),
	counter("jetwire_received_messages_total", "WebSocket messages received.", func(s *snapshot) uint64 { return s.sockets.MessagesIn }),
	counter("jetwire_received_bytes_total", "Bytes received over WebSockets, framing included.", func(s *snapshot) uint64 { return s.sockets.BytesIn }),
	counter("jetwire_sent_bytes_total", "Bytes sent over WebSockets, framing included.", func(s *snapshot) uint64 { return s.sockets.BytesOut }),
	gauge("jetwire_subscriptions", "Subscriptions now.", func(s *snapshot) int { return s.hub.Cursors }),
	gauge("jetwire_channels", "Channels with a subscription now.", func(s *snapshot) int { return s.hub.Channels }),
	counter("jetwire_deliveries_total", "Messages queued for sockets.", func(s *snapshot) uint64 { return s.hub.Delivered }),
	counter("jetwire_skipped_total", "Messages that a slow socket missed at QoS 0.", func(s *snapshot) uint64 { return s.hub.Skipped }),
	counter("jetwire_slow_sockets_total", "Times that a subscription left the live path because its socket was full.", func(s *snapshot) uint64 { return s.hub.FellBehind }),
	counter("jetwire_caught_up_total", "Times that a subscription joined the live path from behind.", func(s *snapshot) uint64 { return s.hub.CaughtUp }),
	counter("jetwire_gaps_total", "Gaps told to clients: the log no longer held what a cursor needed.", func(s *snapshot) uint64 { return s.hub.Gaps }),
	counter("jetwire_holes_total", "Messages that the live path lacked and that were read again.", func(s *snapshot) uint64 { return s.hub.Holes }),
	counter("jetwire_redeliveries_total", "Times that a durable subscription went back to what was acknowledged.", func(s *snapshot) uint64 { return s.hub.Redelivered }),
	gauge("jetwire_revocations", "Revocations of tokens that are known here.", func(s *snapshot) int { return s.revoked }),
	gauge("jetwire_devices", "Durable sessions connected here.", func(s *snapshot) int { return s.devices.Held }),
	counter("jetwire_device_takes_total", "Durable sessions begun.", func(s *snapshot) uint64 { return s.devices.Takes }),
	counter("jetwire_device_reads_total", "Records of devices read.", func(s *snapshot) uint64 { return s.devices.Reads }),
	counter("jetwire_device_writes_total", "Records of devices written.", func(s *snapshot) uint64 { return s.devices.Writes }),
	counter("jetwire_device_takeovers_total", "Sessions that lost their device to a newer one.", func(s *snapshot) uint64 { return s.devices.TakenHere + s.devices.TakenOver }),
	counter("jetwire_device_conflicts_total", "Records that another gateway had written meanwhile.", func(s *snapshot) uint64 { return s.devices.Conflicts }),
	counter("jetwire_device_failures_total", "Records that could not be read or written.", func(s *snapshot) uint64 { return s.devices.Failures }),
	counter("jetwire_device_evictions_total", "Devices forgotten because their user had too many.", func(s *snapshot) uint64 { return s.devices.Evicted }),
	counter("jetwire_feed_messages_total", "Stored messages that the tails brought.", func(s *snapshot) uint64 { return s.log.Delivered }),
	counter("jetwire_feed_gaps_total", "Gaps that the tails found in what NATS delivered.", func(s *snapshot) uint64 { return s.log.GapsFound }),
	counter("jetwire_feed_refills_total", "Of these, those refilled.", func(s *snapshot) uint64 { return s.log.GapsRefilled }),
	counter("jetwire_feed_restarts_total", "Tail consumers made again.", func(s *snapshot) uint64 { return s.log.TailRestarts }),
	counter("jetwire_stream_resets_total", "Streams found made anew.", func(s *snapshot) uint64 { return s.log.Resets }),
	counter("jetwire_published_total", "Messages that JetStream acknowledged.", func(s *snapshot) uint64 { return s.log.Published }),
	counter("jetwire_store_syncs_total", "Syncs of the embedded store; each serves all who wait for one.", func(s *snapshot) uint64 { return s.log.Syncs }),
	counter("jetwire_publish_refused_total", "Messages refused.", func(s *snapshot) uint64 { return s.log.Refused }),
	counter("jetwire_publish_unknown_total", "Messages whose outcome stayed unknown.", func(s *snapshot) uint64 { return s.log.Unknown }),
	gauge("jetwire_publish_in_flight", "Messages that wait for JetStream's acknowledgement.", func(s *snapshot) int { return s.log.InFlight }),
	counter("jetwire_commands_total", "Commands stored.", func(s *snapshot) uint64 { return s.commands.Stored }),
	counter("jetwire_commands_refused_total", "Commands that were not stored.", func(s *snapshot) uint64 { return s.commands.Refused }),
	counter("jetwire_commands_unknown_total", "Commands whose outcome stayed unknown.", func(s *snapshot) uint64 { return s.commands.Unknown }),
	gauge("jetwire_commands_in_flight", "Commands that wait for JetStream's acknowledgement.", func(s *snapshot) int { return s.commands.InFlight }),
	gauge("jetwire_commands_waiting", "Commands that wait for backends, those of all gateways, looked at once a minute.", func(s *snapshot) uint64 { return s.commands.Waiting }),
	counter("jetwire_commands_dead_total", "Commands that backends have given up, put among the dead letters by this gateway.", func(s *snapshot) uint64 { return s.commands.Dead }),
	counter("jetwire_calls_total", "Calls to backends that have ended, however.", func(s *snapshot) uint64 { return s.commands.Called }),
	gauge("jetwire_calls_in_flight", "Calls that wait for a backend.", func(s *snapshot) int { return s.commands.Calls }),
	counter("jetwire_calls_no_service_total", "Calls that no backend was there for.", func(s *snapshot) uint64 { return s.commands.NoService }),
	counter("jetwire_calls_timeout_total", "Calls that no backend answered in time.", func(s *snapshot) uint64 { return s.commands.TimedOut }),
	counter("jetwire_events_total", "Events of connections that were stored for webhooks.", func(s *snapshot) uint64 { return s.events.Appended }),
	counter("jetwire_events_lost_total", "Events of connections that were lost because NATS was away for too long.", func(s *snapshot) uint64 { return s.events.Lost }),
	counter("jetwire_log_reads_total", "Messages read from the log by sequence.", func(s *snapshot) uint64 { return s.log.DirectGets }),
	counter("jetwire_log_shared_reads_total", "Reads that joined one under way.", func(s *snapshot) uint64 { return s.log.SharedGets }),
	counter("jetwire_log_slow_reads_total", "Reads of what is older than the index.", func(s *snapshot) uint64 { return s.log.SlowReads }),
	counter("jetwire_log_run_reads_total", "Messages read from the log by scans of a stretch, of which a subscriber that is far behind, or many together, want most.", func(s *snapshot) uint64 { return s.log.RunReads }),
	counter("jetwire_ring_hits_total", "Messages that catch-up took from memory.", func(s *snapshot) uint64 { return s.log.RingHits }),
	gauge("jetwire_streams", "Streams open.", func(s *snapshot) int { return s.log.Streams }),
	gauge("jetwire_index_channels", "Channels in the indexes.", func(s *snapshot) int { return s.log.IndexChannels }),
	gauge("jetwire_index_bytes", "Memory of the indexes.", func(s *snapshot) int64 { return s.log.IndexBytes }),
	gauge("jetwire_ring_bytes", "Memory of the recent messages.", func(s *snapshot) int64 { return s.log.RingBytes }),
	counter("jetwire_authorizer_questions_total", "Questions sent to authorizers.", func(s *snapshot) uint64 { return s.authorizers.Asked }),
	counter("jetwire_authorizer_known_total", "Questions answered from what an authorizer had said before.", func(s *snapshot) uint64 { return s.authorizers.Known }),
	counter("jetwire_authorizer_denied_total", "Questions answered with no, by authorizers or from what they had said before.", func(s *snapshot) uint64 { return s.authorizers.Denied }),
	counter("jetwire_authorizer_failed_total", "Questions without an answer: what was asked about was refused.", func(s *snapshot) uint64 { return s.authorizers.Failed }),
	gauge("jetwire_gateways", "Gateways that live, as this one knows, itself included.", func(s *snapshot) int { return s.gateways }),
	gauge("jetwire_nats_connected", "1 while NATS can be reached.", func(s *snapshot) int {
		if s.up {
			return 1
		}
		return 0
	}),
}

// Describe implements prometheus.Collector.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range families {
		ch <- f.desc
	}
	ch <- closesDesc
	ch <- rateLimitedDesc
	for _, f := range webhookFamilies {
		ch <- f.desc
	}
	m.latency.Describe(ch)
	m.errors.Describe(ch)
	m.api.Describe(ch)
}

// Collect implements prometheus.Collector.
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := snapshot{sockets: m.g.sockets.Stats(), hub: m.g.hub.Stats(), log: m.g.log.Stats(), devices: m.g.devices.Stats(), commands: m.g.commands.Stats(), revoked: m.g.access.Revocations(), up: m.g.log.Connected(), events: m.g.webhooks.stats(), gateways: len(m.g.cluster.Nodes()), authorizers: m.g.authorizers.stats()}
	for _, f := range families {
		ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.get(&s))
	}
	for code, n := range s.sockets.Closes {
		ch <- prometheus.MustNewConstMetric(closesDesc, prometheus.CounterValue, float64(n), code.String())
	}
	for of, n := range m.g.limits.refused() {
		ch <- prometheus.MustNewConstMetric(rateLimitedDesc, prometheus.CounterValue, float64(n), of)
	}
	m.g.webhooks.collect(ch)
	m.latency.Collect(ch)
	m.errors.Collect(ch)
	m.api.Collect(ch)
}
