package gateway

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/jetwire/jetwire/streams/events"
)

// webhookMetric is one value of each endpoint.
type webhookMetric struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	get  func(*endpoint) float64
}

func ofWebhook(kind prometheus.ValueType, name, help string, get func(*endpoint) float64) webhookMetric {
	return webhookMetric{prometheus.NewDesc(name, help, []string{"webhook"}, nil), kind, get}
}

var webhookFamilies = []webhookMetric{
	ofWebhook(prometheus.CounterValue, "jetwire_webhook_delivered_total", "Events that a webhook's endpoint took from this gateway.",
		func(e *endpoint) float64 { return float64(e.sender.Stats().Delivered) }),
	ofWebhook(prometheus.CounterValue, "jetwire_webhook_failed_total", "Requests to a webhook's endpoint that failed.",
		func(e *endpoint) float64 { return float64(e.sender.Stats().Failed) }),
	ofWebhook(prometheus.CounterValue, "jetwire_webhook_dead_total", "Events that a webhook's endpoint did not take, and that are dead letters now.",
		func(e *endpoint) float64 { return float64(e.sender.Stats().Dead) }),
	ofWebhook(prometheus.GaugeValue, "jetwire_webhook_waiting", "Events that a webhook's endpoint has not taken yet; 0 where another gateway tells it.",
		func(e *endpoint) float64 {
			if r := e.reader.Load(); r != nil {
				return float64(r.Waiting())
			}
			return 0
		}),
}

func (w *webhooks) collect(ch chan<- prometheus.Metric) {
	if w == nil {
		return
	}
	for _, f := range webhookFamilies {
		for _, e := range w.endpoints {
			ch <- prometheus.MustNewConstMetric(f.desc, f.kind, f.get(e), e.Name)
		}
	}
}

// stats are those of the log of events.
func (w *webhooks) stats() events.Stats {
	if w == nil || w.events == nil {
		return events.Stats{}
	}
	return w.events.Stats()
}
