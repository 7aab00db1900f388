package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// What one request may take of memory and time.
const (
	dialTimeout    = 5 * time.Second
	idleTimeout    = 90 * time.Second
	maxHeaderBytes = 16 << 10 // of an answer
	maxAnswer      = 64 << 10 // of an answer's body, which is read so that the connection can be used again
	maxRetryAfter  = time.Hour
)

func newClient(e *Endpoint) *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DialContext:            (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout:    dialTimeout,
			MaxIdleConnsPerHost:    e.Parallel,
			IdleConnTimeout:        idleTimeout,
			MaxResponseHeaderBytes: maxHeaderBytes,
			ForceAttemptHTTP2:      true,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// refusal is an answer other than 2xx.
type refusal struct {
	status     int
	retryAfter time.Duration // 0: it did not say
}

func (r *refusal) Error() string {
	return fmt.Sprintf("status %d %s", r.status, http.StatusText(r.status))
}

// away reports whether a failure says nothing of the event: nobody answered, or somebody between here and there, or the endpoint has too
// much to do.
func away(err error) bool {
	var r *refusal
	if !errors.As(err, &r) {
		return true
	}
	switch r.status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// request sends an event once.
func (s *Sender) request(ctx context.Context, e Event) error {
	ctx, cancel := context.WithTimeout(ctx, s.endpoint.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint.URL, bytes.NewReader(e.Body))
	if err != nil {
		return withoutURL(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "jetwire-webhook/1")
	setHeaders(req.Header, s.endpoint.Secrets, e.ID, time.Now(), e.Body)
	resp, err := s.client.Do(req)
	if err != nil {
		return withoutURL(err)
	}
	_, _ = io.CopyN(io.Discard, resp.Body, maxAnswer)
	_ = resp.Body.Close()
	if resp.StatusCode/100 == 2 {
		return nil
	}
	return &refusal{resp.StatusCode, retryAfter(resp.Header.Get("Retry-After"), time.Now())}
}

// withoutURL takes the URL out of net/http's errors: there may be a key in it.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return u.Err
	}
	return err
}

// retryAfter reads seconds or a date (RFC 9110, 10.2.3), at most maxRetryAfter from now; 0: there is none.
func retryAfter(value string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(value, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(value); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), maxRetryAfter)
}
