package gateway

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/jetwire/jetwire/gateway/api"
)

// newHTTP is the handler of everything that is no WebSocket: health, metrics, profiles and the page.
func newHTTP(g *Gateway) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", g.ready)
	mux.Handle("GET /metrics", promhttp.HandlerFor(g.opt.Metrics, promhttp.HandlerOpts{}))
	mux.Handle("/debug/pprof/", newDebug(g.opt.APIKeys))
	mux.HandleFunc("GET "+api.DocumentPath, api.Document)
	mux.Handle(api.Path, g.api.Handler(g.opt.APIKeys))
	mux.HandleFunc(Path, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this address speaks WebSocket: send an upgrade request", http.StatusUpgradeRequired)
	})
	if g.unified != nil {
		g.unified.register(mux)
	}
	if g.opt.Page != nil {
		mux.Handle("/", g.opt.Page)
	}
	return mux
}

// ready says whether new clients should be sent here: NATS is reachable, and the gateway is not draining.
func (g *Gateway) ready(w http.ResponseWriter, _ *http.Request) {
	select {
	case <-g.draining:
		http.Error(w, "draining", http.StatusServiceUnavailable)
		return
	default:
	}
	if !g.log.Connected() {
		http.Error(w, "NATS cannot be reached", http.StatusServiceUnavailable)
		return
	}
	_, _ = w.Write([]byte("ready\n"))
}
