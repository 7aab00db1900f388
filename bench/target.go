package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"time"
)

// Target is the server under test.
type Target struct {
	URL        string // ws://HOST:PORT/ws
	Protocol   Protocol
	Token      string
	PID        int // its process, if it runs on this machine; 0: only /metrics tells what it uses
	MetricsURL string
	Others     []*Target                                           // further gateways of the same cluster: sockets are spread over all. Only addresses, PIDs and metrics of these count
	Sign       func(user string, publish []string) (string, error) // makes another user's token, who may publish to these patterns; nil: it can't

	addr netip.AddrPort
	host string // as the Host header says it
	path string // with the query
}

// NewTarget resolves the address of a server. metricsURL may be empty: /metrics on the same port.
func NewTarget(ctx context.Context, wsURL, token string, pid int, metricsURL string) (*Target, error) {
	u, err := url.Parse(wsURL)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTarget, err)
	}
	if u.Scheme != "ws" {
		return nil, fmt.Errorf("%w %q: it must begin with ws:// (TLS would measure the client's cryptography)", ErrTarget, wsURL)
	}
	port := u.Port()
	if port == "" {
		port = "80"
	}
	number, err := net.LookupPort("tcp", port)
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrTarget, wsURL, err)
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", u.Hostname())
	if err != nil {
		return nil, fmt.Errorf("%w %q: %w", ErrTarget, wsURL, err)
	}
	addr := ips[0].Unmap()
	for _, ip := range ips { // source addresses are only to be had with IPv4
		if ip = ip.Unmap(); ip.Is4() {
			addr = ip
			break
		}
	}
	if metricsURL == "" {
		metricsURL = "http://" + u.Host + "/metrics"
	}
	path := u.RequestURI()
	return &Target{
		URL: wsURL, Token: token, PID: pid, MetricsURL: metricsURL,
		addr: netip.AddrPortFrom(addr, uint16(number)), host: u.Host, path: path,
	}, nil
}

// all returns the target and its others.
func (t *Target) all() []*Target { return append([]*Target{t}, t.Others...) }

// MoveTo makes it the server that other stands for, as whoever signs for it.
func (t *Target) MoveTo(other *Target) {
	sign := t.Sign
	*t = *other
	t.Sign = sign
}

// asking is how a server is asked: without keeping connections, which would be there among those measured,
// and which a server that drains would wait for.
var asking = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}

const (
	askTimeout = 5 * time.Second
	mostAnswer = 64 << 20
	mostError  = 200 // of what a refusal says
)

// getPage gets a page of a server, within so long. key is an API key; empty: none is sent.
func getPage(ctx context.Context, address, key string, within time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	res, err := asking.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close() //nolint:errcheck // it was only read
	text, err := io.ReadAll(io.LimitReader(res.Body, mostAnswer))
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", address, res.Status, reason(text))
	}
	return text, err
}

// reason is what a server says of a request that it refuses: the detail of a problem (RFC 9457), or its text.
func reason(text []byte) string {
	var problem struct{ Detail string }
	if json.Unmarshal(text, &problem) == nil && problem.Detail != "" {
		text = []byte(problem.Detail)
	}
	text = bytes.TrimSpace(text)
	return string(text[:min(len(text), mostError)])
}

// Profile takes a CPU profile of the server for d, in whole seconds and at least one. key is one of its API keys.
func (t *Target) Profile(ctx context.Context, key string, d time.Duration) ([]byte, error) {
	seconds := max(1, int(d.Seconds()))
	return getPage(ctx, fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", t.host, seconds), key, d+time.Minute)
}

// WaitReady asks /readyz until the server says yes.
func (t *Target) WaitReady(ctx context.Context) error {
	address := "http://" + t.host + "/readyz"
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var last error
	for {
		if _, last = getPage(ctx, address, "", askTimeout); last == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), last)
		case <-tick.C:
		}
	}
}
